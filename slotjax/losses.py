"""Losses: pure functions of arrays, unreduced over the batch."""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import optax

from slotjax.metrics.matching import assigned, linear_assignment

Batch = Mapping[str, Any]
Loss = Callable[[Any, Batch, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]  # (params, batch, keys [b])


def reconstruction_loss(reconstruction: jax.Array, images: jax.Array, chroma_weight: float = 1.0) -> jax.Array:
    """Mean squared error of each image (Locatello et al., 2020, sec. 3.1).

    The channels of a picture rise and fall together, so nearly all of its error is of brightness, their mean, and hues
    are learned late. The squares of both errors, of brightness and of colour (what differs from that mean), add up to
    the whole: colour may weigh more. That colour helps to find objects when it has a share of its own in what is
    predicted is from Jäckl et al., 2024 (Leveraging color channel independence), who add a channel of saturation.

    Args:
      reconstruction, images: [b, h, w, 3] in [-1, 1].
      chroma_weight: of the errors of colour; 1 is the paper's loss.

    Returns:
      [b].
    """
    chex.assert_equal_shape([reconstruction, images])
    errors = reconstruction - images
    if chroma_weight == 1:
        return (errors**2).mean((1, 2, 3))
    brightness = errors.mean(-1, keepdims=True)
    return (brightness**2 + chroma_weight * (errors - brightness) ** 2).mean((1, 2, 3))


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
