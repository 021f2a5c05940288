"""How far the reconstruction is from its target."""

from typing import Any

import chex
import jax

from slotjax.models import Output


def mse(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """Mean squared error of each image (Locatello et al., 2020, sec. 3.1): [b]."""
    del batch, step
    return (_errors(out) ** 2).mean((-3, -2, -1))


def sse(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """Squared error of each picture or video, summed over all but the batch (Kipf et al., 2022, sec. 2.4): [b]."""
    del batch, step
    errors = _errors(out) ** 2
    return errors.sum(range(1, errors.ndim))


def chroma(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """Mean squared error of each image's colour, what differs from the mean of a pixel's channels: [b].

    The channels of a picture rise and fall together, so nearly all of its error is of brightness, and hues are learned
    late. Errors of brightness and of colour add up to the squared error: besides it, this lets colour weigh more. That
    colour helps to find objects when it has a share of its own in what is predicted is from Jäckl et al., 2024
    (Leveraging color channel independence), who add a channel of saturation.
    """
    del batch, step
    errors = _errors(out)
    return ((errors - errors.mean(-1, keepdims=True)) ** 2).mean((-3, -2, -1))


def _errors(out: Output) -> jax.Array:
    reconstruction, target = out.need("reconstruction", "target")
    chex.assert_equal_shape([reconstruction, target])
    return reconstruction - target
