"""Worlds of stored CLEVR scenes, so that genuine scenes can be rendered again."""

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.data.clevr_properties import ATTRIBUTES, codes
from slotjax.data.scenes.clevr_world import camera as clevr_camera
from slotjax.data.scenes.clevr_world.world import LAMP_POSITIONS, World

_GAUSS_NEWTON_STEPS = 20
_DEPTH_WEIGHT = 100.0  # columns and rows are stored rounded to pixels, depth (in world units) is exact


def recover_camera(points: np.ndarray, pixel_coords: np.ndarray) -> np.ndarray:
    """Camera position [3] from which world `points` [n, 3] appear at stored `pixel_coords` [n, 3]; least squares.

    Three objects or more determine it to a small part of a pixel.
    """
    weight = jnp.array([1.0, 1.0, _DEPTH_WEIGHT])

    def residuals(position: jax.Array) -> jax.Array:
        seen = clevr_camera.project(clevr_camera.look_at_origin(position), jnp.asarray(points))
        return ((seen - pixel_coords) * weight).ravel()

    def improve(_: int, position: jax.Array) -> jax.Array:
        step = jnp.linalg.lstsq(jax.jacfwd(residuals)(position), residuals(position))[0]
        return position - step

    return np.asarray(jax.lax.fori_loop(0, _GAUSS_NEWTON_STEPS, improve, jnp.array(clevr_camera.MEAN_POSITION)))


def world_of_record(record: np.ndarray) -> World:
    """The world of a converted CLEVR-with-masks record (`slotjax.data.converted`); entity 0 is the background.

    The camera is recovered from the objects; the lamps' jitter cannot be, so they stand at their mean positions.
    """
    present = record["visibility"][1:] > 0
    points = np.stack([record[axis][1:] for axis in "xyz"], axis=1)
    objects = {name: record[name][1:] for name in ATTRIBUTES}
    return World(
        position=jnp.asarray(points[:, :2]),
        rotation=jnp.asarray(record["rotation"][1:]),
        **{name: codes(objects, name) for name in ATTRIBUTES},
        present=jnp.asarray(present),
        camera=jnp.asarray(recover_camera(points[present], record["pixel_coords"][1:][present])),
        lamps=jnp.array(LAMP_POSITIONS),
    )
