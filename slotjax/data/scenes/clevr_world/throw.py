"""Objects of a CLEVR world thrown over its ground: where they start, how they slide, roll and collide.

Lengths are world units, times frames. Each object moves as a disc, the circle around its footprint.
"""

from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import camera as cameras
from slotjax.data.scenes.clevr_world.placement import EXTENT, TRIES, attributes_of, place, until
from slotjax.data.scenes.clevr_world.shapes import SPHERE
from slotjax.data.scenes.clevr_world.world import World, sample_lamps
from slotjax.data.scenes.motion import Discs, glide

FOOTPRINT = (0.8 * 2**0.5 + 0.2, 1.0, 1.0)  # radius over the half extent, of cube (rounded corners), sphere, cylinder
VOLUME = (8.0, 4.19, 6.28)  # over the half extent cubed
DENSITY = (1.0, 2.5)  # of rubber and metal
SLIDING = (0.03, 0.02)  # speed lost a frame, of rubber and metal
ROLLING = 0.006  # of any sphere
RESTITUTION = 0.8
RESTING = 0.3  # share of the objects inside that stand still at first
ENTERING = 0.4  # share that comes from outside
AROUND = 1.9  # rad to either side of the camera's direction: entering objects come from the sides and the front
AWAY = (5.0, 7.0)  # how far from the origin those start
INSIDE_SPEED, ENTERING_SPEED = (0.1, 0.45), (0.35, 0.65)  # at the start
AIM = 1.5  # entering objects head for a point within +-AIM
PAN = (0.005, 0.02)  # rad a frame that a panning camera goes around the vertical axis, to either side
SUBSTEPS = 8  # of a frame


class Course(NamedTuple):
    """How a world goes on, from the first frame to the one after the last.

    Attributes:
      position: [t + 1, n, 2], on the ground.
      turn: [t, n, 3, 3], the rotation about its centre that each object makes from a frame to the next.
      camera: [t + 1, 3], position.
    """

    position: jax.Array
    turn: jax.Array
    camera: jax.Array


def sample_throw(key: jax.Array, min_objects: int, max_objects: int) -> tuple[World, jax.Array, jax.Array]:
    """Draws a world as it is in the first frame.

    Returns:
      the world, its objects' velocities [n, 2], and by how much a panning camera goes around a frame, in rad.
    """
    camera_key, lamp_key, count_key, key = jax.random.split(key, 4)
    camera, lamps = cameras.sample_camera_position(camera_key), sample_lamps(lamp_key)
    of_scene = jax.random.uniform(count_key, (3,), jnp.float32)
    present = jnp.arange(max_objects) < min_objects + jnp.floor(of_scene[0] * (max_objects + 1 - min_objects))
    pan = _between(PAN, of_scene[1]) * jnp.where(of_scene[2] < 0.5, -1, 1)

    def attempt(key: jax.Array) -> tuple[tuple[World, jax.Array], jax.Array]:
        draws = jax.random.uniform(key, (max_objects, 11 + 2 * TRIES), jnp.float32)
        attributes = jax.tree.map(lambda value: jnp.where(present, value, 0), attributes_of(draws[:, :5]))
        entering, places = draws[:, 5] < ENTERING, draws[:, 11:].reshape(max_objects, TRIES, 2)
        around = jnp.arctan2(camera[1], camera[0]) + AROUND * (2 * places[..., 0] - 1)
        outside = _between(AWAY, places[..., 1:]) * _direction(around)
        candidates = jnp.where(entering[:, None, None], outside, EXTENT * (2 * places - 1))
        world = World(jnp.zeros((max_objects, 2)), present=present, camera=camera, lamps=lamps, **attributes)
        position, placed = place(candidates, camera, footprint(world))
        velocity = _first_velocity(draws[:, 6:11], position, entering)
        position, velocity = (jnp.where(present[:, None], value, 0) for value in (position, velocity))
        return (replace(world, position=position), velocity), jnp.all(placed | ~present)

    world, velocity = until(attempt, key)
    return world, velocity, pan


def _first_velocity(draws: jax.Array, position: jax.Array, entering: jax.Array) -> jax.Array:
    """[n, 2] from numbers [n, 5] uniform in [0, 1)."""
    aim = AIM * (2 * draws[:, :2] - 1) - position
    inwards = _between(ENTERING_SPEED, draws[:, 2:3]) * aim / jnp.linalg.norm(aim, axis=-1, keepdims=True)
    anywhere = _between(INSIDE_SPEED, draws[:, 2:3]) * _direction(2 * jnp.pi * draws[:, 3])
    return jnp.where(entering[:, None], inwards, jnp.where(draws[:, 4:] < RESTING, 0, anywhere))


def footprint(world: World) -> jax.Array:
    """Radius of the circle around each object's footprint, [n]."""
    return jnp.array(FOOTPRINT)[world.shape] * world.half_extent


def discs(world: World) -> Discs:
    """The objects of a world as discs that know no walls."""
    endless = jnp.full((*world.shape.shape, 2), jnp.inf)
    friction = jnp.where(world.shape == SPHERE, ROLLING, jnp.array(SLIDING)[world.material])
    mass = jnp.array(VOLUME)[world.shape] * world.half_extent**3 * jnp.array(DENSITY)[world.material]
    pairs = world.present[:, None] & world.present
    return Discs(footprint(world), mass, -endless, endless, pairs, RESTITUTION, friction)


def follow(world: World, velocity: jax.Array, pan: jax.Array, num_frames: int) -> Course:
    """The course of a world from velocities [n, 2] on, its camera going around by `pan` rad a frame."""
    track = glide(discs(world), world.position, velocity, num_steps=num_frames, substeps=SUBSTEPS)
    rolling = jnp.where(world.shape == SPHERE, 1 / world.half_extent, 0)
    turn = roll(jnp.diff(track, axis=0) * rolling[:, None]).reshape(num_frames, SUBSTEPS, -1, 3, 3)
    turn = reduce(lambda before, after: jnp.matmul(after, before, precision="highest"), jnp.moveaxis(turn, 1, 0))
    angle = pan * jnp.arange(num_frames + 1, dtype=jnp.float32)
    cos, sin, (x, y, z) = jnp.cos(angle), jnp.sin(angle), world.camera
    camera = jnp.stack([cos * x - sin * y, sin * x + cos * y, jnp.broadcast_to(z, angle.shape)], -1)
    return Course(track[::SUBSTEPS], turn, camera)


def roll(way: jax.Array) -> jax.Array:
    """Rotation [..., 3, 3] of a ball of radius 1 that rolls [..., 2] in x and y without slipping."""
    angle = jnp.linalg.norm(way + 1e-12, axis=-1)
    x, y = jnp.moveaxis(way / angle[..., None], -1, 0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    less = -2 * jnp.sin(angle / 2) ** 2  # cos - 1, with the digits of small turns
    x_row = 1 + less * x * x, less * x * y, sin * x
    y_row = less * x * y, 1 + less * y * y, sin * y
    rows = x_row, y_row, (-sin * x, -sin * y, cos)
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _between(ends: tuple[float, float], share: jax.Array) -> jax.Array:
    return ends[0] + (ends[1] - ends[0]) * share


def _direction(angle: jax.Array) -> jax.Array:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
