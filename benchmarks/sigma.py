"""How segments of the responsibilities depend on their one number: python benchmarks/sigma.py NAME_OR_DIR...

Prints FG-ARI, ARI and foreground mIoU over sigma (`slotjax.responsibilities`) on a model's own held-out images, of
weights that come with the library, a file of slotjax.pack, or a training run's directory; "masks" is the argmax of the
masks, which is what a large sigma comes to.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tables import table

import slotjax
from slotjax import cli, weights
from slotjax.config import disk
from slotjax.models import Model
from slotjax.tasks import discovery
from slotjax.training.evaluation import collect, slots_keys
from slotjax.training.feed import open_feed

SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
FIGURES = {"fg_ari": "FG-ARI", "ari": "ARI", "miou": "foreground mIoU"}

Curve = dict[str, dict[str, float]]  # {sigma or "masks": {figure: mean}}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME_OR_DIR")
    parser.add_argument("--images", type=int, help="how many held-out images; as in the config by default")
    options = parser.parse_args(argv)
    for name in options.names:
        print(f"{name}\n\n{curve_table(own_curve(name, options.images))}\n")


def own_curve(name: str | Path, images: int | None = None) -> Curve:
    """Of a model on its own held-out images."""
    model, params = slotjax.load(name)
    path = Path(name) / "config.json"
    config = disk.load_valid(path) if path.exists() else disk.from_fields(weights.read(weights.find(name))[0])
    config.data.eval_images = images or config.data.eval_images
    feed = open_feed(config)
    return curve(model, params, feed.eval_batches(), feed.num_true or 2)


def curve(model: Model, params: Any, batches: Iterable[dict], num_true: int, num_slots: int | None = None) -> Curve:
    """Means over the images, which have true segments."""

    @jax.jit
    def scores(params, batch):
        keys = slots_keys(batch["index"])
        out = slotjax.apply(model, params, batch["image"], keys, num_slots=num_slots)
        found = {"masks": out.masks.argmax(1)}
        for sigma in SIGMAS:
            found[str(sigma)] = slotjax.responsibilities(out, batch["image"], sigma=sigma).argmax(1)
        count = out.masks.shape[1]
        each = {name: discovery.segmentation_scores(batch["segments"], x, num_true, count) for name, x in found.items()}
        return {f"{name}/{figure}": x for name, scored in each.items() for figure, x in scored.items()}

    figures = collect(scores, params, batches)
    names = ["masks", *map(str, SIGMAS)]
    return {name: {figure: float(np.nanmean(figures[f"{name}/{figure}"])) for figure in FIGURES} for name in names}


def curve_table(found: Curve) -> str:
    rows = [[name, *(f"{means[figure]:.3f}" for figure in FIGURES)] for name, means in found.items()]
    return table(["sigma", *FIGURES.values()], rows)


if __name__ == "__main__":
    cli.run(main)
