"""A run's held-out scenes, the first and those it does worst on: python benchmarks/worst.py RUN FILE.webp

By the FG-ARI of the responsibilities; of data without segments, and of predicted sets, the first ones alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import slotjax
from slotjax import cli
from slotjax.config import disk
from slotjax.tasks import TASKS
from slotjax.training.evaluation import build_score, collect, slots_keys
from slotjax.training.feed import open_feed

PICTURES, VIDEOS = 3, 1  # how many of either kind are drawn
FIGURE = "posterior_fg_ari"
QUALITY = 80  # of the file


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    flags = parser.parse_args(argv)
    print(draw(flags.run, flags.file))


def draw(run: Path, file: Path) -> dict[str, Any]:
    """Draws them into the file; which they are, and their figures."""
    config = disk.load_valid(run / "config.json")
    feed, task = open_feed(config), TASKS[config.model.name]
    model, params = slotjax.load(run)
    count = VIDEOS if config.data.eval_frames else PICTURES
    figures = collect(build_score(config, model, feed.num_true), params, feed.eval_batches())
    scored = figures.get(FIGURE, np.empty(0))
    worst = np.argsort(np.where(np.isnan(scored), np.inf, scored))[:count]
    index = np.concatenate([np.arange(count), worst])
    batch = feed.held_out(index)
    picture = task.pictures(model, params, batch, slots_keys(batch["index"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file, quality=QUALITY)
    return {"first": count, "worst": [float(value) for value in scored[worst]]}


if __name__ == "__main__":
    cli.run(main)
