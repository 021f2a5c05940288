"""How the surfaces of the CLEVR scenes answer light: rubber, metal, ground.

Colours, weights and roughnesses are the generator's where a number is known; `FITTED` holds the few that stand for what
is not computed (light thrown about more than once, the blur of rough reflections), adjusted on genuine pictures
(docs/clevr.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import ground as clevr_ground
from slotjax.data.scenes.clevr_world.light import (
    GROUND_ALBEDO,
    Lamps,
    add_colored,
    arrive,
    bare_ground,
    black,
    light_from_objects,
)
from slotjax.data.scenes.clevr_world.shapes import Solids
from slotjax.data.scenes.clevr_world.vectors import Vector, dot, normalize

SHARP_ROUGHNESS = 0.01  # of metal's mirror lobe
HORIZON = 0.2  # height of a mirrored unit vector below which it sees the backdrop blurred
_WALL_SIDE, _WALL_TOP = 0.5, 0.79  # where the backdrop ends seen from the origin: cosine of azimuth, sine of height


class Shading(NamedTuple):
    """The free constants of the renderer.

    Attributes:
      bounce: share of the ground's light that reaches downward-facing surfaces.
      thrown: brightness of the objects' lower sides, in their colour.
      ambient: irradiance from everywhere else.
      sun_angle: half the angle that the sun spans, rad.
      sharp, blurred: weights of metal's mirror image of its surroundings and of its blurred one.
      metal_roughness: of the blurred lobe.
      sharp_lamps, blurred_lamps: weights of the lamps' images in the two lobes.
      wall: brightness of the wall in the blurred image.
      blur: width of the soft edges in the blurred image, as a part of the mirrored unit vector.
      coat, coat_roughness: weight and roughness of the lamps' image in rubber.
    """

    bounce: jax.Array | float = 0.7
    thrown: jax.Array | float = 0.06
    ambient: jax.Array | float = 0.06
    sun_angle: jax.Array | float = 0.188
    sharp: jax.Array | float = 0.584
    blurred: jax.Array | float = 0.364
    metal_roughness: jax.Array | float = 0.166
    sharp_lamps: jax.Array | float = 0.5
    blurred_lamps: jax.Array | float = 0.389
    wall: jax.Array | float = 0.106
    blur: jax.Array | float = 0.2
    coat: jax.Array | float = 0.012
    coat_roughness: jax.Array | float = 1.0


FITTED = Shading()


def indirect_light(
    lamps: Lamps, solids: Solids, color: jax.Array, point: Vector, normal: Vector, own: jax.Array, shading: Shading
) -> Vector:
    """Light on a surface that came by way of the ground (taken as lit without shadows), other objects, and the rest."""
    around = bare_ground(lamps, point[0] + normal[0] * point[2], point[1] + normal[1] * point[2])
    share = shading.bounce * GROUND_ALBEDO * 0.5 * (1.0 - normal[2])
    thrown = light_from_objects(solids, color, point, normal, own)
    pairs = zip(around, thrown, strict=True)
    red, green, blue = (shading.ambient + share * ground + shading.thrown * objects for ground, objects in pairs)
    return red, green, blue


def blurred_surroundings(lamps: Lamps, point: Vector, mirrored: Vector, shading: Shading) -> Vector:
    """What metal's rough lobe sees along the `mirrored` ray: floor, and the wall far behind, with soft ends."""
    reach = point[2] / jnp.maximum(-mirrored[2], 0.3)
    floor = bare_ground(lamps, point[0] + reach * mirrored[0], point[1] + reach * mirrored[1])
    down = jax.nn.sigmoid(-mirrored[2] / shading.blur)
    level = jax.lax.rsqrt(mirrored[0] ** 2 + mirrored[1] ** 2 + 1e-3)
    aside = jax.nn.sigmoid((clevr_ground.away(mirrored) * level - _WALL_SIDE) / shading.blur)
    over = jax.nn.sigmoid((_WALL_TOP - mirrored[2]) / shading.blur)
    wall = shading.wall * (1.0 - down) * aside * over
    red, green, blue = (GROUND_ALBEDO / jnp.pi * down * light + wall for light in floor)
    return red, green, blue


def highlights(lamps: Lamps, point: Vector, normal: Vector, view: Vector, metal: jax.Array, shading: Shading) -> Vector:
    """Light of lamps and sun reflected towards the unit vector `view`, before metal tints it.

    A lamp of finite size is a point seen in a wider lobe: half its angular radius is added to the roughness.
    """
    cosine_view = jnp.maximum(dot(normal, view), 1e-3)
    roughness2 = jnp.where(metal, shading.metal_roughness**2, shading.coat_roughness**2)
    weight = jnp.where(metal, shading.blurred_lamps, shading.coat)
    sharp_weight = jnp.where(metal, shading.sharp_lamps, 0.0)

    def add(total: Vector, lamp: Lamps):
        direction, inverse, strength = arrive(lamp, point)
        half = normalize((direction[0] + view[0], direction[1] + view[1], direction[2] + view[2]))
        cosine_half = jnp.clip(dot(half, normal), 0.0, 1.0)
        cosine_lamp = jnp.maximum(dot(direction, normal), 0.0)
        extent2 = (0.25 * lamp.side * inverse) ** 2
        sharp = _lobe(cosine_half, cosine_view, cosine_lamp, SHARP_ROUGHNESS**2 + extent2)
        rough = _lobe(cosine_half, cosine_view, cosine_lamp, roughness2 + extent2)
        return add_colored(total, strength * (sharp_weight * sharp + weight * rough), lamp.color), None

    return jax.lax.scan(add, black(cosine_view), lamps)[0]


def _lobe(
    cosine_half: jax.Array, cosine_view: jax.Array, cosine_lamp: jax.Array, roughness2: jax.Array | float
) -> jax.Array:
    """The GGX lobe times the lamp's cosine, with Schlick's form of Smith's masking."""
    spread = cosine_half * cosine_half * (roughness2 - 1.0) + 1.0
    density = roughness2 / (jnp.pi * spread * spread)
    k = 0.5 * jnp.sqrt(roughness2)
    masking = (cosine_view * (1.0 - k) + k) * (cosine_lamp * (1.0 - k) + k)
    return 0.25 * density * cosine_lamp / masking
