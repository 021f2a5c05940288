"""slotjax card NAME: the model card of trained weights, as Markdown.

NAME is that of weights that come with the library, or a file of slotjax.pack or slotjax.save.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slotjax import cli
from slotjax.errors import UserError
from slotjax.nn.fields import check
from slotjax.system import packaged
from slotjax.system.console import number

REDRAWN = (
    ": `slotjax.segment` says when a picture is redrawn far worse than those. What a slot finds is what is redrawn "
    "well together; it has no names for things, and nobody has told it what counts as one object."
)
TOLD = ". It was told every object of the pictures that it learned from, and draws none."


def main() -> None:
    parser = cli.Parser("reporting.card", __doc__)
    parser.add_argument("name", metavar="NAME", help="of trained weights: their name, or a file")
    name = parser.parse_args().name
    packaged.find_weights(name)
    print(card(name))


def card(name: str) -> str:
    """What the weights are, what they were trained on, how they score, and where they end.

    Raises:
      UserError: no such weights, or a file that is none, or says of itself what cannot be.
    """
    from slotjax.models.build import fields_of, noun_of
    from slotjax.reporting.evaluation import recorded
    from slotjax.tasks import TASKS
    from slotjax.weights import find, load, packaged_names, read

    path, packaged = find(name), name in packaged_names()
    model = fields_of(load(path)[0])
    config, (fields, arrays) = recorded(path), read(path)
    count, (height, width) = sum(x.size for x in arrays.values()), model["resolution"]
    given = noun_of(model)
    noun, axes = {"image": ("picture", "b"), "video": ("video", "b, t")}[given]
    trained_on = "pictures that the file does not name." if config is None else f"{data_in_words(config.data)}."
    if config is not None and "train" in fields:
        trained_on += training_in_words(config.train, config.seed, noun)
    quoted = json.dumps(name, ensure_ascii=False)
    parts = [
        f"# {path.stem}",
        f"A model of {model['name'].replace('_', ' ')}: Slot Attention (Locatello et al., 2020) with "
        f"{model['num_slots']} slots and {number(model['num_iterations'], 'iteration')}, for {noun}s of "
        f"{width}x{height} pixels. {count:,} parameters, {path.stat().st_size / 1e6:.1f} MB.",
        "## Use",
        f"    model, params = slotjax.load({quoted})\n"
        f"    out = slotjax.apply(model, params, {given}s, key)  # {given}s [{axes}, {height}, {width}, 3] in [-1, 1]",
        "## Trained on",
        trained_on,
        "## Scores",
        scores(path, fields.get("evaluation"), TASKS[model["name"]].TITLES, noun),
        "## Limits",
        f"It has seen {noun}s of this kind alone. Of others it makes something too, which may mean little"
        + (REDRAWN if "decoder" in model else TOLD),
    ]
    if packaged:
        parts += ["## Licence", "Apache 2.0, as the library."]
    return "\n\n".join(parts)


def data_in_words(data: Any) -> str:
    options = ", ".join(f"{name}={value}" for name, value in data.options.items())
    where = Path(data.path).name if data.path else f"rendered scenes{f' ({options})' if options else ''}"
    pool = f", {data.pool:,} of them" if data.pool else ""
    return f"`{data.name}`: {where}{pool}"


def training_in_words(train: Any, seed: int, noun: str) -> str:
    """How long and by what, in a sentence that begins with a space."""
    start = f", from the weights of `{train.start_from}`" if train.start_from else ""
    terms = ", ".join(name for name, weight in train.losses.items() if weight)
    return f" {train.num_steps:,} steps of {train.batch_size} {noun}s, seed {seed}{start}; minimised: {terms}."


def scores(path: Path, evaluation: Any, titles: Mapping[str, str], noun: str) -> str:
    """A table of the figures that the task has a title for.

    Raises:
      UserError: what the file has for a figure is none.
    """
    if evaluation is None:
        return "Not evaluated."
    try:
        check("evaluation", dict, evaluation)
        figures = {name: value for name in titles if (value := evaluation.get(name)) is not None}
        for name, value in figures.items():
            check(f"evaluation.{name}", float, value)
        check("evaluation.num_images", int, evaluation.get("num_images"))
    except UserError as error:
        raise UserError(f"{path}: {error}; write it with slotjax.evaluate, and pack the run again") from None
    rows = [f"| {titles[name]} | {value:.4f} |" for name, value in figures.items()]
    return "\n".join([f"| {evaluation['num_images']} held-out {noun}s | |", "| --- | --- |", *rows])


if __name__ == "__main__":
    cli.run(main)
