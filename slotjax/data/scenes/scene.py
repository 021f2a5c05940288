"""What every scene family returns."""

import jax
import jax.numpy as jnp
from flax import struct

from slotjax.errors import UserError


@struct.dataclass
class Scene:
    """One rendered scene with its exact segmentation. Everything of a moving scene has `t` frames in front.

    Attributes:
      image: float32 [h, w, 3] in [-1, 1].
      segments: int32 [h, w]; 0 is the background, id i is `objects` entry i - 1, in all frames.
      objects: per-object arrays of leading length max_objects, among them `present` (bool [max_objects]);
        entries that are not present hold zeros. Moving scenes also have `visibility` and `boxes` (`in_view`).
      flow: of moving scenes alone, float32 [t, h, w, 2]: by how many (rows, columns) of pixels the surface seen at a
        pixel moves until the next frame; of the last frame until the frame that would follow.
    """

    image: jax.Array
    segments: jax.Array
    objects: dict[str, jax.Array]
    flow: jax.Array | None = None


def in_view(segments: jax.Array, count: int) -> dict[str, jax.Array]:
    """What a frame shows of each of `count` objects: segments int [h, w] -> `visibility` and `boxes`.

    `visibility` int32 [count] is the number of pixels; `boxes` float32 [count, 4] are ymin, xmin, ymax, xmax over the
    frame's height and width, around the outer edges of those pixels, and -1 where there is none.
    """
    shown = segments == jnp.arange(1, count + 1, dtype=jnp.int32)[:, None, None]
    visibility = shown.sum((1, 2), dtype=jnp.int32)
    ranges = [_range(shown.any(axis)) for axis in (2, 1)]
    boxes = jnp.stack([edge for edges in zip(*ranges, strict=True) for edge in edges], axis=-1)
    return {"visibility": visibility, "boxes": jnp.where(visibility[:, None] > 0, boxes, -1)}


def _range(used: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where the first used place begins and the last one ends, over their number: bool [e, p] -> float32 [e] twice."""
    length = used.shape[1]
    return used.argmax(1) / length, 1 - used[:, ::-1].argmax(1) / length


def check_frames(num_frames: int) -> None:
    """Raises a `UserError` for a number of frames that no moving scene has."""
    if not isinstance(num_frames, int) or num_frames < 1:
        raise UserError(f"num_frames={num_frames!r}: a moving scene has at least 1 frame")
