"""Where a token or a pixel is: coordinate grids, their embeddings, and the frames in which a decoder sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from slotjax.nn.attention import EPSILON

LEAST_SPREAD = 0.01  # of the picture's half: the same for a slot with a single token
REACH = 3  # deviations from a slot's mean that count as 1


def position_grid(height: int, width: int) -> np.ndarray:
    """Coordinates in [0, 1], both ends included: float32 [h, w, 4] = (row, column, 1 - row, 1 - column)."""
    rows, columns = np.linspace(0, 1, height), np.linspace(0, 1, width)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return np.concatenate([grid, 1 - grid], axis=-1).astype(np.float32)


def centers(height: int, width: int) -> np.ndarray:
    """Where the pixels' (or tokens') centres are, the picture running from -1 to 1: float32 [h, w, 2] (row, column)."""
    axes = [(np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width)]
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


class Frame:
    """In which coordinates a decoder draws its slots: the picture's, or each slot's own.

    A frame is as many numbers, behind a slot's own, as its `size` says.
    """

    size: ClassVar[int]

    def locate(self, slots: jax.Array, attention: jax.Array, grid: tuple[int, int]) -> jax.Array:
        """slots [b, k, d] and where they attend [b, k, n], of a grid of tokens -> [b, k, d + size]."""
        raise NotImplementedError

    def split(self, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
        """slots [m, d + size] -> slots [m, d] and frames [m, size]."""
        raise NotImplementedError

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        """Row and column of each place, in [-1, 1] of the picture or about the frame: [h, w, 2] or [m, h, w, 2]."""
        raise NotImplementedError

    def soft(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        """What `SoftPositionEmbedding` takes: [h, w, 4] or [m, h, w, 4]."""
        raise NotImplementedError

    def extents(self, frames: jax.Array) -> jax.Array:
        """Logarithms of how far a frame reaches, [m, 2], for layers that should know; [m, 0] where all are alike."""
        raise NotImplementedError


@dataclass(frozen=True)
class PictureFrame(Frame):
    """Places are where they are in the picture (Watters et al., 2019)."""

    size = 0

    def locate(self, slots: jax.Array, attention: jax.Array, grid: tuple[int, int]) -> jax.Array:
        del attention, grid
        return slots

    def split(self, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
        return slots, slots[:, :0]

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        del frames
        return jnp.asarray(centers(height, width))

    def soft(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        del frames
        return jnp.asarray(position_grid(height, width))

    def extents(self, frames: jax.Array) -> jax.Array:
        return frames


@dataclass(frozen=True)
class SlotFrame(Frame):
    """Places count from where each slot attends, in units of how far it spreads.

    A slot then need not say where its object is, and an object is drawn alike wherever it is. The decoder's half of
    slot-centric reference frames (Biza et al., 2023, sec. 3.2); attention goes by the picture's positions. A frame is
    row and column of the mean of the slot's tokens, and their deviations along rows and along columns; 1 is half the
    picture.
    """

    size = 4

    def locate(self, slots: jax.Array, attention: jax.Array, grid: tuple[int, int]) -> jax.Array:
        return jnp.concatenate([slots, attended(attention, *grid)], axis=-1)

    def split(self, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
        return slots[:, : -self.size], slots[:, -self.size :]

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        mean, spread = frames[:, None, None, :2], frames[:, None, None, 2:]
        return (jnp.asarray(centers(height, width)) - mean) / (REACH * spread)

    def soft(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        places = self.coordinates(frames, height, width)
        return jnp.concatenate([1 + places, 1 - places], -1) / 2

    def extents(self, frames: jax.Array) -> jax.Array:
        return jnp.log(frames[:, 2:])


def attended(attention: jax.Array, height: int, width: int) -> jax.Array:
    """The mean and the standard deviation of the centres of each slot's tokens: [b, k, n] -> [b, k, 4]."""
    grid = centers(height, width).reshape(-1, 2)
    weights = attention + EPSILON
    weights = weights / weights.sum(-1, keepdims=True)
    mean = weights @ grid
    variance = jnp.einsum("bkn,bknc->bkc", weights, (grid - mean[:, :, None]) ** 2)
    return jnp.concatenate([mean, jnp.sqrt(variance + LEAST_SPREAD**2)], axis=-1)


FRAMES: dict[str, type[Frame]] = {"picture": PictureFrame, "slot": SlotFrame}
