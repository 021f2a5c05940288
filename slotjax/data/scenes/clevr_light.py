"""Light in the CLEVR scenes: three square lamps and a sun, with soft shadows, and what the ground throws back.

Powers, colours, sizes and directions are the generator's.
"""

import math

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_shapes import Solids, clearance
from slotjax.data.scenes.clevr_vector import Vector, dot, normalize, scale, unstack

LAMP_SIDE = (0.5, 0.5, 1.0)
LAMP_POWER = (78.5, 23.6, 39.3)  # W
LAMP_COLOR = ((1.0, 0.932, 0.817), (0.762, 0.818, 1.0), (1.0, 1.0, 1.0))
SUN_STRENGTH = 0.45
TO_SUN = (0.4150, -0.1944, 0.8888)  # the z axis rotated by (0.236, 0.417, 0.097) rad about x, y, z
GROUND_ALBEDO = 0.8


def visibility(
    solids: Solids, point: Vector, direction: Vector, spread: jax.Array | float, own: jax.Array
) -> jax.Array:
    """Share of a lamp that is seen from `point` past all solids [n] but the one with index `own` [...].

    `spread` is half the lamp's extent over its distance, so that spread * t is the half width of the penumbra of an
    edge at distance t. The share is a smooth step of how far the ray to the lamp's middle clears each solid.
    """

    def past(share: jax.Array, indexed: tuple[jax.Array, Solids]):
        index, solid = indexed
        margin, t = clearance(solid, point, direction)
        step = jnp.clip(0.5 + 0.5 * margin / (spread * t + 1e-2), 0.0, 1.0)
        return share * jnp.where(own == index, 1.0, step * step * (3.0 - 2.0 * step)), None

    return jax.lax.scan(past, jnp.ones_like(point[0]), (jnp.arange(solids.x.shape[0]), solids))[0]


def lamp_geometry(lamps: jax.Array, index: int, point: Vector) -> tuple[Vector, jax.Array, jax.Array]:
    """Unit vector from `point` to a lamp, 1 / distance, and the irradiance that it gives a surface facing it."""
    position = unstack(lamps[index])
    offset = position[0] - point[0], position[1] - point[1], position[2] - point[2]
    inverse = jax.lax.rsqrt(dot(offset, offset))
    direction = scale(inverse, offset)
    facing = jnp.maximum(dot(normalize(position), direction), 0.0)
    return direction, inverse, LAMP_POWER[index] / math.pi * facing * inverse * inverse


def _add_colored(total: Vector, strength: jax.Array, color: tuple[float, float, float]) -> Vector:
    return total[0] + strength * color[0], total[1] + strength * color[1], total[2] + strength * color[2]


def irradiance(
    lamps: jax.Array, solids: Solids, point: Vector, normal: Vector, own: jax.Array, sun_angle: jax.Array | float
) -> Vector:
    """Direct light (red, green, blue) on points of surfaces, with soft shadows; the sun spans twice `sun_angle`."""
    to_sun = unstack(jnp.array(TO_SUN))
    cosine = jnp.maximum(dot(to_sun, normal), 0.0)
    strength = SUN_STRENGTH * cosine * visibility(solids, point, to_sun, sun_angle, own)
    total = strength, strength, strength
    for index in range(3):
        direction, inverse, strength = lamp_geometry(lamps, index, point)
        strength = strength * jnp.maximum(dot(direction, normal), 0.0)
        strength = strength * visibility(solids, point, direction, 0.56 * LAMP_SIDE[index] * inverse, own)
        total = _add_colored(total, strength, LAMP_COLOR[index])
    return total


def bare_ground(lamps: jax.Array, x: jax.Array, y: jax.Array) -> Vector:
    """Direct light (red, green, blue) on the empty flat ground at x, y, without any shadow."""
    sun = jnp.full_like(x, SUN_STRENGTH * TO_SUN[2])
    total = sun, sun, sun
    for index in range(3):
        direction, _, strength = lamp_geometry(lamps, index, (x, y, jnp.zeros_like(x)))
        total = _add_colored(total, strength * direction[2], LAMP_COLOR[index])
    return total


def light_from_objects(solids: Solids, color: jax.Array, point: Vector, normal: Vector, own: jax.Array) -> Vector:
    """Light that objects of linear `color` [n, 3] and unit brightness throw on points of other surfaces.

    Each is taken for a glowing ball, which gives a surface facing it pi times its brightness times (radius / distance)
    squared.
    """

    def add(total: Vector, indexed: tuple[jax.Array, Solids, jax.Array]):
        index, solid, shade = indexed
        offset = solid.x - point[0], solid.y - point[1], solid.z - point[2]
        inverse2 = 1.0 / jnp.maximum(dot(offset, offset), solid.scale * solid.scale)
        share = math.pi * jnp.maximum(dot(offset, normal), 0.0) * jnp.sqrt(inverse2) * inverse2 * solid.scale**2
        share = jnp.where(own == index, 0.0, share)
        return (total[0] + share * shade[0], total[1] + share * shade[1], total[2] + share * shade[2]), None

    none = jnp.zeros_like(point[0])
    return jax.lax.scan(add, (none, none, none), (jnp.arange(solids.x.shape[0]), solids, color))[0]
