"""Losses: pure functions of arrays, unreduced over the batch."""

import chex
import jax


def reconstruction_loss(reconstruction: jax.Array, images: jax.Array) -> jax.Array:
    """Mean squared error of each image (Locatello et al., 2020, sec. 3.1): [b, h, w, 3] twice, in [-1, 1] -> [b]."""
    chex.assert_equal_shape([reconstruction, images])
    return ((reconstruction - images) ** 2).mean((1, 2, 3))
