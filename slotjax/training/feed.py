"""Batches onto the devices: scenes rendered there, stored data read ahead on the host."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax.data.scenes import SCENES, bind
from slotjax.data.scenes.rendering import entries, render
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.system.rng import EVAL_SEED, example_keys, stream_key
from slotjax.tasks import TASKS
from slotjax.training.cached import WithFeatures, fill, learner, open_caches
from slotjax.training.parallel import Parallel

Batch = dict[str, Any]
Tell = Callable[[int, int], object]  # what is done, and of how much

POOL_PIECE = 256  # scenes of a pool that are rendered in one go


def untold(done: int, total: int) -> None:
    """The `Tell` of batches that nobody waits for."""


def open_feed(config: ConfigDict, *, cached: bool = False) -> "SceneFeed | StoredFeed":
    """The feed of `config.data`; a `UserError` if there is no such data, or if the task cannot learn from it.

    Args:
      cached: batches of stored data hold features of the backbone, which `prepare` computes where they are not kept.
    """
    feed = SceneFeed(config) if config.data.name in SCENES else StoredFeed(config, cached)
    check_frames(config, feed.example["image"])
    TASKS[config.model.name].check(config, feed.example)
    return feed


def needed(config: ConfigDict, cached: bool = False) -> tuple[tuple[str, ...], tuple[int, int]]:
    """The entries of a batch that training needs, what the model takes or learns from and what its task compares with;
    and the height and width of its pictures."""
    model = build_model(config.model)
    *_, height, width, _ = model.inputs["image"].shape
    model = model.given_features() if cached else model
    names = (*model.inputs, *model.learns_from, *TASKS[config.model.name].TARGETS)
    return tuple(dict.fromkeys(names)), (height, width)


def check_frames(config: ConfigDict, image: jax.ShapeDtypeStruct) -> None:
    """Raises a `UserError` where the model takes videos and the data are pictures, or the reverse."""
    takes = build_model(config.model).inputs["image"]
    if len(image.shape) == len(takes.shape):
        return
    has, wants = ("pictures", "videos") if len(takes.shape) > len(image.shape) else ("videos", "pictures")
    raise UserError(
        f"data.name={config.data.name!r}: gives {has}, and model.name={config.model.name!r} takes {wants}; "
        "choose another of the two"
    )


class SceneFeed:
    """Endless scenes, rendered from keys.

    Attributes:
      fields: the entries of a batch that training needs.
      example: shapes and types of one held-out scene, as a batch holds them but for the leading axis.
      lesson: the same of one scene that is trained on; held-out videos may be longer.
      num_true: how many ids the true segments have, background included; None without masks.
    """

    def __init__(self, config: ConfigDict):
        self.config, (self.fields, resolution) = config, needed(config)
        data = config.data
        self.scene = bind(data.name, data.options, resolution, data.num_frames)
        eval_scene = bind(data.name, data.options, resolution, data.eval_frames or data.num_frames)
        self.lesson: Batch = entries(jax.eval_shape(self.scene, jax.random.key(0)))
        self.example: Batch = entries(jax.eval_shape(eval_scene, jax.random.key(0)))
        self.num_true: int | None = self.example["objects"]["present"].shape[-1] + 1
        held_out = stream_key(EVAL_SEED, "held-out scenes")
        self._render_held_out = jax.jit(lambda index: render(eval_scene, example_keys(held_out, 0, index)))

    def prepare(self) -> None:
        """Scenes need no preparation."""

    def render(self, keys: jax.Array) -> Batch:
        """keys [b] -> the entries of so many scenes that are trained on."""
        return render(self.scene, keys)

    def train_batches(self, parallel: Parallel, start_step: int, tell: Tell = untold) -> Iterator[Batch]:
        """Batches from step `start_step` on, each made by the devices that use it; a pure function of (seed, step).

        `tell` is called with how many scenes of a pool are rendered, and of how many, before the first batch.
        """
        if self.config.data.pool:
            yield from self._pool_batches(parallel, start_step, tell)  # endless
        stream = stream_key(self.config.seed, "scenes")

        def draw(step, index):  # only what training needs: the masks stay unseen, and unrendered
            scenes = self.render(example_keys(stream, step, index))
            return {name: scenes[name] for name in self.fields} | {"index": index}

        render = parallel.over_batch(draw, batched_output=True)
        index = parallel.shard(np.arange(self.config.train.batch_size, dtype=np.int32)[parallel.rows])
        for step in itertools.count(start_step):
            yield render(np.int32(step), index)

    def _pool_batches(self, parallel: Parallel, start_step: int, tell: Tell) -> Iterator[Batch]:
        """Batches of scenes that come back, every epoch in another order; as pure a function of (seed, step)."""
        pool, size, count = self._render_pool(tell), self.config.train.batch_size, self.config.data.pool
        index = np.arange(size, dtype=np.int32)[parallel.rows]
        for step in itertools.count(start_step):
            epochs, places = np.divmod(np.arange(step * size, (step + 1) * size)[parallel.rows], count)
            order = [epoch_order(self.config.seed, epoch, count) for epoch in epochs]
            chosen = np.array([each[place] for each, place in zip(order, places, strict=True)])
            batch = jax.tree.map(lambda x, chosen=chosen: x[chosen], pool)
            yield parallel.shard(batch | {"image": batch["image"] / np.float32(127.5) - 1, "index": index})

    def _render_pool(self, tell: Tell) -> Batch:
        """All scenes of the pool on the host, pictures as bytes; by as many threads as there are cores."""
        key = stream_key(self.config.seed, "scenes")

        @jax.jit
        def draw(index):
            scenes = self.render(example_keys(key, 0, index))
            image = jnp.round((scenes["image"] + 1) * 127.5).astype(jnp.uint8)
            return {name: scenes[name] for name in self.fields} | {"image": image}

        count = self.config.data.pool
        size = min(POOL_PIECE, count)
        pieces = np.arange(size, dtype=np.int32) + np.arange(0, count, size, dtype=np.int32)[:, None]
        drawn: list[Batch] = []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for piece in threads.map(lambda index: jax.device_get(draw(index)), pieces):
                drawn.append(piece)
                tell(min(len(drawn) * size, count), count)
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *drawn)

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
    """A stored data set, in an order that is a pure function of (seed, step); attributes as of `SceneFeed`."""

    def __init__(self, config: ConfigDict, cached: bool = False):
        from slotjax.data import stored  # brings readers that scenes do without

        self.config, (self.fields, resolution) = config, needed(config, cached)
        self.train = stored.open_stored(config.data, resolution, "train")
        self.eval = stored.open_stored(config.data, resolution, "eval")
        self.lesson: Batch = shapes(self.train[0])
        self.example: Batch = shapes(self.eval[0])
        self.num_true = self.eval.max_objects + 1 if self.eval.has_segments and self.eval.max_objects else None
        self.caches = open_caches(config, self._splits()) if cached else {}
        if cached:
            self.lesson, self.example = ({**x, **learner(config).inputs} for x in (self.lesson, self.example))

    def _splits(self) -> dict[str, Any]:
        return {"train": self.train, "eval": self.eval}

    def prepare(self) -> None:
        """Computes the features that are not kept yet; from then on examples hold them."""
        if self.caches:
            fill(self.config, self._splits(), self.caches)
            self.train = WithFeatures(self.train, self.caches["train"], alone=True)
            self.eval = WithFeatures(self.eval, self.caches["eval"], alone=False)

    def train_batches(self, parallel: Parallel, start_step: int, tell: Tell = untold) -> Iterator[Batch]:
        """Batches from step `start_step` on, copied to the devices while the step before still runs.

        Nothing comes before the first that `tell` would tell of.
        """
        from slotjax.data import batches

        size = self.config.train.batch_size
        index = np.arange(size, dtype=np.int32)[parallel.rows]
        options = {"seed": self.config.seed, "batch_size": size, "start_step": start_step, "rows": parallel.rows}
        for batch in batches.batches(self.train, **options, num_workers=self.config.data.num_workers):
            yield parallel.shard({name: batch[name] for name in self.fields} | {"index": index})

    def eval_batches(self) -> Iterator[Batch]:
        """The held-out images, once, in order; `valid` marks those that are not padding."""
        from slotjax.data import batches

        size = self.config.eval.batch_size
        for i, batch in enumerate(batches.eval_batches(self.eval, batch_size=size)):
            yield batch | {"index": np.arange(i * size, (i + 1) * size, dtype=np.int32)}

    def held_out(self, index: np.ndarray) -> Batch:
        """The held-out images of these numbers [n]."""
        from slotjax.data import batches

        return batches.stack([self.eval[int(i)] for i in index]) | {"index": np.asarray(index, np.int32)}


def shapes(example: Batch) -> Batch:
    """Shapes and types of an example's arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), example)


@lru_cache(maxsize=16)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` scenes in one epoch: int [count]."""
    return np.random.default_rng((seed % 2**64, epoch)).permutation(count)
