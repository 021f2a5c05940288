"""How the surfaces of the CLEVR scenes answer light: rubber, metal, ground.

Colours, weights and roughnesses are the generator's where a number is known; `FITTED` holds the few that stand for what
is not computed (light thrown about more than once, the blur of rough reflections), adjusted on genuine pictures
(docs/clevr.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_light import GROUND_ALBEDO, LAMP_COLOR, LAMP_SIDE, bare_ground, lamp_geometry
from slotjax.data.scenes.clevr_vector import Vector, dot, normalize

METAL_ROUGHNESS = (0.01, 0.2)  # of its sharp and its blurred lobe


class Shading(NamedTuple):
    """The free constants of the renderer.

    Attributes:
      bounce: share of the ground's light that reaches downward-facing surfaces.
      ambient: irradiance from everywhere else.
      sharp, blurred: weights of metal's mirror image of its surroundings and of its blurred one.
      sharp_lamps, blurred_lamps: weights of the lamps' images in the two lobes.
      horizon: width of the blurred horizon, as a part of the height of the mirrored ray.
      coat, coat_roughness: weight and roughness of the lamps' image in rubber.
    """

    bounce: jax.Array | float = 1.0
    ambient: jax.Array | float = 0.02
    sharp: jax.Array | float = 0.4
    blurred: jax.Array | float = 0.6
    sharp_lamps: jax.Array | float = 0.4
    blurred_lamps: jax.Array | float = 0.6
    horizon: jax.Array | float = 0.35
    coat: jax.Array | float = 0.04
    coat_roughness: jax.Array | float = 0.5


FITTED = Shading()


def indirect_light(lamps: jax.Array, point: Vector, normal: Vector, shading: Shading) -> Vector:
    """Light on a surface that came by way of the ground, which is taken as lit without shadows, and of the rest."""
    around = bare_ground(lamps, point[0] + normal[0] * point[2], point[1] + normal[1] * point[2])
    share = shading.bounce * GROUND_ALBEDO * 0.5 * (1.0 - normal[2])
    red, green, blue = (shading.ambient + share * light for light in around)
    return red, green, blue


def blurred_surroundings(lamps: jax.Array, point: Vector, mirrored: Vector, shading: Shading) -> Vector:
    """What metal's rough lobe sees along the `mirrored` ray: bright ground below a soft horizon, black above."""
    reach = point[2] / jnp.maximum(-mirrored[2], 0.3)
    ground = bare_ground(lamps, point[0] + reach * mirrored[0], point[1] + reach * mirrored[1])
    share = GROUND_ALBEDO / jnp.pi * jax.nn.sigmoid(-mirrored[2] / shading.horizon)
    red, green, blue = (share * light for light in ground)
    return red, green, blue


def highlights(
    lamps: jax.Array, point: Vector, normal: Vector, view: Vector, metal: jax.Array, shading: Shading
) -> Vector:
    """Light of the lamps reflected towards the unit vector `view`, before metal tints it.

    A lamp of finite size is a point seen in a wider lobe: half its angular radius is added to the roughness.
    """
    cosine_view = jnp.maximum(dot(normal, view), 1e-3)
    roughness2 = jnp.where(metal, METAL_ROUGHNESS[1] ** 2, shading.coat_roughness**2)
    weight = jnp.where(metal, shading.blurred_lamps, shading.coat)
    sharp_weight = jnp.where(metal, shading.sharp_lamps, 0.0)
    red = green = blue = jnp.zeros_like(cosine_view)
    for index in range(3):
        direction, inverse, strength = lamp_geometry(lamps, index, point)
        half = normalize((direction[0] + view[0], direction[1] + view[1], direction[2] + view[2]))
        cosine_half = jnp.clip(dot(half, normal), 0.0, 1.0)
        cosine_lamp = jnp.maximum(dot(direction, normal), 0.0)
        extent2 = (0.25 * LAMP_SIDE[index] * inverse) ** 2
        sharp = _lobe(cosine_half, cosine_view, cosine_lamp, METAL_ROUGHNESS[0] ** 2 + extent2)
        rough = _lobe(cosine_half, cosine_view, cosine_lamp, roughness2 + extent2)
        strength = strength * (sharp_weight * sharp + weight * rough)
        red, green, blue = (t + strength * c for t, c in zip((red, green, blue), LAMP_COLOR[index], strict=True))
    return red, green, blue


def _lobe(cosine_half: jax.Array, cosine_view: jax.Array, cosine_lamp: jax.Array, roughness2: jax.Array) -> jax.Array:
    """The GGX lobe times the lamp's cosine, with Schlick's form of Smith's masking."""
    spread = cosine_half * cosine_half * (roughness2 - 1.0) + 1.0
    density = roughness2 / (jnp.pi * spread * spread)
    k = 0.5 * jnp.sqrt(roughness2)
    masking = (cosine_view * (1.0 - k) + k) * (cosine_lamp * (1.0 - k) + k)
    return 0.25 * density * cosine_lamp / masking
