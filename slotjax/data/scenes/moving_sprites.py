"""The small sprites of `sprites`, moving: they bounce, turn, hide one another, leave and come back."""

import dataclasses

import jax
import jax.numpy as jnp

from slotjax.data.scenes.draw import Uniform
from slotjax.data.scenes.dsprites import (
    PROPOSALS,
    apart,
    check_sprites,
    compose_sprites,
    draw_look,
    ground,
    side_of,
)
from slotjax.data.scenes.motion import Discs, glide
from slotjax.data.scenes.scene import Scene, check_frames, in_view
from slotjax.errors import UserError

SPEED = (0.02, 0.06)  # sides of the picture a frame
TURN = 0.2  # rad a frame, at most, to either side
GAP = 0.33  # between centres at the start: more than two radii
PASSING = 0.3  # share of the sprites that borders do not hold
BEYOND = 2.0  # radii: how far outside the borders the centres of those go
SUBSTEPS = 8  # of a frame


def moving_sprites(
    key: jax.Array,
    *,
    num_frames: int = 10,
    resolution: tuple[int, int] = (32, 32),
    min_objects: int = 2,
    max_objects: int = 4,
    background: str = "black",
    speed: float = 1.0,
) -> Scene:
    """Discs, squares and triangles as in `sprites` that move and turn steadily.

    Each sprite lies in one of two layers. As discs of their radius, sprites of one layer bounce off each other without
    loss (masses as their areas), but for those that overlap at the start, where there is no room for 6 to 8; those of
    different layers pass over one another and hide what is behind. Most bounce
    off the borders; some pass them, are wholly outside for a while, and come back.

    Args:
      num_frames: at least 1. The first frames are the same whatever the number.
      resolution: height and width in pixels, equal.
      min_objects, max_objects: the number of sprites is uniform between the two, at most 8.
      background: "black", or "colored" (any hue, dark).
      speed: how fast, from 0 to 4; 1 is 2% to 6% of a side a frame at the start, and up to 0.2 rad.

    Returns:
      `Scene` of num_frames frames; objects as of `sprites`, of every frame (scale is the disc's radius in pixels; x and
      y may lie outside 0..1), and visibility and boxes.

    Raises:
      UserError: an option out of range, or a resolution that is no square of 16 to 1024 pixels a side.
    """
    check_sprites(min_objects, max_objects, background)
    check_frames(num_frames)
    if not 0 <= speed <= 4:
        raise UserError(f"speed={speed}: from 0 (nothing moves) to 4")
    side, most = side_of(resolution), max_objects
    draw = Uniform(key, most * (10 + 2 * PROPOSALS) + 2)
    look = draw_look(draw, most)
    room = jnp.where(draw.floats((most,)) < PASSING, -BEYOND, 1)[:, None] * look.radius[:, None]
    centre = apart(room + (1 - 2 * room) * draw.floats((PROPOSALS, most, 2)), GAP)
    layer = draw.integers((most,), 2)
    heading, pace, turn = (draw.floats((most,)) for _ in range(3))
    dark = ground(draw.floats(()), background)
    count = min_objects + draw.integers((), most + 1 - min_objects)

    direction = jnp.stack([jnp.sin(2 * jnp.pi * heading), jnp.cos(2 * jnp.pi * heading)], -1)
    velocity = speed * (SPEED[0] + (SPEED[1] - SPEED[0]) * pace)[:, None] * direction
    discs = Discs(look.radius, look.radius**2, room, 1 - room, _collide(centre, look.radius, layer, count))
    track = glide(discs, centre, velocity, num_steps=num_frames, substeps=SUBSTEPS)[::SUBSTEPS]
    angles = look.angle + jnp.arange(num_frames + 1)[:, None] * speed * TURN * (2 * turn - 1)

    def frame(centre, angle, next_centre, next_angle) -> Scene:
        scene = compose_sprites(look._replace(angle=angle), centre, dark, count, side)
        flow = _flow(scene.segments, centre, next_centre, next_angle - angle)
        objects = scene.objects | in_view(scene.segments, most)
        return dataclasses.replace(scene, flow=flow * side, objects=objects)

    return jax.vmap(frame)(track[:-1], angles[:-1], track[1:], angles[1:])


def _collide(centre: jax.Array, radius: jax.Array, layer: jax.Array, count: jax.Array) -> jax.Array:
    """Which pairs bounce: bool [n, n]; those that lie in one layer, apart at the start."""
    distance = jnp.linalg.norm(centre[:, None] - centre + 1e-12, axis=-1)
    real = jnp.arange(len(radius)) < count
    return (layer[:, None] == layer) & (distance > radius[:, None] + radius) & real[:, None] & real


def _flow(segments: jax.Array, centre: jax.Array, next_centre: jax.Array, turned: jax.Array) -> jax.Array:
    """How pixels of segments [r, r] move, (row, column) over the side, [r, r, 2]; centres [n, 2], turned [n] in rad."""
    less, sin = -2 * jnp.sin(turned / 2) ** 2, jnp.sin(turned)  # cos - 1, with the digits of small turns
    (y, x), (down, right) = centre.T, (next_centre - centre).T
    # A pixel's way is linear in its place: the turn about the centre, and the centre's own way.
    linear = jnp.stack([less, sin, down - less * y - sin * x, right - less * x + sin * y], -1)
    less, sin, down, right = jnp.moveaxis(jnp.pad(linear, ((1, 0), (0, 0)))[segments], -1, 0)
    pixels = (jnp.arange(len(segments), dtype=jnp.float32) + 0.5) / len(segments)
    y, x = pixels[:, None], pixels
    return jnp.stack([down + less * y + sin * x, right + less * x - sin * y], -1)
