"""Where a token or a pixel is: coordinate grids and their embeddings."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from slotjax.nn.attention import EPSILON

FRAME = 4  # numbers that say where a slot attends
LEAST_SPREAD = 0.01  # of the picture's half: keeps a slot with a single token from dividing by zero


def position_grid(height: int, width: int) -> np.ndarray:
    """Coordinates in [0, 1], both ends included: float32 [h, w, 4] = (row, column, 1 - row, 1 - column)."""
    rows, columns = np.linspace(0, 1, height), np.linspace(0, 1, width)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return np.concatenate([grid, 1 - grid], axis=-1).astype(np.float32)


def centres(height: int, width: int) -> np.ndarray:
    """Where the pixels' (or tokens') centres are, the picture running from -1 to 1: float32 [h, w, 2] (row, column)."""
    axes = [(np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)


def fourier(coordinates: jax.Array, frequencies: int) -> jax.Array:
    """Coordinates [..., 2] with their sines and cosines, [..., 4 * frequencies + 2].

    Octaves of half a period from -1 to 1 (Mildenhall et al., 2020, sec. 5.1).
    """
    angles = coordinates[..., None] * (jnp.pi / 2 * jnp.exp2(jnp.arange(frequencies)))
    waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.concatenate([coordinates, waves.reshape(*coordinates.shape[:-1], -1)], axis=-1)


def frames(attention: jax.Array, height: int, width: int) -> jax.Array:
    """Where each slot attends: the mean and the standard deviation of its tokens' centres (Biza et al., 2023).

    Args:
      attention: [b, k, n], of height x width tokens.

    Returns:
      [b, k, 4]: row and column of the mean, then the deviations along rows and along columns; 1 is half the picture.
    """
    grid = centres(height, width).reshape(-1, 2)
    weights = attention + EPSILON
    weights = weights / weights.sum(-1, keepdims=True)
    mean = weights @ grid
    variance = jnp.einsum("bkn,bknc->bkc", weights, (grid - mean[:, :, None]) ** 2)
    return jnp.concatenate([mean, jnp.sqrt(variance + LEAST_SPREAD**2)], axis=-1)


def relative(coordinates: jax.Array, frames: jax.Array) -> jax.Array:
    """Coordinates [h, w, 2] as each of the frames [m, 4] has them, [m, h, w, 2]: 1 is three deviations off its mean."""
    mean, spread = frames[:, None, None, :2], frames[:, None, None, 2:]
    return (coordinates - mean) / (3 * spread)


class SoftPositionEmbedding(nn.Module):
    """Adds a learned linear map of positions to a feature map (Locatello et al., 2020, appendix E.2)."""

    @nn.compact
    def __call__(self, features: jax.Array, grid: jax.Array | None = None) -> jax.Array:
        """[b, h, w, d] -> [b, h, w, d]; `grid` [b, h, w, 4] instead of `position_grid`."""
        height, width, dim = features.shape[-3:]
        embedding = nn.Dense(dim, kernel_init=nn.initializers.glorot_uniform(), dtype=features.dtype, name="dense")
        return features + embedding(jnp.asarray(position_grid(height, width)) if grid is None else grid)


def tokens_grid(resolution: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Height and width of a SAME-padded convolution stack's output."""
    height, width = resolution
    for stride in strides:
        height, width = -(-height // stride), -(-width // stride)
    return height, width
