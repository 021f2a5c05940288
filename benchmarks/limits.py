"""What limits a run: the held-out scenes that it does worst on, and what each kind of error costs.

    python benchmarks/limits.py RUN FILE.webp

Draws the first scenes and the worst, and prints the FG-ARI of the responsibilities' segments: as they are, with slots
of the same object made one, with objects that share a slot parted (as the truth has it), and with both; what is then
left are outlines. Sets of objects have no segments: of them the first scenes alone are drawn.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measured import recorded
from PIL import Image

import slotjax
from slotjax import cli
from slotjax.api import jitted_apply
from slotjax.config import disk
from slotjax.metrics import adjusted_rand_index
from slotjax.metrics.segmentation import contingency
from slotjax.tasks import TASKS
from slotjax.training.evaluation import slots_keys
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed

PICTURES, VIDEOS = 3, 1  # how many of either kind are drawn, from the front and of the worst
QUALITY = 80  # of the file
FIGURE = "posterior_fg_ari"

Segments = tuple[np.ndarray, np.ndarray]  # the true ids, and the slots that were found: int [n, pixels]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    flags = parser.parse_args(argv)
    print(limits(flags.run, flags.file))


def limits(run: Path, file: Path) -> dict[str, Any]:
    """Draws scenes into the file: how many of each kind, the FG-ARI of the worst, and the means without errors."""
    config = disk.load_valid(run / "config.json")
    feed, task, count = open_feed(config), TASKS[config.model.name], VIDEOS if config.data.eval_frames else PICTURES
    model, params = slotjax.load(run)
    index, found = np.arange(count), {}
    if FIGURE in recorded(config.model.name) and feed.num_true is not None:
        figures = {name: fg_ari(*pair) for name, pair in without_errors(*segments(model, params, feed)).items()}
        worst = np.argsort(np.where(np.isnan(figures["own"]), np.inf, figures["own"]))[:count]
        index, found = np.concatenate([index, worst]), {name: float(np.nanmean(x)) for name, x in figures.items()}
        found |= {"worst": figures["own"][worst].tolist()}
    batch = feed.held_out(index)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = task.pictures(model, params, batch, slots_keys(batch["index"]))
    Image.fromarray(picture).save(file, quality=QUALITY)
    return {"first": count} | found


def segments(model: Any, params: Any, feed: SceneFeed | StoredFeed) -> Segments:
    """Of all held-out scenes; the pixels of a video are in one row."""
    parts = []
    for batch in feed.eval_batches():
        out = jitted_apply(model, params, batch["image"], slots_keys(batch["index"]))
        pair = batch["segments"], slotjax.responsibilities(out, batch["image"]).argmax(-3)
        parts.append([np.asarray(ids)[np.asarray(batch["valid"])] for ids in pair])
    truth, found = (np.concatenate(ids) for ids in zip(*parts, strict=True))
    return truth.reshape(len(truth), -1), found.reshape(len(found), -1)


def without_errors(truth: np.ndarray, found: np.ndarray) -> dict[str, Segments]:
    """The truth, and what was found: as it is, and without errors of one kind or of both."""
    shared = one_object_each(truth, found)
    ways = {"own": found, "split": one_slot_each(truth, found), "shared": shared, "both": one_slot_each(truth, shared)}
    return {name: (truth, ids) for name, ids in ways.items()}


def one_slot_each(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Each slot as the id of what most of its pixels are."""
    return of_each(counts(truth, found).argmax(1), found)


def one_object_each(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """An object that lies in a slot which is mostly another's, or the background's, has that part as one of its own."""
    shared = counts(truth, found)
    slots, owners, things = shared.argmax(2), shared.argmax(1), np.arange(shared.shape[1])
    guests = (of_each(owners, slots) != things) & (things > 0)
    return np.where(of_each(guests, truth) & (found == of_each(slots, truth)), shared.shape[2] + truth, found)


def of_each(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """values [n, m] and ids [n, p] below m -> each id's value, [n, p]."""
    return np.take_along_axis(values, ids, 1)


def counts(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How many pixels of each scene a true id shares with a slot: [n, ids, slots]."""
    return np.asarray(contingency(truth[:, None], found[:, None], *numbers(truth, found)))


def fg_ari(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Of each scene, float [n]."""
    num_true, num_pred = numbers(truth, found)
    options = {"num_true": num_true, "num_pred": num_pred, "ignore_background": True}
    return np.asarray(adjusted_rand_index(truth[:, None], found[:, None], **options))


def numbers(truth: np.ndarray, found: np.ndarray) -> tuple[int, int]:
    """How many true ids and slots there are."""
    return int(truth.max()) + 1, int(found.max()) + 1


if __name__ == "__main__":
    cli.run(main)
