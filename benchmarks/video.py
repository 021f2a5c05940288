"""Videos by a model of videos, and frame by frame by a model of pictures whose slots are matched between frames.

python benchmarks/video.py (--workdir DIR | --weights NAME) [--pictures quick] [--videos 64] [--frames 24] [--figure F]

Held-out scenes of the run's own data, longer than those trained on: how good the segments by responsibilities are over
whole videos and in parts of them, and how often an object's slot changes, also where frames that show fewer than eight
pixels of it do not count ("in sight"). Of the picture model each frame's slots are matched greedily to those of the
frame before, the closest two first. F gets a strip of the first three videos, or, if it ends in .webp, the first six,
moving.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tables import table

import slotjax
from slotjax import metrics
from slotjax.config import disk
from slotjax.config.schema import defaults
from slotjax.drawing import slots, strips
from slotjax.tasks.discovery import frame_fg_ari
from slotjax.training.feed import open_feed
from slotjax.weights import find, read

PART = 6  # frames
IN_SIGHT = 8  # pixels of an object
MILLISECONDS = 120  # that a frame of the figure is shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", type=Path)
    source.add_argument("--weights")
    parser.add_argument("--pictures", default="quick", help="weights or a run of a picture model")
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    config, (model, params) = opened(arguments.workdir or arguments.weights)
    config.data.update(eval_images=arguments.videos, eval_frames=arguments.frames)
    config.eval.batch_size = min(16, arguments.videos)
    feed = open_feed(config)
    picture, weights = slotjax.load(arguments.pictures)
    found: dict[str, list] = {"video model": [], "picture model, matched": [], "picture model": []}
    truth = []
    for batch in feed.eval_batches():
        out = follow(model, params, batch)
        if arguments.figure and not truth:
            draw(arguments.figure, batch["image"], out, batch["segments"])
        found["video model"].append(segments(out, batch["image"]))
        frames, each = of_frames(picture, weights, batch["image"])
        found["picture model"].append(frames)
        found["picture model, matched"].append(relabel(frames, matched(each)))
        truth.append(np.asarray(batch["segments"]))
    numbers = {"num_true": feed.num_true, "num_pred": max(model.attention.num_slots, picture.attention.num_slots)}
    rows = [row(name, np.concatenate(truth), np.concatenate(of), numbers) for name, of in found.items()]
    parts = [f"frames {start}-{start + PART - 1}" for start in range(0, arguments.frames, PART)]
    print(table(["", "FG-ARI", "ARI", "of frames", "switches", "in sight", *parts], rows))


def opened(source: str | Path):
    """The config, and model and parameters, of a run or of weights."""
    if isinstance(source, Path):
        return disk.load(source / "config.json"), slotjax.load(str(source))
    return disk.from_fields(defaults().to_dict() | read(find(source))[0]), slotjax.load(source)


def follow(model, params, batch):
    cues = model.cues(batch)
    return slotjax.api.jitted_apply(model, params, batch["image"], jax.random.key(0), **cues)


def draw(path: Path, *seen) -> None:
    """A picture of the first of these videos, outputs and true segments."""
    if path.suffix != ".webp":
        slots.save(strips.sheet(*jax.tree.map(lambda x: x[:3], seen), size=48), path)
        return
    first, *rest = map(Image.fromarray, strips.animation(*jax.tree.map(lambda x: x[:6], seen)))
    first.save(path, save_all=True, append_images=rest, duration=MILLISECONDS, loop=0, lossless=True, quality=100)


@jax.jit
def segments(out, images):
    return slotjax.responsibilities(out, images).argmax(-3)


def of_frames(model, params, videos):
    """Segments [b, t, h, w] and slots [b, t, k, d] of every frame on its own."""
    flat = videos.reshape(-1, *videos.shape[2:])
    out = slotjax.api.jitted_apply(model, params, flat, jax.random.key(0))
    return tuple(np.asarray(x).reshape(*videos.shape[:2], *x.shape[1:]) for x in (segments(out, flat), out.slots))


def matched(slots: np.ndarray) -> np.ndarray:
    """Which slot of the first frame each slot goes back to, int [b, t, k]."""
    names = np.zeros(slots.shape[:3], int)
    names[:, 0] = np.arange(slots.shape[2])
    for video, of in zip(slots, names, strict=True):
        for t in range(1, len(video)):
            distances = np.linalg.norm(video[t, :, None] - video[t - 1, None], axis=-1)
            for _ in range(len(distances)):
                i, j = np.unravel_index(distances.argmin(), distances.shape)
                of[t, i] = of[t - 1, j]
                distances[i], distances[:, j] = np.inf, np.inf
    return names


def relabel(found: np.ndarray, names: np.ndarray) -> np.ndarray:
    flat = names.reshape(-1, names.shape[-1])
    return np.stack(
        [name[frame] for name, frame in zip(flat, found.reshape(-1, *found.shape[2:]), strict=True)]
    ).reshape(found.shape)


def row(name: str, truth: np.ndarray, found: np.ndarray, numbers: dict) -> list[str]:
    truth, found = jnp.asarray(truth), jnp.asarray(found)

    def ari(truth, found, ignore_background=True):
        some = np.asarray((truth > 0).any((1, 2, 3)))
        return np.asarray(metrics.adjusted_rand_index(truth, found, ignore_background=ignore_background, **numbers))[
            some
        ].mean()

    parts = [
        ari(truth[:, start : start + PART], found[:, start : start + PART]) for start in range(0, truth.shape[1], PART)
    ]
    single = frame_fg_ari(truth, found, **numbers).mean()
    switches = (metrics.identity_switches(ids, found, **numbers).mean() for ids in (truth, in_sight(truth)))
    figures = [ari(truth, found), ari(truth, found, False), single, *switches, *parts]
    return [name, *(f"{float(x):.3f}" for x in figures)]


def in_sight(truth: jax.Array) -> jax.Array:
    """The ids [b, t, h, w] without objects in frames that show too little of them."""
    own = truth[..., None] == jnp.arange(int(truth.max()) + 1)
    shown = own.sum((2, 3), keepdims=True) >= IN_SIGHT
    return jnp.where((own & shown).any(-1), truth, 0)


if __name__ == "__main__":
    main()
