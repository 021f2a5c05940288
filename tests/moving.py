"""A family of moving scenes as small as they come: one square that slides over black, for tests of videos."""

import jax
import jax.numpy as jnp

from slotjax.data.scenes import Scene


def sliding_square(key: jax.Array, *, num_frames: int, resolution: tuple[int, int] = (16, 16), size: int = 4) -> Scene:
    """A square that moves one pixel down a frame, around the border."""
    rows, columns = (jnp.arange(side) for side in resolution)
    top, left, *color = jax.random.uniform(key, (5,))
    time = jnp.arange(num_frames)[:, None, None]
    down = (rows[:, None] - jnp.int32(top * resolution[0]) - time) % resolution[0]
    right = (columns - jnp.int32(left * resolution[1])) % resolution[1]
    inside = (down < size) & (right < size)
    return Scene(
        image=jnp.where(inside[..., None], jnp.stack(color), -1.0),
        segments=inside.astype(jnp.int32),
        objects={"present": jnp.ones((num_frames, 1), bool)},
    )
