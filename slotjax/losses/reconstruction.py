"""How far the reconstruction is from its target."""

from typing import Any

import chex
import jax

from slotjax.models import Output

FAINTEST = 1e-12  # the square of a feature's length: its division stays finite


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


def perceptual(out: Output, batch: Any, step: Any = None) -> jax.Array:
    """How far each picture is from what it should be by a frozen network's features, in [0, 4]: [b].

    The squared distance of the two features of a place, each of length 1; the mean over places, of one layer. Features
    in place of pixels are from Johnson et al., 2016 (sec. 3.2), their length from Zhang et al., 2018 (sec. 3, LPIPS).

    Args:
      batch: holds `teacher_features` and `teacher_target`, [b, n, d], of the reconstruction and of its target.
    """
    del out, step
    drawn, target = (_directions(batch[name]) for name in ("teacher_features", "teacher_target"))
    return ((drawn - target) ** 2).sum(-1).mean(-1)


def _directions(features: jax.Array) -> jax.Array:
    return features * jax.lax.rsqrt((features**2).sum(-1, keepdims=True) + FAINTEST)


def _errors(out: Output) -> jax.Array:
    reconstruction, target = out.need("reconstruction", "target")
    chex.assert_equal_shape([reconstruction, target])
    return reconstruction - target
