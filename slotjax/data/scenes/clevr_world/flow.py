"""Exact optical flow of a CLEVR world: the surface seen at a pixel moves with its object and is projected again."""

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import camera as cameras
from slotjax.data.scenes.clevr_world import ground, shapes
from slotjax.data.scenes.clevr_world.vectors import along, unstack
from slotjax.data.scenes.clevr_world.world import World

_FAR = 1e3  # stands for the distance of what lies beyond the backdrop


def flow(
    world: World, rays: shapes.Vector, index: jax.Array, following: World, turn: jax.Array, *, crop: bool
) -> jax.Array:
    """How many (rows, columns) of pixels what is seen moves from a world to the following one.

    Args:
      rays: unit vectors through the pixels' centres, three of [h, w].
      index: [h, w], the object that each meets, -1 for the ground.
      turn: [n, 3, 3], by which each object turns about its centre on the way.

    Returns:
      float32 [h, w, 2].
    """
    point = _points(world, rays, index)
    on_object, own = (index >= 0)[..., None], jnp.maximum(index, 0)
    offset = point - world.center[own]
    moved = following.center[own] + jnp.einsum("hwij,hwj->hwi", turn[own], offset)
    target = cameras.project(cameras.look_at_origin(following.camera), jnp.where(on_object, moved, point))
    source = cameras.project(cameras.look_at_origin(world.camera), point)
    top, bottom, left, right = cameras.window(crop)
    scale = jnp.array([index.shape[0] / (bottom - top), index.shape[1] / (right - left)])
    return (target - source)[..., 1::-1] * scale


def _points(world: World, rays: shapes.Vector, index: jax.Array) -> jax.Array:
    """The points [h, w, 3] where the rays meet their object or the ground."""
    own = jax.tree.map(lambda leaf: leaf[jnp.maximum(index, 0)], world.solids())
    origin = unstack(world.camera)
    on_object = shapes.hit_distance(own, origin, rays, newton_steps=6)
    on_ground = ground.hit_distance(origin, rays)
    distance = jnp.where(index >= 0, on_object, on_ground)
    return jnp.stack(along(origin, jnp.where(jnp.isfinite(distance), distance, _FAR), rays), -1)
