"""Scoring parameters on the held-out images."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.configuration import EVAL_SEED
from slotjax.tasks import TASKS
from slotjax.training.rng import example_keys, stream_key

Figures = dict[str, np.ndarray]
Score = Callable[[Any, dict], dict[str, jax.Array]]


def build_score(config: ConfigDict, model: Any, num_true: int | None, **options: Any) -> Score:
    """A compiled (params, batch) -> {figure: [b, ...]}; slots are drawn the same way each time."""
    task = TASKS[config.model.name]
    key = stream_key(EVAL_SEED, "evaluation slots")

    @jax.jit
    def score(params, batch):
        keys = example_keys(key, 0, batch["index"])
        return task.scores(model, params, batch, keys, num_true, **options)

    return score


def collect(score: Score, params: Any, batches: Iterable[dict]) -> Figures:
    """Every image's figures, padding left out: {figure: [n, ...]}."""
    collected: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        valid = np.asarray(batch["valid"])
        for name, values in score(params, {k: v for k, v in batch.items() if k != "valid"}).items():
            collected.setdefault(name, []).append(np.asarray(values)[valid])
    return {name: np.concatenate(parts) for name, parts in collected.items()}
