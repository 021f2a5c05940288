"""The camera of the CLEVR scenes: a pinhole that always looks at the origin.

Everything is measured on the generator's own frame of 240 x 320 pixels; other resolutions are other samplings of the
same frame (or of the usual crop of it), so a picture of any size shows the same field of view.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.vectors import Vector, normalize

FRAME = (240, 320)  # rows, columns of the generator's pictures
CROP = (29, 221, 64, 256)  # first and last row, first and last column of the usual crop of that frame
FOCAL = 35.0 / 32.0 * FRAME[1]  # focal length in pixels: 35 mm on a sensor 32 mm wide
MEAN_POSITION = (7.4811, -6.5076, 5.3437)  # of the generator's base scene
JITTER = 0.5  # uniform, to either side, in each coordinate


class Camera(NamedTuple):
    """Where the camera is and its axes, as rows of world vectors; `position` [3], the others [3] of unit length."""

    position: jax.Array
    right: jax.Array
    up: jax.Array
    forward: jax.Array


def sample_camera_position(key: jax.Array) -> jax.Array:
    """Draws the jittered camera position [3]."""
    return jnp.array(MEAN_POSITION) + jax.random.uniform(key, (3,), jnp.float32, minval=-JITTER, maxval=JITTER)


def look_at_origin(position: jax.Array) -> Camera:
    """The camera at `position` [3] that looks at the origin with the world's z upwards in the picture."""
    forward = -position / jnp.linalg.norm(position)
    right = jnp.cross(forward, jnp.array([0.0, 0.0, 1.0]))
    right = right / jnp.linalg.norm(right)
    return Camera(position, right, jnp.cross(right, forward), forward)


def window(crop: bool) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the part of the frame that is shown."""
    return CROP if crop else (0, FRAME[0], 0, FRAME[1])


def pixel_grid(resolution: tuple[int, int], crop: bool, subsamples: int = 1) -> jax.Array:
    """Centres of a picture's (sub)pixels in frame coordinates.

    Returns:
      float32 [2, subsamples**2, h, w]: row and column on the 240 x 320 frame, 0.5 being the centre of its first pixel.
    """
    top, bottom, left, right = window(crop)
    offsets = (jnp.arange(subsamples) + 0.5) / subsamples
    rows = top + (jnp.arange(resolution[0])[:, None] + offsets) * ((bottom - top) / resolution[0])  # [h, s]
    columns = left + (jnp.arange(resolution[1])[:, None] + offsets) * ((right - left) / resolution[1])  # [w, s]
    shape = (subsamples, subsamples, *resolution)
    grid = jnp.stack(
        [
            jnp.broadcast_to(rows.T[:, None, :, None], shape),
            jnp.broadcast_to(columns.T[None, :, None, :], shape),
        ]
    )
    return grid.reshape(2, subsamples**2, *resolution)


def directions(camera: Camera, grid: jax.Array) -> Vector:
    """Unit vectors from the camera through the frame coordinates `grid` [2, ...]; three arrays [...]."""
    rows, columns = grid
    x = (columns - FRAME[1] / 2) / FOCAL
    y = (FRAME[0] / 2 - rows) / FOCAL
    axes = zip(camera.right, camera.up, camera.forward, strict=True)
    right, up, forward = (x * r + y * u + f for r, u, f in axes)
    return normalize((right, up, forward))


def project(camera: Camera, points: jax.Array) -> jax.Array:
    """Column, row (frame pixels, continuous) and depth along the view axis of world points; [..., 3] to [..., 3]."""
    # Some accelerators multiply matrices in fewer digits, which here are tenths of pixels.
    axes = jnp.stack([camera.right, camera.up, camera.forward], axis=1)
    right, up, depth = jnp.moveaxis(jnp.matmul(points - camera.position, axes, precision="highest"), -1, 0)
    column = FRAME[1] / 2 + FOCAL * right / depth
    row = FRAME[0] / 2 - FOCAL * up / depth
    return jnp.stack([column, row, depth], axis=-1)
