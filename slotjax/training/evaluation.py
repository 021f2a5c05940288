"""Scoring parameters on the held-out images."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.clustering import segment_images
from slotjax.configuration import EVAL_SEED
from slotjax.tasks import TASKS, discovery
from slotjax.training.rng import example_keys, stream_key

Figures = dict[str, np.ndarray]
Score = Callable[[Any, dict], dict[str, Any]]

# Compiled once for all kinds of clustering: the matching takes seconds to compile.
_segmentation_scores = jax.jit(discovery.segmentation_scores, static_argnames=("num_true", "num_pred"))


def build_score(config: ConfigDict, model: Any, num_true: int | None, **options: Any) -> Score:
    """A compiled (params, batch) -> {figure: [b, ...]}; slots are drawn the same way each time."""
    task = TASKS[config.model.name]
    key = stream_key(EVAL_SEED, "evaluation slots")

    @jax.jit
    def score(params, batch):
        keys = example_keys(key, 0, batch["index"])
        return task.scores(model, params, batch, keys, num_true, **options)

    return score


def build_clustering_score(
    method: Literal["kmeans", "soft_kmeans"], num_clusters: int, num_true: int, position_weight: float = 0.0
) -> Score:
    """A compiled (ignored, batch) -> {figure: [b]} of clustering the pixels, the baseline; `mse` is NaN."""
    key = stream_key(EVAL_SEED, "clustering")
    segment = jax.jit(
        partial(segment_images, num_clusters=num_clusters, method=method, position_weight=position_weight)
    )

    def score(params, batch):
        del params
        found = segment(batch["image"], key=jax.random.fold_in(key, batch["index"][0]))
        figures = _segmentation_scores(batch["segments"], found, num_true=num_true, num_pred=num_clusters)
        return {"mse": np.full(len(found), np.nan, np.float32)} | figures

    return score


def collect(score: Score, params: Any, batches: Iterable[dict]) -> Figures:
    """Every image's figures, padding left out: {figure: [n, ...]}."""
    collected: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        valid = np.asarray(batch["valid"])
        for name, values in score(params, {k: v for k, v in batch.items() if k != "valid"}).items():
            collected.setdefault(name, []).append(np.asarray(values)[valid])
    return {name: np.concatenate(parts) for name, parts in collected.items()}
