"""How a model that was trained on rendered scenes does on genuine CLEVR ones, which it has never seen.

    python benchmarks/genuine.py --weights NAME_OR_DIR --sample clevr_with_masks.tfrecords [--figure FILE.png]

Prints a table: scenes of at most 6 objects with 7 slots, as in the paper, and all scenes with 11; a model that learned
a start for each slot has as many as it learned. Every figure is the mean over images with its bootstrap 95% interval
(10,000 resamples of the images). Pictures come in the usual crop, in the model's resolution; the file's converted form
is made beside it.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tables import table

from slotjax import apply, cli, load
from slotjax.configuration import EVAL_SEED
from slotjax.data.batches import eval_batches
from slotjax.data.stored import open_stored
from slotjax.drawing import slots as pictures
from slotjax.errors import UserError
from slotjax.models import ObjectDiscovery
from slotjax.nn.initializers import LearnedSlots
from slotjax.tasks import discovery
from slotjax.training.evaluation import collect
from slotjax.training.rng import example_keys, stream_key

CASES = (("at most 6", 6, 7), ("any number", None, 11))  # which scenes, the most objects, slots
RESAMPLES, INTERVAL = 10_000, (2.5, 97.5)
DRAWN = 6
BATCH = 8  # a slot of 128x128 pixels takes a lot of a laptop's memory


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="packaged weights, a .npz file, or a run's directory")
    parser.add_argument(
        "--sample", required=True, type=Path, help="CLEVR-with-masks TFRecords, or their converted form"
    )
    parser.add_argument("--figure", type=Path, help="where to draw some scenes and what became of them")
    flags = parser.parse_args(argv)
    model, params = load(flags.weights)
    if not isinstance(model, ObjectDiscovery):
        raise UserError(f"--weights {flags.weights}: its model draws no masks; give one of object discovery")
    rows = [row(model, params, flags.sample, *case) for case in CASES]
    names = discovery.SEGMENTATION.values()
    print(table(["objects", "slots", "images", *(f"{name} (95% interval)" for name in names)], rows))
    if flags.figure:
        draw(model, params, scenes(flags.sample, model.resolution, CASES[0][1])[:DRAWN], flags.figure)


def draw(model: Any, params: Any, examples: Sequence[dict], path: Path) -> None:
    """A row for each scene: input, reconstruction, truth, what was found, every slot."""
    images, segments = (np.stack([example[name] for example in examples]) for name in ("image", "segments"))
    out = jax.jit(apply, static_argnames="model")(model, params, images, stream_key(EVAL_SEED, "evaluation slots"))
    pictures.save(pictures.sheet(images, out, segments), path)


def row(model: Any, params: Any, sample: Path, title: str, most: int | None, slots: int) -> list[str]:
    """One kind of scenes: how many there are, and each figure with its interval."""
    slots = learned_slots(model) or slots
    examples = scenes(sample, model.resolution, most)
    figures = score(model, params, examples, slots)
    return [title, str(slots), str(len(examples)), *(with_interval(figures[name]) for name in discovery.SEGMENTATION)]


def learned_slots(model: Any) -> int | None:
    """How many slots the model learned a start for; none of them can be left out, since one may be the background's."""
    start = model.attention.initializer
    return start.num_slots if isinstance(start, LearnedSlots) else None


def scenes(sample: Path, resolution: tuple[int, int], most: int | None) -> list[dict]:
    """All scenes of the file with at most so many objects: none of them was trained on, so none is set apart."""
    config = {"name": "clevr_with_masks", "path": sample, "eval_images": 1, "max_objects": most}
    parts = [open_stored(config, resolution, split) for split in ("eval", "train")]
    return [part[i] for part in parts for i in range(len(part))]


def score(model: Any, params: Any, examples: Sequence[dict], slots: int) -> dict[str, np.ndarray]:
    """Every image's figures, {figure: [n]}."""
    num_true = max(len(examples[0]["objects"]["present"]), 1) + 1
    scores = jax.jit(partial(discovery.scores, model, num_true=num_true, num_slots=slots))
    key = stream_key(EVAL_SEED, "evaluation slots")
    batches = eval_batches(examples, batch_size=BATCH)
    numbered = (batch | {"index": np.arange(i * BATCH, (i + 1) * BATCH)} for i, batch in enumerate(batches))
    return collect(lambda params, batch: scores(params, batch, example_keys(key, 0, batch["index"])), params, numbered)


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
