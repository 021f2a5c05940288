"""Rendered CLEVR scenes beside genuine ones: a table of statistics and a figure.

    python benchmarks/compare_clevr.py --sample clevr_with_masks_sample.tfrecords [--figure docs/figures/clevr.jpg]

The genuine scenes are rendered again with the same objects and camera (recovered from the stored coordinates) and with
random lamps; a third column has fresh scenes. The first half of the sample served to fit the renderer's constants
(benchmarks/fit_clevr.py), so the table is taken over the second half; masks, for which nothing was fitted, are compared
over all of it.
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from clevr_worlds import world_of_record

from slotjax.data.scenes import clevr
from slotjax.data.scenes.clevr_world.camera import directions, look_at_origin, pixel_grid
from slotjax.data.scenes.clevr_world.render import render
from slotjax.data.scenes.clevr_world.shapes import hit_distance
from slotjax.data.scenes.clevr_world.vectors import unstack
from slotjax.data.scenes.clevr_world.world import World, sample_lamps
from slotjax.data.schemas import match_schema
from slotjax.data.tf_example import parse_example
from slotjax.data.tfrecords import read_records

FRAME = {"resolution": (240, 320), "crop": False}


def read_sample(path: Path) -> list[np.ndarray]:
    """The scenes of a CLEVR-with-masks file as converted records."""
    records = []
    for index, payload in enumerate(read_records(path)):
        where = f"{path}: record {index}"
        features = parse_example(payload, where)
        records.append(match_schema(features, where, "clevr_with_masks").encode(features))
    return records


def to_bytes(image: np.ndarray) -> np.ndarray:
    """[-1, 1] to grey levels 0..255, as float32."""
    return np.clip(np.round((np.asarray(image) + 1.0) * 127.5), 0, 255).astype(np.float32)


def ious(genuine: np.ndarray, rendered: np.ndarray) -> list[float]:
    """Intersection over union of every object's two masks."""
    pairs = [(genuine == i, rendered == i) for i in range(1, 11) if (genuine == i).any()]
    return [float((a & b).sum() / (a | b).sum()) for a, b in pairs]


