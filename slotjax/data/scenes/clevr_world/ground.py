"""The studio backdrop of the CLEVR scenes: flat around the objects, curving up far behind them.

Its height depends on one horizontal coordinate s only. Between the points of the profile known from the generator's
base scene, (s, height) = (-7, 0.10), (-2.7, 0.5), (-0.75, 1.1), (0.6, 2.2), (1.7, 4.4), (2.7, 8.9), (4.1, 23.2), the
height is the exponential of a cubic fitted to their logarithms, within 6% of each.
"""

import math

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.vectors import Vector

_ORIGIN = (-24.0628, -17.9967)
_COS, _SIN = math.cos(2.698), math.sin(2.698)
_LOG_HEIGHT = (0.0013834, 0.02654735, 0.51856999, 0.50531556)
_FLAT_BEFORE, _TOP = -15.0, 4.1
_WIDTH, _HEIGHT = 56.5, 23.2  # the sheet ends there; metal shows its ends
_NEWTON_STEPS = 5


def _height(s: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Height of the backdrop and its derivative at coordinate s."""
    a, b, c, d = _LOG_HEIGHT
    s = jnp.clip(s, _FLAT_BEFORE, _TOP)
    height = jnp.exp(((a * s + b) * s + c) * s + d)
    return height, height * ((3 * a * s + 2 * b) * s + c)


def away(direction: Vector) -> jax.Array:
    """Horizontal part of `direction` that leads towards the wall."""
    return _COS * direction[0] + _SIN * direction[1]


def _coordinate(point: Vector) -> jax.Array:
    return _COS * (point[0] - _ORIGIN[0]) + _SIN * (point[1] - _ORIGIN[1])


def hit_distance(origin: Vector, direction: Vector) -> jax.Array:
    """Distance along the unit `direction` from `origin` to the backdrop, infinite for rays past it.

    Newton's method on a convex height profile, from beyond the surface, converges from that one side.
    """
    s0, speed = _coordinate(origin), away(direction)
    to_floor = jnp.where(direction[2] < -1e-4, -origin[2] / jnp.minimum(direction[2], -1e-4), 1e4)
    to_wall = jnp.where(speed > 1e-4, (_TOP - s0) / jnp.maximum(speed, 1e-4), 1e4)
    t = jnp.minimum(to_floor, to_wall)
    above = t > 9e3
    for _ in range(_NEWTON_STEPS):
        height, slope = _height(s0 + t * speed)
        t = t - (origin[2] + t * direction[2] - height) / jnp.minimum(direction[2] - slope * speed, -1e-3)
    across = (_COS * direction[1] - _SIN * direction[0]) * t + _COS * (origin[1] - _ORIGIN[1])
    across = across - _SIN * (origin[0] - _ORIGIN[0])
    beside = (across > 0.0) | (across < -_WIDTH) | (origin[2] + t * direction[2] > _HEIGHT)
    return jnp.where(above | beside, jnp.inf, t)


def normal(point: Vector) -> Vector:
    """Upward unit normal at points of the backdrop."""
    _, slope = _height(_coordinate(point))
    scale = jax.lax.rsqrt(1.0 + slope * slope)
    return -_COS * slope * scale, -_SIN * slope * scale, scale
