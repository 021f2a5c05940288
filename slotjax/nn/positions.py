"""Where a token or a pixel is: coordinate grids and their embeddings."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from slotjax.nn.layers import Dense


def position_grid(height: int, width: int) -> np.ndarray:
    """Coordinates in [0, 1], both ends included: float32 [h, w, 4] = (row, column, 1 - row, 1 - column)."""
    rows, columns = np.linspace(0, 1, height), np.linspace(0, 1, width)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return np.concatenate([grid, 1 - grid], axis=-1).astype(np.float32)


def centers(height: int, width: int) -> np.ndarray:
    """Where the pixels' (or tokens') centres are, the picture running from -1 to 1: float32 [h, w, 2] (row, column)."""
    axes = [(np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)


def corners(height: int, width: int) -> np.ndarray:
    """A grid from -1 to 1, both ends included: float32 [h, w, 2] (row, column)."""
    axes = [np.linspace(-1, 1, size) for size in (height, width)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)


def tokens_grid(resolution: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Height and width of a SAME-padded convolution stack's output."""
    height, width = resolution
    for stride in strides:
        height, width = -(-height // stride), -(-width // stride)
    return height, width


def fourier(coordinates: jax.Array, frequencies: int) -> jax.Array:
    """Coordinates [..., 2] with their sines and cosines, [..., 4 * frequencies + 2].

    Octaves of half a period from -1 to 1 (Mildenhall et al., 2020, sec. 5.1).
    """
    octaves = jnp.exp2(jnp.arange(frequencies, dtype=jnp.float32))
    angles = coordinates[..., None] * (jnp.float32(np.pi / 2) * octaves)
    waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.concatenate([coordinates, waves.reshape(*coordinates.shape[:-1], 4 * frequencies)], axis=-1)


class SoftPositionEmbedding(nn.Module):
    """Adds a learned linear map of positions to a feature map (Locatello et al., 2020, appendix E.2).

    Attributes:
      scale: of what is added; 1 is the original's.
    """

    scale: float = 1.0

    @nn.compact
    def __call__(self, features: jax.Array, grid: jax.Array) -> jax.Array:
        """[b, h, w, d] and positions [h, w, 4] or [b, h, w, 4], as of `position_grid` -> [b, h, w, d]."""
        glorot = nn.initializers.glorot_uniform()
        embedding = nn.Dense(features.shape[-1], kernel_init=glorot, dtype=features.dtype, name="dense")(grid)
        return features + (embedding if self.scale == 1 else self.scale * embedding)


def placed_tokens(features: jax.Array, mlp_dim: int, dtype: Any) -> jax.Array:
    """Positions added to a map, then LayerNorm and an MLP for each place: [b, h, w, d] -> [b, n, d], row by row.

    As the program of SAVi does it; the layers are those of the module within which this is called.
    """
    grid, dim = jnp.asarray(corners(*features.shape[1:3])), features.shape[-1]
    x = features + nn.Dense(dim, dtype=dtype, name="position")(grid)
    x = x.reshape(x.shape[0], x.shape[1] * x.shape[2], dim)
    hidden = nn.LayerNorm(name="norm")(x).astype(dtype)
    hidden = nn.relu(Dense(mlp_dim, dtype=dtype, name="dense0")(hidden))
    return Dense(dim, dtype=dtype, name="dense1")(hidden)
