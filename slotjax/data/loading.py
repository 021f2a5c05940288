"""Batches for a training loop of one's own, of scenes and of stored data alike."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.data.scenes import SCENES, Scene, bind, options_of
from slotjax.data.scenes.rendering import render
from slotjax.data.stored import STORED
from slotjax.data.stored.base import DEFAULT_EVAL_IMAGES
from slotjax.errors import UserError, shown
from slotjax.nn.fields import Count, choose
from slotjax.nn.fields import check as check_field
from slotjax.system.rng import EVAL_SEED, example_keys, stream_key

Batches = Iterator[dict[str, Any]]


def loader(
    name: str,
    resolution: tuple[int, int],
    batch_size: int,
    *,
    split: Literal["train", "eval"] = "train",
    seed: int = 0,
    start_step: int = 0,
    path: str | Path = "",
    options: Mapping[str, Any] | None = None,
    num_frames: int = 0,
    max_objects: int = 0,
    crop: Literal["default", "reference", "none"] = "default",
    augment: Literal["none", "flip", "crop"] = "none",
    eval_images: int = 0,
    num_workers: int = 0,
) -> Batches:
    """Batches of pictures with their truth, for a training loop of one's own: what `slotjax train` sees.

    Of the split "train" there is no end: batch s is a pure function of (seed, s), so that a loop goes on where it
    stopped by `start_step`. "eval" are pictures that training does not see, each once and in order; the last batch is
    filled up with repeats or further scenes, and `valid`, bool [b], marks what counts.

    Args:
      name: a scene family ("sprites", "clevr", "moving_sprites", ...) or a stored data set ("folder", "movi", ...).
      resolution: height and width of the pictures, as in `model.resolution`.
      path: of stored data, its file or folder; options: of scenes, keywords of the family.
      num_frames: how many a video has; 0 for pictures.
      max_objects, crop, augment: of stored data, as in `config.data` (docs/data.md).
      eval_images: how many the split "eval" has; 0 for 320, or a tenth of a small stored set. Where both splits are
        made of one list, the split "train" has the rest: give both the same.
      num_workers: threads that read stored data ahead.

    Returns:
      An iterator of dicts: `image` float32 [b, h, w, 3] in [-1, 1]; where the truth is known `segments` int32
      [b, h, w], 0 the background, and `objects`, arrays [b, m, ...] by name. Of videos everything has t after b, but
      for what a video has once. Scenes are rendered on the device; stored data come as NumPy arrays.

    Raises:
      UserError: no such data, options or numbers that they have not, or files that are missing or damaged.
    """
    choose("split", dict.fromkeys(("train", "eval")), split)
    choose("name", {**SCENES, **STORED}, name)
    check_field("batch_size", Count, batch_size)
    height, width = resolution
    if name in SCENES:
        _check_rendered(name, path, max_objects=(max_objects, 0), crop=(crop, "default"), augment=(augment, "none"))
        scene = bind(name, options or {}, (height, width), num_frames)
        if split == "train":
            return _scenes(scene, seed, batch_size, start_step)
        return _held_out_scenes(scene, batch_size, eval_images or DEFAULT_EVAL_IMAGES)
    if options:
        raise UserError(f"options={shown(options)}: are for rendered scenes, {name} is read: leave them out")
    from slotjax.data import batches  # brings readers that scenes do without
    from slotjax.data.stored import open_stored

    fields = {"path": str(path), "num_frames": num_frames, "max_objects": max_objects, "crop": crop, "augment": augment}
    stored = open_stored({"name": name, "eval_images": eval_images, **fields}, (height, width), split)
    if split == "eval":
        return batches.eval_batches(stored, batch_size=batch_size)
    return batches.batches(stored, seed=seed, batch_size=batch_size, start_step=start_step, num_workers=num_workers)


def _check_rendered(name: str, path: str | Path, **of_stored: tuple[Any, Any]) -> None:
    """Raises a `UserError` for what only stored data have: a path, and fields, (value, what it is unless set)."""
    if path:
        raise UserError(f"path={shown(str(path))}: {name} scenes are rendered, no file is read: leave it out")
    for field, (value, unset) in of_stored.items():
        if value != unset:
            own = f", or say options={{'{field}': ...}}" if field in options_of(name) else ""
            raise UserError(f"{field}={shown(value)}: is for stored data, {name} is rendered: leave it out{own}")


def _scenes(scene: Callable[[jax.Array], Scene], seed: int, size: int, start_step: int) -> Batches:
    key, index = stream_key(seed, "scenes"), jnp.arange(size, dtype=np.int32)
    draw = jax.jit(lambda step: render(scene, example_keys(key, step, index)))
    return (draw(np.int32(step)) for step in itertools.count(start_step))


def _held_out_scenes(scene: Callable[[jax.Array], Scene], size: int, count: int) -> Batches:
    key = stream_key(EVAL_SEED, "held-out scenes")
    draw = jax.jit(lambda index: render(scene, example_keys(key, 0, index)))
    numbers = (np.arange(start, start + size, dtype=np.int32) for start in range(0, count, size))
    return (draw(index) | {"valid": index < count} for index in numbers)
