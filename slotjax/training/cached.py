"""Training from features that are computed once: the model that takes them, and the examples that hold them."""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax.api import init
from slotjax.data.feature_cache import BATCH, FeatureCache, check_room
from slotjax.data.stored.base import Key, Stored
from slotjax.errors import UserError
from slotjax.models import Model, build_model
from slotjax.system.derived import derived_path
from slotjax.system.paths import given
from slotjax.system.rng import stream_key


def learner(config: ConfigDict) -> Model:
    """The model of a config as it is trained: where features are kept, it takes these."""
    model = build_model(config.model)
    return model.given_features() if config.data.feature_cache else model


def open_caches(config: ConfigDict, splits: dict[str, Stored]) -> dict[str, FeatureCache]:
    """A cache for each split, complete or not; a `UserError` where they may not, or cannot, have the room."""
    taken, path = next(iter(learner(config).inputs.values())), given(config.data.path, "data.path")
    caches = {}
    for split, stored in splits.items():
        folder = derived_path(path, f".features-{_digest(config, split, stored)}")
        if folder is None:
            raise UserError(f"data.feature_cache: there is no place to write beside {config.data.path}; set it to 0")
        caches[split] = FeatureCache(folder, len(stored), taken.shape)
    check_room(list(caches.values()), config.data.feature_cache)
    return caches


def fill(config: ConfigDict, splits: dict[str, Stored], caches: dict[str, FeatureCache]) -> None:
    """Computes what caches lack, on one device."""
    if all(cache.complete for cache in caches.values()):
        return
    model: Any = build_model(config.model)
    shape = next(iter(model.inputs.values())).shape
    weights = init(model, stream_key(config.seed, "parameters"), jnp.zeros((1, *shape), jnp.float32))["backbone"]
    run = jax.jit(lambda weights, images: model.backbone.apply({"params": weights}, images))
    for split, stored in splits.items():

        def compute(numbers: np.ndarray, stored: Stored = stored) -> np.ndarray:
            padded = np.resize(numbers, BATCH)  # one program for all
            images = np.stack([stored[int(i)]["image"] for i in padded])
            return np.asarray(run(weights, images))[: len(numbers)]

        caches[split].fill(compute, f"{given(config.data.path, 'data.path').name}, {split}")


class WithFeatures(Stored):
    """The examples of a split with their `features` from a cache.

    Args:
      alone: hold nothing else; the pictures are not even opened.
    """

    def __init__(self, stored: Stored, cache: FeatureCache, alone: bool):
        self.stored, self.cache, self.alone = stored, cache, alone
        self.has_segments, self.max_objects = stored.has_segments, stored.max_objects

    def __len__(self) -> int:
        return len(self.stored)

    def example(self, index: int, key: Key | None) -> dict:
        features = {"features": self.cache[index]}
        return features if self.alone else self.stored[index] | features


def _digest(config: ConfigDict, split: str, stored: Stored) -> str:
    """Of all that the features of a split depend on: the backbone, the pictures and how they are cut."""
    backbone = {name: value for name, value in config.model.backbone.to_dict().items() if name != "weights"}
    seed = None if config.model.backbone.get("weights") else config.seed  # which draws what no file holds
    said = [backbone, config.model.resolution, config.model.dtype, seed, split, stored.fingerprint()]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
