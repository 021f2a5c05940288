"""What training minimises, by name: one more loss is one function and one line in `LOSSES`.

A loss is a pure function of a model's `Output`, the batch and the step, and gives one number for each image. A config
weighs them in `train.losses`, by a number, or by (step, weight) pairs between which the weight goes in straight lines.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError
from slotjax.losses.masks import distillation, entropy, expected, mixture
from slotjax.losses.reconstruction import chroma, mse, perceptual, sse
from slotjax.losses.sets import set_loss
from slotjax.losses.slots import contrast, kept, start, steady
from slotjax.losses.structure import ssim
from slotjax.models import Output

Batch = Mapping[str, Any]
Loss = Callable[[Output, Batch, jax.Array], jax.Array]  # out, batch, step (int32 scalar) -> [b]
Weight = float | Sequence[Sequence[float]]

LOSSES: dict[str, Loss] = {
    "mse": mse,
    "sse": sse,
    "chroma": chroma,
    "ssim": ssim,
    "perceptual": perceptual,
    "mixture": mixture,
    "expected": expected,
    "entropy": entropy,
    "distillation": distillation,
    "contrast": contrast,
    "start": start,
    "steady": steady,
    "kept": kept,
    "set": set_loss,
}


def weight_at(weight: Weight, step: jax.Array) -> jax.Array | float:
    """What a loss weighs at a step: the number, or what lies between the (step, weight) pairs; flat beyond them."""
    if isinstance(weight, int | float):
        return float(weight)
    steps, weights = (jnp.asarray(column, jnp.float32) for column in zip(*weight, strict=True))
    return jnp.interp(jnp.asarray(step, jnp.float32), steps, weights)


def during(weights: Mapping[str, Weight], first: int, last: int) -> dict[str, Weight]:
    """The losses that weigh something at a step from `first` to `last`."""

    def weighs(weight: Weight) -> bool:
        if isinstance(weight, int | float):
            return weight > 0
        steps, values = zip(*weight, strict=True)
        between = [step for step in steps if first < step < last]
        return bool(np.interp([first, *between, last], steps, values).any())

    return {name: weight for name, weight in weights.items() if weighs(weight)}


def weigh(weights: Mapping[str, Weight], out: Output, batch: Batch, step: jax.Array) -> dict[str, jax.Array]:
    """The mean over the images of every loss that has a weight, and as "loss" their weighted sum: scalars.

    Raises:
      UserError: a loss of what this model does not return, or of what the batch does not hold.
    """
    means = {name: _of_images(name, out, batch, step).mean() for name, weight in weights.items() if weight}
    total = jnp.stack([weight_at(weights[name], step) * value for name, value in means.items()]).sum()
    return {"loss": total} | (means if len(means) > 1 else {})


def _of_images(name: str, out: Output, batch: Batch, step: jax.Array) -> jax.Array:
    """A loss of each image, [b]."""
    try:
        return LOSSES[name](out, batch, step)
    except UserError as error:
        raise UserError(f"train.losses.{name}: {error}") from None
    except KeyError as error:
        raise UserError(f"train.losses.{name}: the batch holds no {error}") from None
