"""How many objects there are, and how many slots take part: python benchmarks/how_many.py SUBJECT ... [--images N]

Scores a model on held-out scenes of exactly one object, of two, and so on, by the responsibilities: each slot a
segment, and with slots merged whose responsibilities overlap (`slotjax.clustering.merge`). Slots in use win at least a
hundredth of the pixels; the background's is one of them. Writes docs/how_many.md.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tables import table

import slotjax
from slotjax import cli
from slotjax.clustering import merge
from slotjax.errors import UserError
from slotjax.reporting.evaluation import Subject, open_subject
from slotjax.system.writing import write_text
from slotjax.tasks import Figures, discovery
from slotjax.training.evaluation import collect, slots_keys
from slotjax.training.feed import open_feed

ROOT = Path(__file__).parent.parent
MOST = 10  # objects
segmentation_scores = jax.jit(discovery.segmentation_scores, static_argnames=("num_true", "num_pred"))
FIGURES = {"fg_ari": "FG-ARI", "ari": "ARI", "miou": "foreground mIoU", "slots_used": "slots in use"}
DRAWN = {"slots_drawn": "slots drawn"}  # by the model's selection, before any are merged
HEAD = """# How many objects

<!-- Written by `python benchmarks/how_many.py`; what is typed in here is lost. -->

A model has as many slots as it was given, a scene as many objects as it has. `python benchmarks/how_many.py{asked}`
scores models on {images} held-out scenes of each number of objects, by the responsibilities: each slot a segment, and
with slots merged whose responsibilities overlap (`slotjax.clustering.merge`). Slots in use win at least a hundredth of
the pixels, and a background that is one segment is one of them: ideal is one for each object of at least that size, and
one for the background. Slots drawn are those that the model's selection leaves, however little they win. Where there is
one object, FG-ARI is 0 as soon as a single pixel of it is another slot's.

Which slots are drawn is `model.selection`. With `needed`, nothing is learned: slots go without which the others draw
the same. `gumbel` (AdaSlot, [Fan et al., 2024](https://arxiv.org/abs/2406.09196)) and `stick_breaking` learn what each
slot says, against the price `train.losses.kept`, once objects have parted; here from the first seed of
[the recipe](results.md#clevr10), with this command and its like:

    python train.py --config configs/clevr.py:clevr10,small --workdir runs/clevr10_gumbel \\
        --config.train.start_from=runs/results/clevr10/seed_0 "--config.train.stages=()" \\
        --config.train.num_steps=15000 --config.data.pool=8000 --config.train.losses.expected=0.05 \\
        --config.model.selection=gumbel --config.train.losses.kept=0.01
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "subjects", metavar="SUBJECT", nargs="+", help="weights of the library, a file of them, or a run's folder"
    )
    parser.add_argument("--images", type=int, default=64, help="of each number of objects")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the page is written")
    flags = parser.parse_args(argv)
    sections = [section(name, flags.images) for name in flags.subjects]
    head = HEAD.format(asked="".join(f" {name}" for name in flags.subjects), images=flags.images)
    write_text(flags.docs / "how_many.md", "\n".join([head, *sections]))
    print(f"wrote {flags.docs / 'how_many.md'}")


def section(name: str, images: int) -> str:
    subject = opened(name)
    titles = ["objects", *FIGURES.values(), *DRAWN.values(), *(f"{title}, merged" for title in FIGURES.values())]
    rows = [[str(count), *row(subject, count, images)] for count in range(1, MOST + 1)]
    told = f"Trained with {subject.config.model.num_slots} slots on {trained_on(subject)}; {chosen_by(subject)}."
    return f"## {name}\n\n{told}\n\n{table(titles, rows)}\n"


def opened(name: str) -> Subject:
    folder = Path(name)
    subject = open_subject(folder, None) if folder.is_dir() else open_subject(None, name)
    options = subject.config.data.get("options") or {}
    if not {"min_objects", "max_objects"} <= set(options):
        raise UserError(f"{name}: its scenes have no min_objects and max_objects; give one trained on rendered scenes")
    return subject


def trained_on(subject: Subject) -> str:
    data = subject.config.data
    return f"`{data.name}` scenes of {data.options.min_objects} to {data.options.max_objects} objects"


def chosen_by(subject: Subject) -> str:
    return f"`model.selection={subject.config.model.get('selection', 'all')}`"


def row(subject: Subject, count: int, images: int) -> list[str]:
    """The mean figures of scenes of so many objects."""
    config = subject.config.copy_and_resolve_references()
    config.data.options.update(min_objects=count, max_objects=count)
    config.data.update(eval_images=images, pool=0)
    model, params, _ = subject.trained
    kinds = figures(model, params, open_feed(config).eval_batches(), MOST + 1)
    return [cell(name, values) for kind in kinds for name, values in kind.items()]


def cell(name: str, values: np.ndarray) -> str:
    return f"{np.nanmean(values):.{1 if name.startswith('slots') else 3}f}"


def figures(model: Any, params: Any, batches: Iterable[dict], num_true: int) -> tuple[Figures, Figures]:
    """`FIGURES` [n] of the responsibilities' segments: each slot one, with `DRAWN` besides, and with merged slots.

    Args:
      num_true: the most objects of a scene, and one.
    """

    @jax.jit
    def shares(params: Any, batch: dict) -> tuple[jax.Array, jax.Array]:
        out = slotjax.apply(model, params, batch["image"], slots_keys(batch["index"]))
        return slotjax.responsibilities(out, batch["image"]), discovery.slots_drawn(out.masks)

    def score(params: Any, batch: dict) -> Figures:
        each, drawn = jax.device_get(shares(params, batch))
        merged = np.einsum("bkhw,bkg->bghw", each, np.eye(each.shape[1])[merge(each)])
        kinds = {"each": each, "merged": merged}
        scored = {kind: scores(batch["segments"], claims, num_true) for kind, claims in kinds.items()}
        scored["each"]["slots_drawn"] = drawn
        return {f"{kind}/{name}": values for kind, own in scored.items() for name, values in own.items()}

    scored = collect(score, params, batches)
    names = {"each": (*FIGURES, *DRAWN), "merged": tuple(FIGURES)}
    each, merged = ({name: scored[f"{kind}/{name}"] for name in own} for kind, own in names.items())
    return each, merged


def scores(truth: Any, shares: np.ndarray, num_true: int) -> Figures:
    """`FIGURES` [b] of the slots that have most of each pixel, [b, k, h, w]."""
    found, slots = shares.argmax(1), shares.shape[1]
    won = np.eye(slots)[found].mean((1, 2))
    own = segmentation_scores(truth, found, num_true=num_true, num_pred=slots)
    return {**own, "slots_used": (won >= discovery.LEAST_SHARE).sum(1)}


if __name__ == "__main__":
    cli.run(main)
