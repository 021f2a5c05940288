"""Batches onto the devices: scenes rendered there, stored data read ahead on the host."""

import inspect
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax import configuration
from slotjax.configuration import EVAL_SEED
from slotjax.data.scenes import SCENES, Scene
from slotjax.errors import UserError
from slotjax.tasks import TASKS
from slotjax.training.parallel import Parallel
from slotjax.training.rng import example_keys, stream_key
from slotjax.training.side_by_side import stack_batches

Batch = dict[str, Any]

# Scenes rendered side by side, so that memory does not grow with the batch; a CPU's cache holds one at a time.
CHUNK = {"cpu": 1}
POOL_PIECE = 256  # scenes of a pool that are rendered in one go


def open_feed(config: ConfigDict) -> "SceneFeed | StoredFeed":
    """The feed of `config.data`; a `UserError` if there is no such data, or if the task cannot learn from it.

    Of several seeds each has a stream of its own, as in a run of its own; batches hold them side by side.
    """
    feed = SceneFeed(config) if config.data.name in SCENES else StoredFeed(config)
    TASKS[config.model.name].check(config, feed.example)
    return feed


class SceneFeed:
    """Endless scenes, rendered from keys.

    Attributes:
      example: shapes and types of one held-out scene, as a batch holds them but for the leading axis.
      num_true: how many ids the true segments have, background included; None without masks.
    """

    def __init__(self, config: ConfigDict):
        self.config = config
        self.fields = TASKS[config.model.name].FIELDS
        self.scene = scene_function(config)
        shape = jax.eval_shape(self.scene, jax.random.key(0))
        if shape.image.shape[:2] != tuple(config.model.resolution):
            raise UserError(
                f"model.resolution={tuple(config.model.resolution)}: {config.data.name} scenes are "
                f"{shape.image.shape[:2]}; set model.resolution to that"
            )
        self.example: Batch = {"image": shape.image, "segments": shape.segments, "objects": shape.objects}
        self.num_true: int | None = shape.objects["present"].shape[0] + 1
        held_out = stream_key(EVAL_SEED, "held-out scenes")
        self._render_held_out = jax.jit(lambda index: self.render(example_keys(held_out, 0, index)))

    def render(self, keys: jax.Array) -> Batch:
        """keys [b] -> image, segments and objects."""
        scene = jax.lax.map(self.scene, keys, batch_size=CHUNK.get(jax.default_backend(), 16))
        return {"image": scene.image, "segments": scene.segments, "objects": scene.objects}

    def train_batches(self, parallel: Parallel, start_step: int) -> Iterator[Batch]:
        """Batches from step `start_step` on, each made by the devices that use it; a pure function of (seed, step)."""
        if self.config.data.get("pool", 0):
            yield from self._pool_batches(parallel, start_step)  # endless
        streams = [stream_key(own.seed, "scenes") for own in configuration.of_each_seed(self.config)]

        def draw(step, index):  # only what training needs: the masks stay unseen, and unrendered
            keys = [example_keys(key, step, index) for key in streams]
            keys = keys[0] if len(keys) == 1 else jnp.stack(keys, 1)
            scenes = self.render(keys.reshape(-1))
            fields = {name: scenes[name] for name in self.fields}
            return jax.tree.map(lambda x: x.reshape(*keys.shape, *x.shape[1:]), fields) | {"index": index}

        render = parallel.over_batch(draw, batched_output=True)
        index = parallel.shard(np.arange(self.config.train.batch_size, dtype=np.int32)[parallel.rows])
        for step in itertools.count(start_step):
            yield render(np.int32(step), index)

    def _pool_batches(self, parallel: Parallel, start_step: int) -> Iterator[Batch]:
        """Batches of scenes that come back, every epoch in another order; as pure a function of (seed, step)."""
        seeds = [own.seed for own in configuration.of_each_seed(self.config)]
        pools, size = [self._render_pool(seed) for seed in seeds], self.config.train.batch_size
        index, count = np.arange(size, dtype=np.int32)[parallel.rows], self.config.data.pool
        for step in itertools.count(start_step):
            epochs, places = np.divmod(np.arange(step * size, (step + 1) * size)[parallel.rows], count)

            def take(pool: Batch, seed: int, epochs=epochs, places=places) -> Batch:
                chosen = np.array([epoch_order(seed, e, count)[place] for e, place in zip(epochs, places, strict=True)])
                return jax.tree.map(lambda x: x[chosen], pool)

            batch = stack_batches([take(pool, seed) for pool, seed in zip(pools, seeds, strict=True)])
            yield parallel.shard(batch | {"image": batch["image"] / np.float32(127.5) - 1, "index": index})

    def _render_pool(self, seed: int) -> Batch:
        """All scenes of a seed's pool on the host, pictures as bytes; by as many threads as there are cores."""
        key = stream_key(seed, "scenes")

        @jax.jit
        def draw(index):
            scenes = self.render(example_keys(key, 0, index))
            image = jnp.round((scenes["image"] + 1) * 127.5).astype(jnp.uint8)
            return {name: scenes[name] for name in self.fields} | {"image": image}

        count = self.config.data.pool
        size = min(POOL_PIECE, count)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            pieces = list(threads.map(lambda at: jax.device_get(draw(at + jnp.arange(size))), range(0, count, size)))
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *pieces)

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

        self.config, self.loader, self.fields = config, loader, TASKS[config.model.name].FIELDS
        data, resolution = _reader_config(config.data), tuple(config.model.resolution)
        self.train = loader.open_stored(data, resolution, "train")
        self.eval = loader.open_stored(data, resolution, "eval")
        self.example: Batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.eval[0])
        self.num_true = self.eval.max_objects + 1 if self.eval.has_segments and self.eval.max_objects else None

    def train_batches(self, parallel: Parallel, start_step: int) -> Iterator[Batch]:
        """Batches from step `start_step` on, copied to the devices while the step before still runs."""
        size = self.config.train.batch_size
        index = np.arange(size, dtype=np.int32)[parallel.rows]
        streams = [
            self.loader.batches(
                self.train,
                seed=own.seed,
                batch_size=size,
                start_step=start_step,
                rows=parallel.rows,
                num_workers=self.config.data.num_workers,
            )
            for own in configuration.of_each_seed(self.config)
        ]
        for batches in zip(*streams, strict=True):
            batch = stack_batches(batches)
            yield parallel.shard({name: batch[name] for name in self.fields} | {"index": index})

    def eval_batches(self) -> Iterator[Batch]:
        """The held-out images, once, in order; `valid` marks those that are not padding."""
        size = self.config.eval.batch_size
        for i, batch in enumerate(self.loader.eval_batches(self.eval, batch_size=size)):
            yield batch | {"index": np.arange(i * size, (i + 1) * size, dtype=np.int32)}

    def held_out(self, index: np.ndarray) -> Batch:
        """The held-out images of these numbers [n]."""
        return self.loader.stack([self.eval[int(i)] for i in index]) | {"index": np.asarray(index, np.int32)}


@lru_cache(maxsize=16)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` scenes in one epoch: int [count]."""
    return np.random.default_rng((seed % 2**64, epoch)).permutation(count)


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
