"""The table of models in README.md, from the weights that come with the library and split pictures.

    python benchmarks/zoo.py [--score [NAME ...]]

The figures are those in the weights' metadata; --score measures them anew, of all weights or of these, on the held-out
scenes of their configs, and writes them there.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from results import RUNS

from slotjax import cli, weights
from slotjax.config import disk
from slotjax.system.writing import write_text
from slotjax.tasks import TASKS
from slotjax.training.evaluation import build_score, collect
from slotjax.training.feed import open_feed

README = Path(__file__).parent.parent / "README.md"
MARKS = re.compile(r"(<!-- zoo: .*? -->\n).*?(<!-- /zoo -->)", re.DOTALL)
FIGURES = ("fg_ari", "ari", "miou")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = weights.packaged_names()
    parser.add_argument("--score", nargs="*", choices=known, metavar="NAME", help="measure the figures anew")
    scored = parser.parse_args().score
    for name in known if scored == [] else scored or ():
        score(name)
    text = README.read_text()
    write_text(README, MARKS.sub(lambda found: found.group(1) + table() + found.group(2), text))
    print(table(), end="")


def score(name: str) -> None:
    """Measures the packaged weights of that name, and keeps the figures in their file."""
    path = weights.find(name)
    fields, arrays = weights.read(path)
    model, params = weights.load(path)
    config = disk.from_fields({key: value for key, value in fields.items() if key != "evaluation"})
    feed, task = open_feed(config), TASKS[config.model.name]
    figures = collect(build_score(config, model, feed.num_true), params, feed.eval_batches())
    kept = {**fields, "evaluation": task.summary(figures)}
    half = all(array.dtype.itemsize == 2 for array in arrays.values())
    weights.save(path, kept, weights.unflatten(arrays), half=half)
    print(f"{name}: {task.table(task.summary(figures), {})}")


def table() -> str:
    """One row for all weights that split pictures or videos: both segmentations, and the paper's FG-ARI."""
    names = [name for name in weights.packaged_names() if "decoder" in weights.read(weights.find(name))[0]["model"]]
    titles = (
        "data",
        "weights",
        "pictures, slots",
        "FG-ARI / ARI / mIoU of responsibilities",
        "of masks",
        "paper: FG-ARI",
    )
    rows = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|", *map(row, names)]
    return "\n".join(rows) + "\n"


def row(name: str) -> str:
    fields, _ = weights.read(weights.find(name))
    model, scored = fields["model"], fields.get("evaluation", {})
    kinds = [" / ".join(shown(scored, f"{kind}{figure}") for figure in FIGURES) for kind in ("posterior_", "")]
    paper = RUNS[name].paper.get("fg_ari") if name in RUNS else None
    of_paper = f"{paper[0]:.3f}" if paper else ""
    size = "{}x{}, {}".format(*model["resolution"], model["num_slots"])
    if frames := fields["data"].get("eval_frames"):
        size = f"{frames} frames of {size}"
    return f"| {fields['data']['name']} | `{name}` | {size} | {kinds[0]} | {kinds[1]} | {of_paper} |"


def shown(scored: dict[str, Any], name: str) -> str:
    return f"{scored[name]:.3f}" if isinstance(scored.get(name), float) else "–"


if __name__ == "__main__":
    cli.run(main)