def ground_and_shadow(image: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean ground brightness in four bands of rows, and the share of ground pixels in shadow.

    The unshadowed ground is a cubic surface fitted to brightness with darker pixels left out step by step; more than 6%
    below it counts as shadow.
    """
    brightness, ground = image.mean(-1), segments == 0
    bands = np.array([brightness[rows][ground[rows]].mean() for rows in np.split(np.arange(240), 4)])
    y, x = np.mgrid[-1:1:240j, -1:1:320j]
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1)[ground]
    values = brightness[ground]
    lit = np.ones(values.shape, bool)
    for _ in range(8):
        surface = terms @ np.linalg.lstsq(terms[lit], values[lit], rcond=None)[0]
        lit = values > 0.97 * surface
    return bands, float((values < 0.94 * surface).mean())


@jax.jit
def alone(world: World) -> jax.Array:
    """Pixels of the frame that each object would cover if it were alone, [n]."""
    camera = look_at_origin(world.camera)
    rays = directions(camera, pixel_grid(FRAME["resolution"], FRAME["crop"])[:, 0])
    reach = jax.vmap(hit_distance, in_axes=(0, None, None))(world.solids(), unstack(camera.position), rays)
    return jnp.sum(jnp.isfinite(reach), axis=(1, 2))


def statistics(images: list[np.ndarray], segments: list[np.ndarray]) -> dict[str, str]:
    """What is compared, as text by name."""
    pixels = np.stack(images).reshape(-1, 3)
    objects = np.concatenate([image[s > 0] for image, s in zip(images, segments, strict=True)])
    ground = [ground_and_shadow(image, s) for image, s in zip(images, segments, strict=True)]
    areas = np.concatenate([np.bincount(s.ravel(), minlength=2)[1:] for s in segments])
    areas = areas[areas > 0]
    edges = [np.abs(np.diff(image.mean(-1), axis=1)).mean() for image in images]
    show = functools.partial(np.array2string, precision=1, floatmode="fixed", suppress_small=True)
    return {
        "mean of red, green, blue": show(pixels.mean(0)),
        "spread of red, green, blue": show(pixels.std(0)),
        "mean within objects": show(objects.mean(0)),
        "spread within objects": show(objects.std(0)),
        "ground, by quarters from the top": show(np.mean([bands for bands, _ in ground], axis=0)),
        "ground in shadow, %": f"{100 * np.mean([share for _, share in ground]):.1f}",
        "step between neighbouring pixels": f"{np.mean(edges):.2f}",
        "visible area of an object, mean": f"{areas.mean():.0f}",
        "quartiles of it": show(np.quantile(areas, [0.25, 0.5, 0.75])),
    }


def occlusion(segments: list[np.ndarray], full: list[np.ndarray]) -> dict[str, str]:
    """How much of the objects is seen, given the pixels that each would cover alone."""
    seen = [np.bincount(s.ravel(), minlength=11)[1:11] / np.maximum(f, 1) for s, f in zip(segments, full, strict=True)]
    share = np.concatenate([s[f > 0] for s, f in zip(seen, full, strict=True)])
    return {
        "visible share of an object, mean": f"{share.mean():.3f}",
        "objects of which less than 90% is seen, %": f"{100 * (share < 0.9).mean():.1f}",
    }


def figure(pairs: list[tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Genuine pictures on the left, the same scenes rendered on their right; two pairs a row."""
    from PIL import Image

    tiles = [np.concatenate([a, np.full((240, 4, 3), 255), b], axis=1) for a, b in pairs]
    gap = np.full((240, 16, 3), 255)
    rows = [np.concatenate([tiles[i], gap, tiles[i + 1]], axis=1) for i in range(0, len(tiles) - 1, 2)]
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(path, quality=88)
    print(f"Wrote {path}: genuine left, rendered right")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=Path, required=True, help="clevr_with_masks_sample.tfrecords")
    parser.add_argument("--figure", type=Path, help="write a side-by-side picture there")
    parser.add_argument("--fresh", type=int, default=64, help="number of fresh scenes")
    options = parser.parse_args()

    records = read_sample(options.sample)
    worlds = [world_of_record(record) for record in records]
    lamps = jax.vmap(sample_lamps)(jax.random.split(jax.random.key(1), len(worlds)))
    worlds = [world.replace(lamps=lamp) for world, lamp in zip(worlds, lamps, strict=True)]
    shown = jax.jit(functools.partial(render, **FRAME))
    rendered = [jax.tree.map(np.asarray, shown(world)) for world in worlds]
    draw = jax.jit(functools.partial(clevr, min_objects=3, max_objects=10, **FRAME))
    fresh = [draw(key) for key in jax.random.split(jax.random.key(2), options.fresh)]

    all_genuine = [record["entity"].astype(int) for record in records]
    overlaps = [v for genuine, (_, ours) in zip(all_genuine, rendered, strict=True) for v in ious(genuine, ours)]
    held_out = slice(len(records) // 2, None)
    genuine_images = [record["image"].astype(np.float32) for record in records[held_out]]
    images = [to_bytes(image) for image, _ in rendered[held_out]]
    segments = [s for _, s in rendered[held_out]]
    full = [np.asarray(alone(world)) for world in worlds[held_out]]
    columns = [
        statistics(genuine_images, all_genuine[held_out]) | occlusion(all_genuine[held_out], full),
        statistics(images, segments) | occlusion(segments, full),
        statistics([to_bytes(scene.image) for scene in fresh], [np.asarray(scene.segments) for scene in fresh]),
    ]
    print("| | genuine | rendered again | fresh scenes |\n| --- | --- | --- | --- |")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column.get(name, '') for column in columns)} |")
    print(
        f"\nmask IoU over {len(overlaps)} objects of all {len(records)} scenes: median {np.median(overlaps):.4f}, "
        f"5% {np.quantile(overlaps, 0.05):.4f}, least {min(overlaps):.4f}"
    )
    error = np.mean([np.abs(a - b).mean() for a, b in zip(genuine_images, images, strict=True)])
    print(f"mean absolute difference of pixels, with random lamps: {error:.2f} of 255")
    if options.figure:
        figure(list(zip(genuine_images, images, strict=True))[:8], options.figure)


if __name__ == "__main__":
    main()
