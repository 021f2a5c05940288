"""Vectors as three separate arrays: the form in which XLA fuses and vectorises long elementwise arithmetic.

(A stacked [3, ...] array in the middle of it forces a branch per element; rendering is several times slower with it.)
"""

from typing import TypeAlias

import jax

Vector: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]


def dot(a: Vector, b: Vector) -> jax.Array:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unstack(a: jax.Array) -> Vector:
    """An array [3] as a vector of three scalars."""
    x, y, z = a
    return x, y, z


def along(origin: Vector, distance: jax.Array | float, direction: Vector) -> Vector:
    """The point origin + distance * direction."""
    x, y, z = (o + distance * d for o, d in zip(origin, direction, strict=True))
    return x, y, z


def scale(factor: jax.Array | float, a: Vector) -> Vector:
    """A vector times a scalar."""
    return factor * a[0], factor * a[1], factor * a[2]


def normalize(a: Vector) -> Vector:
    """The unit vector of the same direction; the zero vector stays what it is."""
    return scale(jax.lax.rsqrt(dot(a, a) + 1e-12), a)
