"""Losses: pure functions of arrays, unreduced over the batch."""

import chex
import jax


def reconstruction_loss(reconstruction: jax.Array, images: jax.Array) -> jax.Array:
    """Mean squared error of each image: [b, h, w, 3] twice, in [-1, 1] -> [b] (Locatello et al., 2020, appendix E.3)."""
    chex.assert_equal_shape([reconstruction, images])
    return ((reconstruction - images) ** 2).mean((1, 2, 3))
