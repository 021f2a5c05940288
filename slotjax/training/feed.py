"""Batches onto the devices: scenes rendered there, stored data read ahead on the host."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax.configuration import EVAL_SEED
from slotjax.data.scenes import SCENES, Scene
from slotjax.errors import UserError
from slotjax.training.parallel import Parallel
from slotjax.training.rng import example_keys, stream_key

Batch = dict[str, Any]

# Scenes rendered side by side, so that memory does not grow with the batch; a CPU's cache holds one at a time.
CHUNK = {"cpu": 1}


def open_feed(config: ConfigDict) -> "SceneFeed | StoredFeed":
    """The feed of `config.data`; a `UserError` if there is no such data."""
    return SceneFeed(config) if config.data.name in SCENES else StoredFeed(config)


class SceneFeed:
    """Endless scenes, rendered from keys.

    Attributes:
      num_true: how many ids the true segments have, background included; None without masks.
    """

    def __init__(self, config: ConfigDict):
        self.config = config
        self.scene = scene_function(config)
        shape = jax.eval_shape(self.scene, jax.random.key(0))
        if shape.image.shape[:2] != tuple(config.model.resolution):
            raise UserError(
                f"model.resolution={tuple(config.model.resolution)}: {config.data.name} scenes are "
                f"{shape.image.shape[:2]}; set model.resolution to that"
            )
        self.num_true: int | None = shape.objects["present"].shape[0] + 1
        held_out = stream_key(EVAL_SEED, "held-out scenes")
        self._render_held_out = jax.jit(lambda index: self.render(example_keys(held_out, 0, index)))

    def render(self, keys: jax.Array) -> Batch:
        """keys [b] -> image, segments and objects."""
        scene = jax.lax.map(self.scene, keys, batch_size=CHUNK.get(jax.default_backend(), 16))
        return {"image": scene.image, "segments": scene.segments, "objects": scene.objects}

    def train_batches(self, parallel: Parallel, start_step: int) -> Iterator[Batch]:
        """Batches from step `start_step` on, each made by the devices that use it; a pure function of (seed, step)."""
        key = stream_key(self.config.seed, "scenes")

        def draw(step, index):  # only what training needs: the masks stay unseen, and unrendered
            return {"image": self.render(example_keys(key, step, index))["image"], "index": index}

        render = parallel.over_batch(draw, batched_output=True)
        index = parallel.shard(np.arange(self.config.train.batch_size, dtype=np.int32))
        for step in itertools.count(start_step):
            yield render(jnp.int32(step), index)

    def eval_batches(self) -> Iterator[Batch]:
        """The held-out scenes, the same for every seed and run; `valid` marks those that are not padding."""
        size, count = self.config.eval.batch_size, self.config.data.eval_images
        for start in range(0, count, size):
            index = np.arange(start, start + size, dtype=np.int32)
            yield self._render_held_out(index) | {"index": index, "valid": index < count}

    def held_out(self, index: np.ndarray) -> Batch:
        """The held-out scenes of these numbers [n]."""
        size = self.config.eval.batch_size  # the batch that is already compiled
        padded = np.resize(np.asarray(index, np.int32), -(-len(index) // size) * size)
        parts = [self._render_held_out(padded[start : start + size]) for start in range(0, len(padded), size)]
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(index)], *parts)
        return whole | {"index": padded[: len(index)]}


class StoredFeed:
    """A stored data set, in an order that is a pure function of (seed, step)."""

    def __init__(self, config: ConfigDict):
        from slotjax.data import loader  # brings grain

        self.config, self.loader = config, loader
        data, resolution = _reader_config(config.data), tuple(config.model.resolution)
        self.train = loader.open_stored(data, resolution, "train")
        self.eval = loader.open_stored(data, resolution, "eval")
        self.num_true = self.eval.max_objects + 1 if self.eval.has_segments and self.eval.max_objects else None

    def train_batches(self, parallel: Parallel, start_step: int) -> Iterator[Batch]:
        """Batches from step `start_step` on, copied to the devices while the step before still runs."""
        size = self.config.train.batch_size
        index = np.arange(size, dtype=np.int32)
        batches = self.loader.batches(
            self.train,
            seed=self.config.seed,
            batch_size=size,
            start_step=start_step,
            num_workers=self.config.data.num_workers,
        )
        for batch in batches:
            yield parallel.shard({"image": batch["image"], "index": index})

    def eval_batches(self) -> Iterator[Batch]:
        """The held-out images, once, in order; `valid` marks those that are not padding."""
        size = self.config.eval.batch_size
        for i, batch in enumerate(self.loader.eval_batches(self.eval, batch_size=size)):
            yield batch | {"index": np.arange(i * size, (i + 1) * size, dtype=np.int32)}

    def held_out(self, index: np.ndarray) -> Batch:
        """The held-out images of these numbers [n]."""
        return self.loader.stack([self.eval[int(i)] for i in index]) | {"index": np.asarray(index, np.int32)}


def scene_function(config: ConfigDict) -> Callable[[jax.Array], Scene]:
    """`config.data`'s scene family with its options bound, at the model's resolution where the family has a choice."""
    name, options = config.data.name, dict(config.data.options)
    family = SCENES[name]
    known = inspect.signature(family).parameters
    for option, value in options.items():
        if option not in known or option in ("key", "resolution"):
            names = ", ".join(x for x in known if x not in ("key", "resolution")) or "none"
            raise UserError(f"data.options.{option}={value!r}: {name} scenes have no such option; they have {names}")
    if "resolution" in known:
        options["resolution"] = tuple(config.model.resolution)
    return partial(family, **options)


def _reader_config(data: ConfigDict) -> dict[str, Any]:
    crops = {"default": None, "reference": "reference", "none": False}
    if data.crop not in crops:
        raise UserError(f"data.crop={data.crop!r}: choose one of {', '.join(crops)}")
    fields = {"name": data.name, "path": data.path or None, "eval_images": data.eval_images}
    fields |= {"max_objects": data.max_objects or None}
    return fields if crops[data.crop] is None else fields | {"crop": crops[data.crop]}
