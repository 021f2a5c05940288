"""Frames of reference: in which coordinates slots are drawn, and those in which they attend.

A frame is a few numbers behind a slot's own: none for the picture's frame, four where every slot has a place and an
extent. Coordinates are (row, column), the picture running from -1 to 1.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from slotjax.nn.positions import centers, corners, position_grid

EPSILON = 1e-8  # keeps a slot that wins no token from dividing by zero
LEAST_SPREAD = 0.01  # of the picture's half: the same for a slot with a single token
REACH = 3  # deviations from a slot's mean that count as 1
ISA_REACH = 5  # the same, in invariant slot attention
SCALES = (1e-3, 2.0)  # the least and the largest extent there
FIRST_SCALE, FIRST_ANGLE = 0.1, jnp.pi / 4


class Frame:
    """In which coordinates a decoder draws its slots: the picture's, or each slot's own."""

    size: ClassVar[int]

    def start(self, slots: jax.Array, slot_dim: int) -> jax.Array:
        """What attention begins with, of slots [b, k, slot_dim or slot_dim + size] as a caller gives them."""
        del slot_dim
        return slots

    def locate(self, slots: jax.Array, attention: jax.Array, grid: tuple[int, int]) -> jax.Array:
        """What attention returns, and where its slots attend [b, k, n] of a grid of tokens -> [b, k, d + size]."""
        del attention, grid
        return slots

    def split(self, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
        """slots [*b, d + size] -> slots [*b, d] and frames [*b, size]."""
        dim = slots.shape[-1] - self.size
        return slots[..., :dim], slots[..., dim:]

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        """Row and column of each place, in [-1, 1] of the picture or about the frame: [h, w, 2] or [m, h, w, 2]."""
        raise NotImplementedError

    def soft(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        """What `SoftPositionEmbedding` takes, (1 + place, 1 - place) / 2: [h, w, 4] or [m, h, w, 4]."""
        places = self.coordinates(frames, height, width)
        return jnp.concatenate([1 + places, 1 - places], -1) / 2

    def extents(self, frames: jax.Array) -> jax.Array:
        """Logarithms of how far a frame reaches, [m, 2], for layers that should know; [m, 0] where all are alike."""
        return frames[..., :0]


@dataclass(frozen=True)
class PictureFrame(Frame):
    """Places are where they are in the picture (Watters et al., 2019)."""

    size = 0

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        del frames
        return jnp.asarray(centers(height, width))

    def soft(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        del frames
        return jnp.asarray(position_grid(height, width))


@dataclass(frozen=True)
class SlotFrame(Frame):
    """Places count from where each slot attends, in units of how far it spreads.

    A slot then need not say where its object is, and an object is drawn alike wherever it is. The decoder's half of
    slot-centric reference frames (Biza et al., 2023, sec. 3.2); attention goes by the picture's positions. A frame is
    row and column of the mean of the slot's tokens, and their deviations along rows and along columns; 1 is half the
    picture.
    """

    size = 4

    def start(self, slots: jax.Array, slot_dim: int) -> jax.Array:
        cut = slots.shape[-1] == slot_dim + self.size
        return slots[..., :slot_dim] if cut else slots  # where they attend is found anew

    def locate(self, slots: jax.Array, attention: jax.Array, grid: tuple[int, int]) -> jax.Array:
        return jnp.concatenate([slots, attended(attention, *grid)], axis=-1)

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        mean, spread = frames[:, None, None, :2], frames[:, None, None, 2:]
        return (jnp.asarray(centers(height, width)) - mean) / (REACH * spread)

    def extents(self, frames: jax.Array) -> jax.Array:
        return jnp.log(frames[..., 2:])


def attended(attention: jax.Array, height: int, width: int) -> jax.Array:
    """The mean and the standard deviation of the centres of each slot's tokens: [b, k, n] -> [b, k, 4]."""
    grid = centers(height, width).reshape(-1, 2)
    weights = attention + EPSILON
    weights = weights / weights.sum(-1, keepdims=True)
    mean = weights @ grid
    variance = jnp.einsum("bkn,bknc->bkc", weights, (grid - mean[:, :, None]) ** 2)
    return jnp.concatenate([mean, jnp.sqrt(variance + LEAST_SPREAD**2)], axis=-1)


class AttendedFrame(Frame):
    """A frame that attention itself goes by, and moves (Biza et al., 2023, sec. 3): `InvariantSlotAttention`.

    What differs between its kinds are `relative`, `place`, `draw` and `clip`.
    """

    def relative(self, frames: jax.Array, grid: jax.Array) -> jax.Array:
        """Places [n, 2] as each frame [*b, size] has them: [*b, n, 2]."""
        raise NotImplementedError

    def place(self, weights: jax.Array, grid: jax.Array) -> jax.Array:
        """The frames of slots with these weights [*b, n], which sum to 1, over places [n, 2]: [*b, size]."""
        raise NotImplementedError

    def draw(self, key: jax.Array, num_slots: int) -> jax.Array:
        """Frames to start from, [k, size]."""
        raise NotImplementedError

    def clip(self, frames: jax.Array) -> jax.Array:
        """Frames to start from, put within the picture."""
        return jnp.clip(frames, -1, 1)

    def coordinates(self, frames: jax.Array, height: int, width: int) -> jax.Array:
        relative = self.relative(frames, jnp.asarray(corners(height, width)).reshape(-1, 2))
        return relative.reshape(*frames.shape[:-1], height, width, 2)

    def extents(self, frames: jax.Array) -> jax.Array:
        return jnp.log(frames[..., 2:4])  # of places alone there are none


