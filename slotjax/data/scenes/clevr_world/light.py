"""Light in the CLEVR scenes: three square lamps and a sun, with soft shadows, and what surfaces throw at each other.

Powers, colours, sizes and directions are the generator's. The sun is a lamp far away, so that all four are one loop.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.shapes import Solids, clearance
from slotjax.data.scenes.clevr_world.vectors import Vector, dot, normalize, scale, unstack

LAMP_SIDE = (0.5, 0.5, 1.0)  # key, fill, back
LAMP_POWER = (78.5, 23.6, 39.3)  # W
LAMP_COLOR = ((1.0, 0.932, 0.817), (0.762, 0.818, 1.0), (1.0, 1.0, 1.0))
SUN_STRENGTH = 0.45
TO_SUN = (0.4150, -0.1944, 0.8888)  # the z axis rotated by (0.236, 0.417, 0.097) rad about x, y, z
GROUND_ALBEDO = 0.8
_SUN_DISTANCE = 1000.0


class Lamps(NamedTuple):
    """Square lamps that look at the origin: `position` [4, 3], `power` [4], `side` [4], `color` [4, 3]."""

    position: jax.Array
    power: jax.Array
    side: jax.Array
    color: jax.Array


def lamps_and_sun(position: jax.Array, sun_angle: jax.Array | float) -> Lamps:
    """The three lamps at `position` [3, 3], and the sun, which spans twice `sun_angle`."""
    far = _SUN_DISTANCE
    return Lamps(
        position=jnp.concatenate([position, far * jnp.array([TO_SUN])]),
        power=jnp.array([*LAMP_POWER, SUN_STRENGTH * math.pi * far * far]),
        side=jnp.array([*LAMP_SIDE, 2.0 * far * sun_angle]),
        color=jnp.array([*LAMP_COLOR, (1.0, 1.0, 1.0)]),
    )


class Arrival(NamedTuple):
    """A lamp's light at points: unit vector towards the lamp, 1 / distance, irradiance of a surface that faces it."""

    direction: Vector
    inverse: jax.Array
    strength: jax.Array


def arrive(lamp: Lamps, point: Vector) -> Arrival:
    """Light of one lamp (no leading axis) at points, without shadows."""
    position = unstack(lamp.position)
    offset = position[0] - point[0], position[1] - point[1], position[2] - point[2]
    inverse = jax.lax.rsqrt(dot(offset, offset))
    direction = scale(inverse, offset)
    facing = jnp.maximum(dot(normalize(position), direction), 0.0)
    return Arrival(direction, inverse, lamp.power / math.pi * facing * inverse * inverse)


def visibility(solids: Solids, point: Vector, direction: Vector, spread: jax.Array, own: jax.Array) -> jax.Array:
    """Share of a lamp that is seen from `point` past all solids [n] but the one with index `own` [...].

    `spread` is half the lamp's extent over its distance, so that spread * t is the half width of the penumbra of an
    edge at distance t. The share is a smooth step of how far the ray to the lamp's middle clears each solid.
    """

    def past(share: jax.Array, indexed: tuple[jax.Array, Solids]):
        index, solid = indexed
        margin, t = clearance(solid, point, direction)
        step = jnp.clip(0.5 + 0.5 * margin / (spread * t + 1e-2), 0.0, 1.0)
        return share * jnp.where(own == index, 1.0, step * step * (3.0 - 2.0 * step)), None

    return jax.lax.scan(past, jnp.ones_like(point[0]), (jnp.arange(solids.x.shape[0], dtype=jnp.int32), solids))[0]


def irradiance(lamps: Lamps, solids: Solids, point: Vector, normal: Vector, own: jax.Array) -> Vector:
    """Direct light (red, green, blue) on points of surfaces, with soft shadows."""

    def add(total: Vector, lamp: Lamps):
        direction, inverse, strength = arrive(lamp, point)
        seen = visibility(solids, point, direction, 0.56 * lamp.side * inverse, own)  # a disc of the square's area
        return add_colored(total, strength * jnp.maximum(dot(direction, normal), 0.0) * seen, lamp.color), None

    return jax.lax.scan(add, black(point[0]), lamps)[0]


def bare_ground(lamps: Lamps, x: jax.Array, y: jax.Array) -> Vector:
    """Direct light (red, green, blue) on the empty flat ground at x, y, without any shadow."""

    def add(total: Vector, lamp: Lamps):
        direction, _, strength = arrive(lamp, (x, y, jnp.zeros_like(x)))
        return add_colored(total, strength * direction[2], lamp.color), None

    return jax.lax.scan(add, black(x), lamps)[0]


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
        return add_colored(total, jnp.where(own == index, 0.0, share), shade), None

    return jax.lax.scan(add, black(point[0]), (jnp.arange(solids.x.shape[0], dtype=jnp.int32), solids, color))[0]


def black(like: jax.Array) -> Vector:
    """No light, for points of this shape."""
    none = jnp.zeros_like(like)
    return none, none, none


def add_colored(total: Vector, strength: jax.Array, color: jax.Array) -> Vector:
    """Light `total` and light of a `color` [3]."""
    return total[0] + strength * color[0], total[1] + strength * color[1], total[2] + strength * color[2]
