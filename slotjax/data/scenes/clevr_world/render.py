"""Draws a CLEVR world: one camera ray and one mirror ray a pixel, and four more rays that only ask what they hit.

Every pixel is shaded once, at its centre. What the four subpixels see decides how the colours of the pixel and of its
neighbours mix, so edges are smooth without the price of shading every subpixel; segments are what the centre sees.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import camera as clevr_camera
from slotjax.data.scenes.clevr_world import ground as clevr_ground
from slotjax.data.scenes.clevr_world import shapes as clevr_shapes
from slotjax.data.scenes.clevr_world.light import GROUND_ALBEDO, irradiance, lamps_and_sun
from slotjax.data.scenes.clevr_world.material import (
    FITTED,
    HORIZON,
    Shading,
    blurred_surroundings,
    highlights,
    indirect_light,
)
from slotjax.data.scenes.clevr_world.shapes import Solids
from slotjax.data.scenes.clevr_world.texture import textured_color
from slotjax.data.scenes.clevr_world.vectors import Vector, along, dot, unstack
from slotjax.data.scenes.clevr_world.world import MATERIALS, World


def render(
    world: World, *, resolution: tuple[int, int], crop: bool, shading: Shading = FITTED
) -> tuple[jax.Array, jax.Array]:
    """Renders a world.

    Returns:
      image float32 [h, w, 3] in [-1, 1], and segments int32 [h, w]: 0 the ground, i the world's object i - 1.
    """
    seen = trace(world, resolution=resolution, crop=crop)
    return paint(world, seen, shading), seen.index[0] + 1


class Seen(NamedTuple):
    """What the camera's rays meet, each [5, h, w]: first those through the pixels' centres, then four corners.

    Attributes:
      ray: unit vectors from the camera.
      distance: to the nearest object, infinite where there is none.
      index: of that object, -1 where there is none.
    """

    ray: Vector
    distance: jax.Array
    index: jax.Array


def trace(world: World, *, resolution: tuple[int, int], crop: bool) -> Seen:
    """Follows the camera's rays to the objects of a world."""
    camera = clevr_camera.look_at_origin(world.camera)
    grid = [clevr_camera.pixel_grid(resolution, crop), clevr_camera.pixel_grid(resolution, crop, subsamples=2)]
    rays = clevr_camera.directions(camera, jnp.concatenate(grid, axis=1))
    return Seen(rays, *clevr_shapes.first_hit(world.solids(), unstack(camera.position), rays))


def paint(world: World, seen: Seen, shading: Shading = FITTED) -> jax.Array:
    """The image [h, w, 3] in [-1, 1] of what the camera's rays meet."""
    rays, distance, index = seen
    centers = rays[0][0], rays[1][0], rays[2][0]
    solids = world.solids()
    surface = _surface(solids, unstack(world.camera), centers, distance[0], index[0])
    color = _shade(world, solids, surface, centers, shading)
    return _to_srgb(_antialias(color, index[0], index[1:])) * 2.0 - 1.0


class _Surface(NamedTuple):
    """What rays meet: point, unit normal, index of the object (-1: the ground), and whether they meet anything."""

    point: Vector
    normal: Vector
    index: jax.Array
    found: jax.Array


def _surface(solids: Solids, origin: Vector, direction: Vector, distance: jax.Array, index: jax.Array) -> _Surface:
    """The first surface along unit rays, given the solid that they hit and its distance."""
    on_object = index >= 0
    distance = jnp.where(on_object, distance, clevr_ground.hit_distance(origin, direction))
    found = jnp.isfinite(distance)
    point = along(origin, jnp.where(found, distance, 1.0), direction)
    own = jax.tree.map(lambda leaf: leaf[jnp.maximum(index, 0)], solids)
    normal = _select(on_object, clevr_shapes.normal(own, point), clevr_ground.normal(point))
    return _Surface(point, normal, index, found)


