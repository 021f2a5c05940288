"""CLEVR scenes without end: drawn and rendered from a key, on the device."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import camera as clevr_camera
from slotjax.data.scenes.clevr_world import placement as clevr_place
from slotjax.data.scenes.clevr_world import render as clevr_render
from slotjax.data.scenes.clevr_world.texture import sample_texture
from slotjax.data.scenes.clevr_world.world import World, project_centers
from slotjax.data.scenes.scene import Scene
from slotjax.errors import UserError

MOST_OBJECTS = 10  # the generator's own limit; with its gaps and margins no more fit reliably
RESOLUTIONS = (8, 1024)  # smallest and largest side of a picture


def clevr(
    key: jax.Array,
    *,
    resolution: tuple[int, int] = (128, 128),
    crop: bool = True,
    min_objects: int = 3,
    max_objects: int = 6,
) -> Scene:
    """Draws one CLEVR scene; pure, jittable and vmappable over `key`.

    Args:
      key: a JAX random key; the scene is a function of it and of the options alone.
      resolution: rows and columns of the picture, whatever part of the frame it shows.
      crop: show the usual crop (rows 29:221, columns 64:256 of the generator's 240 x 320 frame) instead of all of it.
      min_objects, max_objects: the number of objects is uniform between the two, at most 10.

    Returns:
      A `Scene` whose objects are coded as in the TFDS data set `clevr`, padded to max_objects: `3d_coords` [n, 3],
      `pixel_coords` [n, 3] (column and row on the 240 x 320 frame, rounded as the generator does; depth),
      `picture_coords` [n, 2] (column and row as parts of the picture's width and height), `rotation` [n] (degrees,
      applied as radians), `size`, `material`, `shape`, `color` (int32 [n]), `present` (bool [n]). An object may lie
      outside the crop and is present all the same.

    Raises:
      UserError: an option out of range.
    """
    check_options(resolution, min_objects, max_objects)
    world_key, _ = jax.random.split(key)  # the other half draws textures
    return _drawn(clevr_place.sample_world(world_key, min_objects, max_objects), resolution, crop)


def clevr_textured(
    key: jax.Array,
    *,
    resolution: tuple[int, int] = (128, 128),
    crop: bool = True,
    min_objects: int = 3,
    max_objects: int = 10,
) -> Scene:
    """Draws the scene that `clevr` makes of the same key, with patterns on objects and ground (as in ClevrTex).

    Arguments and result are those of `clevr`; `color` is one of the two colours of an object's pattern.
    """
    check_options(resolution, min_objects, max_objects)
    world_key, texture_key = jax.random.split(key)
    world = clevr_place.sample_world(world_key, min_objects, max_objects)
    world = dataclasses.replace(world, texture=sample_texture(texture_key, world.base_color))
    return _drawn(world, resolution, crop)


def _drawn(world: World, resolution: tuple[int, int], crop: bool) -> Scene:
    image, segments = clevr_render.render(world, resolution=tuple(resolution), crop=crop)
    return Scene(image=image, segments=segments, objects=describe(world, crop))


def clevr_batch(keys: jax.Array, *, chunk: int = 1, **options: Any) -> Scene:
    """Draws a scene for each of `keys` [b], `chunk` at a time, so that memory grows by the pictures alone.

    One at a time is fastest on a CPU, which keeps a picture's arrays in its cache; an accelerator wants 16 or more.
    """
    return jax.lax.map(functools.partial(clevr, **options), keys, batch_size=chunk)


def check_options(resolution: tuple[int, int], min_objects: int, max_objects: int) -> None:
    """Raises a UserError for options that no scene can satisfy."""
    smallest, largest = RESOLUTIONS
    sides = resolution if isinstance(resolution, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(n, int) and smallest <= n <= largest for n in sides):
        raise UserError(f"resolution={resolution!r}: rows and columns must be integers from {smallest} to {largest}")
    if not 1 <= min_objects <= max_objects:
        raise UserError(f"min_objects={min_objects}, max_objects={max_objects}: need 1 <= min_objects <= max_objects")
    if max_objects > MOST_OBJECTS:
        raise UserError(f"max_objects={max_objects}: at most {MOST_OBJECTS} objects fit into a CLEVR scene")


def describe(world: World, crop: bool) -> dict[str, jax.Array]:
    """A world's objects in the coding of the TFDS data set `clevr`; zeros where no object is present."""
    projected = project_centers(world)
    top, bottom, left, right = clevr_camera.window(crop)
    in_picture = (projected[:, :2] - jnp.array([left, top])) / jnp.array([right - left, bottom - top])
    projected = projected.at[:, :2].set(jnp.round(projected[:, :2]))
    mask = world.present[:, None]
    return {
        "3d_coords": jnp.where(mask, world.center, 0.0),
        "pixel_coords": jnp.where(mask, projected, 0.0),
        "picture_coords": jnp.where(mask, in_picture, 0.0),
        "rotation": world.rotation,
        "size": world.size,
        "material": world.material,
        "shape": world.shape,
        "color": world.color,
        "present": world.present,
    }
