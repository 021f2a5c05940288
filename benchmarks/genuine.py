"""How a model that was trained on rendered scenes does on genuine CLEVR ones, which it has never seen.

    python benchmarks/genuine.py --weights NAME_OR_DIR --sample clevr_with_masks.tfrecords [--size 128] [--sigma]
        [--figure FILE.png]

Prints a table: scenes of at most 6 objects with 7 slots, as in the paper, and all scenes with 11; a model that learned
a start for each slot has as many as it learned. Every figure is the mean over images with its bootstrap 95% interval
(10,000 resamples of the images). Pictures come in the usual crop, in the model's resolution; with --size they are
scored at that many pixels a side, and the model sees them at its own. --sigma adds how the segments of the
responsibilities depend on sigma. The file's converted form is made beside it.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import sigma
from tables import table

from slotjax import apply, cli, load, responsibilities
from slotjax.api import masks_at
from slotjax.data.batches import eval_batches, stack
from slotjax.data.stored import open_stored
from slotjax.drawing import slots as pictures
from slotjax.errors import UserError
from slotjax.models import ObjectDiscovery
from slotjax.nn.initializers import LearnedSlots
from slotjax.tasks import discovery
from slotjax.training.evaluation import collect, slots_keys

CASES = (("at most 6", 6, 7), ("any number", None, 11))  # which scenes, the most objects, slots
RESAMPLES, INTERVAL = 10_000, (2.5, 97.5)
DRAWN = 6
BATCH = 8  # a slot of 128x128 pixels takes a lot of a laptop's memory


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="packaged weights, a file of slotjax.pack, or a run's folder")
    parser.add_argument(
        "--sample", required=True, type=Path, help="CLEVR-with-masks TFRecords, or their converted form"
    )
    parser.add_argument("--size", type=int, help="pixels a side at which pictures are scored; the model's by default")
    parser.add_argument("--sigma", action="store_true", help="also a table over sigma for each kind of scenes")
    parser.add_argument("--figure", type=Path, help="where to draw some scenes and what became of them")
    flags = parser.parse_args(argv)
    model, params = load(flags.weights)
    if not isinstance(model, ObjectDiscovery):
        raise UserError(f"--weights {flags.weights}: its model draws no masks; give one of object discovery")
    if flags.size is not None and flags.size < max(model.resolution):
        raise UserError(f"--size {flags.size}: must be at least the model's own, {max(model.resolution)}")
    size = (flags.size, flags.size) if flags.size else model.resolution
    rows, curves = [], []
    for title, most, slots in CASES:
        slots = learned_slots(model) or slots
        examples = scenes(flags.sample, size, most)
        figures = score(model, params, examples, slots)
        rows.append(
            [title, str(slots), str(len(examples)), *map(with_interval, map(figures.get, discovery.SEGMENTATION))]
        )
        if size != model.resolution and (flags.sigma or flags.figure):
            examples = scenes(flags.sample, model.resolution, most)
        if flags.sigma:
            found = sigma.curve(model, params, batches(examples), most_objects(examples) + 1, slots)
            curves.append(f"\n{title}\n\n{sigma.curve_table(found)}")
        if flags.figure and most:
            draw(model, params, examples[:DRAWN], flags.figure)
    names = [f"{discovery.TITLES[name]} (95% interval)" for name in discovery.SEGMENTATION]
    print(table(["objects", "slots", "images", *names], rows), *curves, sep="\n")


def draw(model: Any, params: Any, examples: Sequence[dict], path: Path) -> None:
    """A row for each scene, as training draws them."""
    batch = stack(examples)
    keys = slots_keys(np.arange(len(examples)))
    pictures.save(discovery.pictures(model, params, batch, keys), path)


def learned_slots(model: Any) -> int | None:
    """How many slots the model learned a start for; none of them can be left out, since one may be the background's."""
    start = model.attention.initializer
    return start.num_slots if isinstance(start, LearnedSlots) else None


def scenes(sample: Path, resolution: tuple[int, int], most: int | None) -> list[dict]:
    """All scenes of the file with at most so many objects: none of them was trained on, so none is set apart."""
    config = {"name": "clevr_with_masks", "path": sample, "eval_images": 1, "max_objects": most}
    parts = [open_stored(config, resolution, split) for split in ("eval", "train")]
    return [part[i] for part in parts for i in range(len(part))]


def most_objects(examples: Sequence[dict]) -> int:
    return max(len(examples[0]["objects"]["present"]), 1)


def batches(examples: Sequence[dict]) -> Iterator[dict]:
    for i, batch in enumerate(eval_batches(examples, batch_size=BATCH)):
        yield batch | {"index": np.arange(i * BATCH, (i + 1) * BATCH)}


def score(model: Any, params: Any, examples: Sequence[dict], slots: int) -> dict[str, np.ndarray]:
    """Every image's figures, {figure: [n]}, at the images' size; the model sees them at its own."""
    num_true = most_objects(examples) + 1

    @jax.jit
    def scores(params, batch):
        images, truth = batch["image"], batch["segments"]
        seen = jax.image.resize(images, (len(images), *model.resolution, 3), "linear")
        out = apply(model, params, seen, slots_keys(batch["index"]), num_slots=slots)
        found = {"": masks_at(out, truth.shape[1:]), "posterior_": responsibilities(out, images)}
        each = {kind: discovery.segmentation_scores(truth, x.argmax(1), num_true, slots) for kind, x in found.items()}
        return {f"{kind}{name}": values for kind, figures in each.items() for name, values in figures.items()}

    return collect(scores, params, batches(examples))


def with_interval(values: np.ndarray) -> str:
    """The mean over the images that have the figure, and its bootstrap interval."""
    values = np.asarray(values, np.float64)[~np.isnan(values)]
    low, high = bootstrap(values)
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """The percentile interval of the mean of values [n] under resampling; the same at every call."""
    random, count = np.random.default_rng(0), len(values)
    means = [values[random.integers(count, size=count)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, INTERVAL)
    return float(low), float(high)


if __name__ == "__main__":
    cli.run(main)
