"""Whose a place is, by where it lies from each slot: for decoders that draw all slots at once."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn.fields import Resolution
from slotjax.nn.frames import Frame
from slotjax.nn.layers import Dense
from slotjax.nn.positions import fourier

OCTAVES = 4  # of the features of places


class Near(nn.Module):
    """An MLP of a slot and of a place in the slot's own frame, to a logit, which is added to what the two say else.

    Where slots mix before they draw, none is of use until they differ; by where they look they do so sooner
    (docs/features.md has figures).
    """

    frame: Frame
    resolution: Resolution
    width: int

    @nn.compact
    def __call__(self, slots: jax.Array, frames: jax.Array) -> jax.Array:
        """slots [b, k, d], normalised, and their frames [b, k, s] -> float32 [b, h * w, k]."""
        frames = frames.reshape(-1, frames.shape[-1])
        places = fourier(self.frame.coordinates(frames, *self.resolution), OCTAVES)
        places = places.reshape(*slots.shape[:2], math.prod(self.resolution), -1)
        extents = self.frame.extents(frames).reshape(*slots.shape[:2], -1)
        own = Dense(self.width, name="slot")(jnp.concatenate([slots.astype(jnp.float32), extents], -1))
        x = nn.relu(own[:, :, None] + Dense(self.width, use_bias=False, name="place")(places))
        return jnp.moveaxis(Dense(1, name="out")(x)[..., 0], 1, 2)
