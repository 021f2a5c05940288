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
from slotjax.tasks import TASKS
from slotjax.training.evaluation import slots_keys
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed

PICTURES, VIDEOS = 3, 1  # how many of either kind are drawn, from the front and of the worst
QUALITY = 80  # of the file
FIGURE = "posterior_fg_ari"

Segments = tuple[np.ndarray, np.ndarray]  # the true ids, and the slots that were found: int [n, ...]


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
    split = np.stack([one_slot_each(*pair) for pair in zip(truth, found, strict=True)])
    shared = np.stack([one_object_each(*pair) for pair in zip(truth, found, strict=True)])
    both = np.stack([one_slot_each(*pair) for pair in zip(truth, shared, strict=True)])
    return {name: (truth, ids) for name, ids in (("own", found), ("split", split), ("shared", shared), ("both", both))}


def counts(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How many pixels each true id shares with each slot."""
    shape = truth.max() + 1, found.max() + 1
    return np.bincount(np.ravel_multi_index((truth, found), shape), minlength=np.prod(shape)).reshape(shape)


def one_slot_each(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Each slot as the id of what most of its pixels are."""
    return counts(truth, found).argmax(0)[found]


def one_object_each(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """An object that lies in a slot which is mostly another's, or the background's, has that part as one of its own."""
    shared = counts(truth, found)
    slots, owners = shared.argmax(1), shared.argmax(0)
    parted = found.copy()
    for thing in range(1, len(shared)):
        if shared[thing].any() and owners[slots[thing]] != thing:
            parted[(truth == thing) & (found == slots[thing])] = shared.shape[1] + thing
    return parted


def fg_ari(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Of each scene, float [n]."""
    ids = {"num_true": int(truth.max()) + 1, "num_pred": int(found.max()) + 1}
    return np.asarray(adjusted_rand_index(truth[:, None], found[:, None], **ids, ignore_background=True))


if __name__ == "__main__":
    cli.run(main)