def _shade(world: World, solids: Solids, first: _Surface, direction: Vector, shading: Shading) -> jax.Array:
    """Linear colour [..., 3] of what is seen along unit rays.

    Metal shows the matt colour of whatever its mirrored ray meets, so there is exactly one point to light with shadows
    for every ray: the surface itself, or the one seen in it.
    """
    point, normal, index, _ = first
    metal = (index >= 0) & (world.material[index] == MATERIALS.index("metal"))
    mirrored = along(direction, -2.0 * dot(direction, normal), normal)
    second = _surface(solids, point, mirrored, *clevr_shapes.first_hit(solids, point, mirrored, skip=index))
    matt_point, matt_normal, matt_index, found = _select(metal, second, first)

    lamps = lamps_and_sun(world.lamps, shading.sun_angle)
    direct = irradiance(lamps, solids, matt_point, matt_normal, matt_index)
    indirect = indirect_light(lamps, solids, world.base_color, matt_point, matt_normal, matt_index, shading)
    blurred = blurred_surroundings(lamps, point, mirrored, shading)
    backward = -direction[0], -direction[1], -direction[2]
    shine = highlights(lamps, point, normal, backward, metal, shading)
    tint, albedo = _color(world, point, index), _color(world, matt_point, matt_index)
    # The mirrored horizon is soft: close to it, where no object stands before it, both lobes see the blurred backdrop.
    crisp = jnp.where(second.index >= 0, 1.0, jnp.clip(jnp.abs(mirrored[2]) / HORIZON, 0.0, 1.0))
    channels = []
    for c in range(3):
        matt = jnp.where(found, albedo[c] / jnp.pi * (direct[c] + indirect[c]), 0.0)
        coated = matt + jnp.where(index >= 0, shine[c], 0.0)
        mirror = crisp * matt + (1.0 - crisp) * blurred[c]
        metallic = tint[c] * (shading.sharp * mirror + shading.blurred * blurred[c] + shine[c])
        channels.append(jnp.where(metal, metallic, coated))
    return jnp.stack(channels, axis=-1)


def _color(world: World, point: Vector, index: jax.Array) -> Vector:
    """Linear colour of the surfaces with this index at points of theirs; index -1 is the ground."""
    if world.texture is not None:
        return textured_color(world.texture, point, index)
    albedo = jnp.concatenate([world.base_color, jnp.full((1, 3), GROUND_ALBEDO)])
    return albedo[:, 0][index], albedo[:, 1][index], albedo[:, 2][index]


def _antialias(color: jax.Array, index: jax.Array, corner_index: jax.Array) -> jax.Array:
    """Mean over four subpixels, each with the colour of the nearest pixel centres that see the same object.

    Args:
      color: [h, w, 3] at the pixel centres.
      index: [h, w], what the pixel centres see.
      corner_index: [4, h, w], what the subpixels see: upper left, upper right, lower left, lower right.
    """
    height, width = index.shape
    color_around = jnp.pad(color, ((1, 1), (1, 1), (0, 0)), mode="edge")
    index_around = jnp.pad(index, 1, mode="edge")
    total = jnp.zeros_like(color)
    for corner, (down, right) in enumerate(((0, 0), (0, 2), (2, 0), (2, 2))):
        borrowed, matches = jnp.zeros_like(color), jnp.zeros(index.shape)
        for y, x in ((down, 1), (1, right), (down, right)):
            same = (index_around[y : y + height, x : x + width] == corner_index[corner]).astype(color.dtype)
            borrowed = borrowed + same[..., None] * color_around[y : y + height, x : x + width]
            matches = matches + same
        keep = (corner_index[corner] == index) | (matches == 0.0)
        total = total + jnp.where(keep[..., None], color, borrowed / jnp.maximum(matches, 1.0)[..., None])
    return 0.25 * total


def _select(condition: jax.Array, a, b):
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _to_srgb(linear: jax.Array) -> jax.Array:
    """The generator's view transform, plain sRGB; [0, 1] to [0, 1]."""
    linear = jnp.clip(linear, 0.0, 1.0)
    return jnp.where(linear <= 0.0031308, 12.92 * linear, 1.055 * jnp.maximum(linear, 0.003) ** (1 / 2.4) - 0.055)