@dataclass(frozen=True)
class TranslatedFrame(AttendedFrame):
    """A place: row and column of the mean of a slot's tokens."""

    size = 2

    def relative(self, frames: jax.Array, grid: jax.Array) -> jax.Array:
        return grid - frames[..., None, :2]

    def place(self, weights: jax.Array, grid: jax.Array) -> jax.Array:
        return weights @ grid

    def draw(self, key: jax.Array, num_slots: int) -> jax.Array:
        return jax.random.uniform(key, (num_slots, 2), jnp.float32, -1, 1)


@dataclass(frozen=True)
class ScaledFrame(AttendedFrame):
    """A place, and the deviations of a slot's tokens along rows and along columns."""

    size = 4

    def relative(self, frames: jax.Array, grid: jax.Array) -> jax.Array:
        return (grid - frames[..., None, :2]) / frames[..., None, 2:4] / ISA_REACH

    def place(self, weights: jax.Array, grid: jax.Array) -> jax.Array:
        position = weights @ grid
        return jnp.concatenate([position, spread(weights, grid - position[..., None, :])], -1)

    def draw(self, key: jax.Array, num_slots: int) -> jax.Array:
        where, how_far = jax.random.split(key)
        scale = FIRST_SCALE * (1 + jax.random.normal(how_far, (num_slots, 2), jnp.float32))
        return jnp.concatenate([jax.random.uniform(where, (num_slots, 2), jnp.float32, -1, 1), scale], -1)

    def clip(self, frames: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.clip(frames[..., :2], -1, 1), jnp.clip(frames[..., 2:4], *SCALES)], -1)


@dataclass(frozen=True)
class RotatedFrame(AttendedFrame):
    """A place, deviations along the slot's own axes, and the rotation to them, a matrix for (column, row), row by row.

    The axes are those of the covariance of the slot's tokens, turned by 45 degrees at most.
    """

    size = 8

    def relative(self, frames: jax.Array, grid: jax.Array) -> jax.Array:
        turned = rotate(grid - frames[..., None, :2], frames[..., 4:])
        return turned / frames[..., None, 2:4] / ISA_REACH

    def place(self, weights: jax.Array, grid: jax.Array) -> jax.Array:
        position = weights @ grid
        apart = grid - position[..., None, :]
        rotation = principal_axes(weights, apart)
        return jnp.concatenate([position, spread(weights, rotate(apart, rotation)), rotation], -1)

    def draw(self, key: jax.Array, num_slots: int) -> jax.Array:
        placed, turned = jax.random.split(key)
        angle = jax.random.uniform(turned, (num_slots, 1), jnp.float32, -FIRST_ANGLE, FIRST_ANGLE)
        rotation = jnp.concatenate([jnp.cos(angle), jnp.sin(angle), -jnp.sin(angle), jnp.cos(angle)], -1)
        return jnp.concatenate([ScaledFrame().draw(placed, num_slots), rotation], -1)

    def clip(self, frames: jax.Array) -> jax.Array:
        return jnp.concatenate([ScaledFrame().clip(frames[..., :4]), frames[..., 4:]], -1)


def spread(weights: jax.Array, apart: jax.Array) -> jax.Array:
    """Deviations of places [*b, n, 2] from their mean, under weights [*b, n]: [*b, 2]."""
    variance = jnp.einsum("...n,...nc->...c", weights + EPSILON, apart**2)
    return jnp.clip(jnp.sqrt(variance), *SCALES)


def rotate(places: jax.Array, rotation: jax.Array) -> jax.Array:
    """Places [*b, n, 2] (row, column) by matrices [*b, 4] that act on (column, row) from the right."""
    matrix = rotation.reshape(*rotation.shape[:-1], 2, 2)
    return (places[..., ::-1] @ matrix)[..., ::-1]


def principal_axes(weights: jax.Array, apart: jax.Array) -> jax.Array:
    """The rotation to the axes of the covariance of places [*b, n, 2] from their mean: [*b, 4].

    Each axis goes with the coordinate that it is closer to, so that none turns by more than 45 degrees; where the
    covariance has no direction, they are the picture's.
    """
    x, y = apart[..., 1], apart[..., 0]
    xx, yy, xy = ((weights * a * b).sum(-1) for a, b in ((x, x), (y, y), (x, y)))
    xy = xy + 1e-16
    root = jnp.sqrt(4 * xy**2 + (xx - yy) ** 2 + 1e-16)
    straight = jnp.abs(xy) < 1e-6
    safe = jnp.where(straight, 1.0, xy)
    first, second = (_axis((((xx + yy + sign * root) / 2) - yy) / safe) for sign in (1, -1))
    turned = jnp.abs(first[..., :1]) < 0.707
    first, second = jnp.where(turned, second, first), jnp.where(turned, first, second)
    first = first * jnp.where(first[..., :1] < 0, -1, 1)
    along = straight[..., None]
    first = jnp.where(along, jnp.array([1.0, 0.0]), first)
    second = jnp.where(along, jnp.array([0.0, 1.0]), second)
    return jnp.stack([first[..., 0], second[..., 0], first[..., 1], second[..., 1]], -1)


def _axis(slope: jax.Array) -> jax.Array:
    """The unit vector along (slope, 1): [*b] -> [*b, 2]."""
    vector = jnp.stack([slope, jnp.ones_like(slope)], -1)
    return vector / jnp.linalg.norm(vector, axis=-1, keepdims=True)


ATTENDED_FRAMES: dict[str, type[AttendedFrame]] = {
    "translated": TranslatedFrame,
    "scaled": ScaledFrame,
    "rotated": RotatedFrame,
}
FRAMES: dict[str, type[Frame]] = {"picture": PictureFrame, "slot": SlotFrame, **ATTENDED_FRAMES}
