"""slotjax card NAME: the model card of trained weights, as Markdown.

NAME is that of weights that come with the library, or a file of slotjax.pack or slotjax.save.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slotjax import cli
from slotjax.system import packaged
from slotjax.system.console import number


def main() -> None:
    parser = cli.Parser("reporting.card", __doc__)
    parser.add_argument("name", metavar="NAME", help="of trained weights: their name, or a file")
    name = parser.parse_args().name
    packaged.find_weights(name)
    print(card(name))


def card(name: str) -> str:
    """What the weights are, what they were trained on, how they score, and where they end.

    Raises:
      UserError: no such weights.
    """
    from slotjax.models.build import noun_of
    from slotjax.tasks import TASKS
    from slotjax.weights import find, load, packaged_names, read

    path, packaged = find(name), name in packaged_names()
    load(path)  # says so if it is no file of weights
    config, arrays = read(path)
    model, count = config["model"], sum(x.size for x in arrays.values())
    height, width = model["resolution"]
    given = noun_of(model)
    noun, axes = {"image": ("picture", "b"), "video": ("video", "b, t")}[given]
    trained_on = data_in_words(config["data"]) if "data" in config else "pictures that the file does not name"
    quoted = json.dumps(name, ensure_ascii=False)
    parts = [
        f"# {path.stem}",
        f"A model of {model['name'].replace('_', ' ')}: Slot Attention (Locatello et al., 2020) with "
        f"{model['num_slots']} slots and {number(model.get('num_iterations', 3), 'iteration')}, for {noun}s of "
        f"{width}x{height} pixels. {count:,} parameters, {path.stat().st_size / 1e6:.1f} MB.",
        "## Use",
        f"    model, params = slotjax.load({quoted})\n"
        f"    out = slotjax.apply(model, params, {given}s, key)  # {given}s [{axes}, {height}, {width}, 3] in [-1, 1]",
        "## Trained on",
        f"{trained_on}.{training_in_words(config.get('train', {}), config.get('seed'), noun)}",
        "## Scores",
        scores(config.get("evaluation"), TASKS[model["name"]].TITLES, noun),
        "## Limits",
        "It has seen pictures of this kind alone. Of others it makes something too, which may mean little: "
        "`slotjax.segment` says when a picture is redrawn far worse than those. What a slot finds is what is redrawn "
        "well together; it has no names for things, and nobody has told it what counts as one object.",
    ]
    if packaged:
        parts += ["## Licence", "Apache 2.0, as the library."]
    return "\n\n".join(parts)


def data_in_words(data: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in (data.get("options") or {}).items())
    where = Path(data["path"]).name if data.get("path") else f"rendered scenes{f' ({options})' if options else ''}"
    pool = f", {data['pool']:,} of them" if data.get("pool") else ""
    return f"`{data['name']}`: {where}{pool}"


def training_in_words(train: Mapping[str, Any], seed: int | None, noun: str) -> str:
    """How long and by what, in a sentence that begins with a space; "" where the file does not say."""
    if not train:
        return ""
    start = f", from the weights of `{train['start_from']}`" if train.get("start_from") else ""
    terms = [name for name, weight in train.get("losses", {}).items() if weight]
    losses = f"; minimised: {', '.join(terms)}" if terms else ""
    return f" {train['num_steps']:,} steps of {train['batch_size']} {noun}s, seed {seed}{start}{losses}."


def scores(evaluation: Any, titles: Mapping[str, str], noun: str) -> str:
    """A table of the figures that the task has a title for."""
    if not isinstance(evaluation, Mapping):
        return "Not evaluated."
    rows = [
        f"| {title} | {evaluation[name]:.4f} |" for name, title in titles.items() if evaluation.get(name) is not None
    ]
    if not rows:
        return "Not evaluated."
    heading = f"| {evaluation['num_images']} held-out {noun}s | |"
    return "\n".join([heading, "| --- | --- |", *rows])


if __name__ == "__main__":
    cli.run(main)
