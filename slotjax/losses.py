"""Losses: pure functions of arrays, unreduced over the batch."""

import chex
import jax
import optax

from slotjax.matching import assigned, linear_assignment


def reconstruction_loss(reconstruction: jax.Array, images: jax.Array) -> jax.Array:
    """Mean squared error of each image (Locatello et al., 2020, sec. 3.1): [b, h, w, 3] twice, in [-1, 1] -> [b]."""
    chex.assert_equal_shape([reconstruction, images])
    return ((reconstruction - images) ** 2).mean((1, 2, 3))


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


def set_loss(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Huber loss of each set under the pairing that costs least (Locatello et al., 2020, sec. 3.2 and app. E.2).

    Summed over the pairs, so that predictions (or targets) beyond the other's number cost nothing.

    Args:
      predictions: [b, k, p].
      targets: [b, n, p].

    Returns:
      float32 [b].
    """
    costs = huber_costs(predictions, targets)
    return assigned(costs, *linear_assignment(costs)).sum(-1)
