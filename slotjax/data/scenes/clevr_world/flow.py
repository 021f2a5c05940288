"""Exact optical flow of a CLEVR world: the surface seen at a pixel moves with its object and is projected again."""

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import camera as cameras
from slotjax.data.scenes.clevr_world import ground, shapes
from slotjax.data.scenes.clevr_world.render import Seen
from slotjax.data.scenes.clevr_world.vectors import along, unstack
from slotjax.data.scenes.clevr_world.world import World

_NEWTON_STEPS = 6  # pictures need not be as exact
_FAR = 1e3  # stands for the distance of what lies beyond the backdrop


def flow(world: World, seen: Seen, following: World, turn: jax.Array, *, crop: bool) -> jax.Array:
    """How many (rows, columns) of pixels what is seen of a world moves until the following one.

    Args:
      turn: [n, 3, 3], by which each object turns about its centre on the way.

    Returns:
      float32 [h, w, 2].
    """
    index = seen.index[0]
    point, own = _points(world, seen), jnp.maximum(index, 0)
    offset = jnp.einsum("hwij,hwj->hwi", turn[own], point - world.center[own], precision="highest")
    moved = following.center[own] + offset
    moved = jnp.where((index >= 0)[..., None], moved, point)
    before, after = (cameras.look_at_origin(each.camera) for each in (world, following))
    top, bottom, left, right = cameras.window(crop)
    scale = jnp.array([index.shape[0] / (bottom - top), index.shape[1] / (right - left)])
    return (cameras.project(after, moved) - cameras.project(before, point))[..., 1::-1] * scale


def _points(world: World, seen: Seen) -> jax.Array:
    """The points [h, w, 3] that the rays through the pixels' centres meet."""
    ray, distance, index = jax.tree.map(lambda leaf: leaf[0], seen)
    own = jax.tree.map(lambda leaf: leaf[jnp.maximum(index, 0)], world.solids())
    origin = unstack(world.camera)
    exact = shapes.hit_distance(own, origin, ray, newton_steps=_NEWTON_STEPS)
    exact = jnp.where(jnp.isfinite(exact), exact, distance)  # of rays that only graze an edge
    distance = jnp.where(index >= 0, exact, ground.hit_distance(origin, ray))
    return jnp.stack(along(origin, jnp.where(jnp.isfinite(distance), distance, _FAR), ray), -1)
