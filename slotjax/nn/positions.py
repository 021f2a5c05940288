"""Where a token or a pixel is: coordinate grids and their embeddings."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def position_grid(height: int, width: int) -> np.ndarray:
    """Coordinates in [0, 1], both ends included: float32 [h, w, 4] = (row, column, 1 - row, 1 - column)."""
    rows, columns = np.linspace(0, 1, height), np.linspace(0, 1, width)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return np.concatenate([grid, 1 - grid], axis=-1).astype(np.float32)


def fourier_grid(height: int, width: int, frequencies: int) -> np.ndarray:
    """Sines and cosines of pixel centres, float32 [h, w, 4 * frequencies + 2].

    Octaves of half a period across the picture (Mildenhall et al., 2020, sec. 5.1), with the coordinates themselves,
    which run from -1 to 1.
    """
    axes = [(np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    angles = grid[..., None] * (np.pi / 2 * np.exp2(np.arange(frequencies)))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(height, width, -1)
    return np.concatenate([grid, waves], axis=-1).astype(np.float32)


class SoftPositionEmbedding(nn.Module):
    """Adds a learned linear map of `position_grid` to a feature map (Locatello et al., 2020, appendix E.2)."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[b, h, w, d] -> [b, h, w, d]."""
        height, width, dim = features.shape[-3:]
        embedding = nn.Dense(dim, kernel_init=nn.initializers.glorot_uniform(), dtype=features.dtype, name="dense")
        return features + embedding(jnp.asarray(position_grid(height, width)))


def tokens_grid(resolution: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Height and width of a SAME-padded convolution stack's output."""
    height, width = resolution
    for stride in strides:
        height, width = -(-height // stride), -(-width // stride)
    return height, width
