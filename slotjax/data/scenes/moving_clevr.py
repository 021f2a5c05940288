"""CLEVR's objects thrown over the ground: they slide, roll and collide."""

from dataclasses import replace

import jax

from slotjax.data.scenes.clevr_scene import check_options, describe
from slotjax.data.scenes.clevr_world.flow import flow
from slotjax.data.scenes.clevr_world.render import paint, trace
from slotjax.data.scenes.clevr_world.throw import follow, sample_throw
from slotjax.data.scenes.clevr_world.world import World
from slotjax.data.scenes.scene import Scene, check_frames, in_view
from slotjax.errors import UserError

AT_ONCE = {"cpu": 1}  # frames rendered side by side: a CPU's cache holds the arrays of one


def moving_clevr(
    key: jax.Array,
    *,
    num_frames: int = 10,
    resolution: tuple[int, int] = (128, 128),
    crop: bool = True,
    min_objects: int = 3,
    max_objects: int = 6,
    camera: str = "fixed",
) -> Scene:
    """Objects of CLEVR that stand, move or are thrown in from outside the picture; all slow down and come to rest.

    Cubes and cylinders slide, spheres roll. They collide as discs of their footprint, the circle around it, and
    exchange momentum (masses by volume and material, a restitution of 0.8); what is never hit may stand still.

    Args:
      num_frames: at least 1. The first frames are the same whatever the number.
      resolution: rows and columns of the picture, whatever part of the frame it shows.
      crop: show the usual crop of the generator's frame instead of all of it.
      min_objects, max_objects: the number of objects is uniform between the two, at most 10.
      camera: "fixed", or "panning": it goes slowly around the vertical axis, with the origin in the middle.

    Returns:
      `Scene` of num_frames frames; objects as of `clevr`, of every frame, and visibility and boxes.

    Raises:
      UserError: an option out of range.
    """
    check_options(resolution, min_objects, max_objects)
    check_frames(num_frames)
    if camera not in ("fixed", "panning"):
        raise UserError(f"camera={camera!r}: choose 'fixed' or 'panning'")
    world, velocity, pan = sample_throw(key, min_objects, max_objects)
    course = follow(world, velocity, pan * (camera == "panning"), num_frames)

    def frame(now: World, then: World, turn: jax.Array) -> Scene:
        seen = trace(now, resolution=tuple(resolution), crop=crop)
        segments = seen.index[0] + 1
        return Scene(
            image=paint(now, seen),
            segments=segments,
            flow=flow(now, seen, then, turn, crop=crop),
            objects=describe(now, crop) | in_view(segments, max_objects),
        )

    worlds = jax.vmap(lambda position, camera: replace(world, position=position, camera=camera))(
        course.position, course.camera
    )
    now, then = (jax.tree.map(lambda leaf, part=part: leaf[part], worlds) for part in (slice(-1), slice(1, None)))
    at_once = AT_ONCE.get(jax.default_backend(), 16)
    return jax.lax.map(lambda each: frame(*each), (now, then, course.turn), batch_size=at_once)
