"""What a run minimises, as a function of parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from slotjax.losses import Batch, Weight, weigh
from slotjax.models import Model
from slotjax.nn.partition import spread
from slotjax.tasks.base import answer
from slotjax.training.teacher import Teacher

# (params, batch, keys [b], step) -> the loss, a scalar mean over the batch, and scalar metrics, "loss" among them
Objective = Callable[[Any, Batch, jax.Array, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


def build_objective(model: Model, weights: Mapping[str, Weight], teacher: Teacher | None = None) -> Objective:
    """The weighted losses of what `model` makes of a batch.

    Args:
      weights: `config.train.losses`.
      teacher: what losses find in the batch besides.
    """

    def objective(params: Any, batch: Batch, keys: jax.Array, step: jax.Array) -> tuple[jax.Array, dict]:
        batch = {**batch, **{name: spread(batch[name], -3) for name in model.inputs}}  # its rows
        out = answer(model, params, batch, keys)
        if teacher:
            seen = batch[next(iter(model.inputs))]
            target: Any = model.apply({"params": params}, seen, method="target")  # whole, and computed once inside jit
            batch = {**batch, **teacher.teach(params, target, out, keys)}
        metrics = weigh(weights, out, batch, step)
        return metrics["loss"], metrics

    return objective
