"""How far predicted sets are from the true ones, under the pairing that costs least."""

from typing import Any

import chex
import jax
import optax

from slotjax.data.clevr_properties import targets
from slotjax.metrics.matching import assigned, linear_assignment
from slotjax.models import Output


def set_loss(out: Output, batch: Any, step: Any = None) -> jax.Array:
    """Huber loss of each image's `predictions` against its objects (Locatello et al., 2020, sec. 3.2): [b].

    Sets are padded to the number of slots: a slot without an object should say so.
    """
    del step
    (predictions,) = out.need("predictions")
    return matched_huber(predictions, targets(batch["objects"], predictions.shape[1]))


def huber_costs(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """What every pairing of a prediction with a target costs: their Huber loss (delta 1), mean over the numbers.

    Args:
      predictions: [b, k, p].
      targets: [b, n, p].

    Returns:
      float32 [b, n, k].
    """
    chex.assert_rank([predictions, targets], 3)
    chex.assert_equal_shape_prefix([predictions, targets], 1)
    chex.assert_equal_shape_suffix([predictions, targets], 1)
    return optax.losses.huber_loss(predictions[:, None], targets[:, :, None]).mean(-1)


def matched_huber(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Huber loss of each set under the pairing that costs least (Locatello et al., 2020, app. E.2).

    Summed over the pairs, so that predictions (or targets) beyond the other's number cost nothing.

    Args:
      predictions: [b, k, p].
      targets: [b, n, p].

    Returns:
      float32 [b].
    """
    costs = huber_costs(predictions, targets)
    return assigned(costs, *linear_assignment(costs)).sum(-1)
