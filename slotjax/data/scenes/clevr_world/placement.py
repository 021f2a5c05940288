"""Draws CLEVR worlds by the generator's rules: distances, margins, and every object in sight.

The generator tries 50 places for an object and starts the scene over, with the same camera, lamps and number of
objects, when none fits or when an object ends up hidden. Here one attempt draws everything at once and a loop repeats
it until an attempt holds.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world import camera as cameras
from slotjax.data.scenes.clevr_world import shapes as clevr_shapes
from slotjax.data.scenes.clevr_world.vectors import unstack
from slotjax.data.scenes.clevr_world.world import COLORS, HALF_EXTENTS, MATERIALS, SHAPES, SIZES, World, sample_lamps

EXTENT = 3.0  # x and y are uniform within +-EXTENT
MIN_GAP = 0.25  # between the circles around two objects
MIN_MARGIN = 0.4  # between two centres along the picture's left-right and front-behind directions on the ground
TRIES = 50  # places tried for each object
MIN_VISIBLE = 200  # pixels of the 240 x 320 frame that each object must keep
_COUNT_STRIDE = 2  # visible pixels are counted on every second row and column of the frame ...
_COUNT_RESERVE = 24  # ... which may err by some pixels: so many more are asked for, to be sure of MIN_VISIBLE


def sample_world(key: jax.Array, min_objects: int, max_objects: int) -> World:
    """Draws a world with min_objects to max_objects objects (uniform), padded to max_objects."""
    camera_key, lamp_key, count_key, key = jax.random.split(key, 4)
    camera = cameras.sample_camera_position(camera_key)
    lamps = sample_lamps(lamp_key)
    count = jax.random.randint(count_key, (), min_objects, max_objects + 1)
    present = jnp.arange(max_objects) < count

    def attempt(key: jax.Array) -> tuple[World, jax.Array]:
        draws = jax.random.uniform(key, (max_objects, 5 + 2 * TRIES), jnp.float32)
        attributes = attributes_of(draws[:, :5])
        candidates = EXTENT * (2.0 * draws[:, 5:].reshape(max_objects, TRIES, 2) - 1.0)
        position, placed = place(candidates, camera, jnp.array(HALF_EXTENTS)[attributes["size"]])
        attributes = jax.tree.map(lambda value: jnp.where(present, value, 0), attributes)
        position = jnp.where(present[:, None], position, 0.0)
        world = World(position=position, present=present, camera=camera, lamps=lamps, **attributes)
        in_sight = visible_pixels(world) >= MIN_VISIBLE + _COUNT_RESERVE
        return world, jnp.all((placed & in_sight) | ~present)

    return until(attempt, key)


def until(attempt: Callable[[jax.Array], tuple[Any, jax.Array]], key: jax.Array) -> Any:
    """The first that is accepted of what `attempt` makes of one key after the other, (made, accepted)."""

    def again(state):
        key, attempt_key = jax.random.split(state[0])
        return key, *attempt(attempt_key)

    # The loop starts from zeros, not from a first attempt, so that attempts are compiled once.
    made, accepted = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(attempt, key))
    return jax.lax.while_loop(lambda state: ~state[2], again, (key, made, accepted))[1]


def attributes_of(draws: jax.Array) -> dict[str, jax.Array]:
    """Codes [n] and rotation [n] from numbers [n, 5] uniform in [0, 1); one draw for all compiles fastest."""
    tables = {"size": SIZES, "material": MATERIALS, "shape": SHAPES, "color": COLORS}
    codes = {name: (draws[:, i] * len(table)).astype(jnp.int32) for i, (name, table) in enumerate(tables.items())}
    return {"rotation": 360.0 * draws[:, 4], **codes}


def place(candidates: jax.Array, camera: jax.Array, radius: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Puts one object after the other at the first of its candidate places [n, tries, 2] that keeps the rules.

    Args:
      radius: [n], of the circles between which the gap is kept.

    Returns:
      positions [n, 2], and whether a place was found for each object [n].
    """
    count = radius.shape[0]
    behind = -camera[:2] / jnp.linalg.norm(camera[:2])
    axes = jnp.stack([behind, jnp.array([behind[1], -behind[0]])], axis=1)  # [2, 2]: columns behind, right

    def add(index: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        position, placed = state
        x, y = (candidates[index, :, None, i] - position[None, :, i] for i in range(2))  # [tries, n]
        gap = jnp.sqrt(x * x + y * y) - radius[index] - radius
        margin = jnp.minimum(*(jnp.abs(x * axes[0, i] + y * axes[1, i]) for i in range(2)))
        earlier = jnp.arange(count) < index
        fits = jnp.all(((gap >= MIN_GAP) & (margin >= MIN_MARGIN)) | ~earlier, axis=1)
        return position.at[index].set(candidates[index, jnp.argmax(fits)]), placed.at[index].set(jnp.any(fits))

    return jax.lax.fori_loop(0, count, add, (jnp.zeros((count, 2)), jnp.zeros(count, bool)))


def visible_pixels(world: World) -> jax.Array:
    """About how many pixels of the 240 x 320 frame show each object, [n]."""
    camera = cameras.look_at_origin(world.camera)
    grid = cameras.pixel_grid(cameras.FRAME, crop=False)[:, 0, ::_COUNT_STRIDE, ::_COUNT_STRIDE]
    _, nearest = clevr_shapes.first_hit(world.solids(), unstack(camera.position), cameras.directions(camera, grid))
    count = world.present.shape[0]
    shown = nearest.reshape(1, -1) == jnp.arange(count)[:, None]
    return jnp.sum(shown, axis=1) * _COUNT_STRIDE**2
