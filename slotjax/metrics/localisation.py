"""Are objects found where they are: boxes around segments."""

from functools import partial

import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.metrics.segmentation import check_segments
from slotjax.system import arguments
from slotjax.system.arguments import Array

RIGHT = 0.5  # from this overlap of boxes on an object counts as found


def correct_localisation(true_segments: Array, pred_segments: Array, *, num_true: int, num_pred: int) -> jax.Array:
    """CorLoc (Deselaers et al., 2010): whether any object of a picture is found.

    That is whether the box around some predicted segment and the box around some true object overlap by half or more
    (intersection over union). Its mean over pictures is what is published.

    Args:
      true_segments, pred_segments: int [b, h, w], ids in [0, num_true) and [0, num_pred); others do not count.

    Returns:
      float32 [b], 1 or 0; 1 where there is no object.

    Raises:
      UserError: segments that are no whole numbers, or of other shapes than each other's.
    """
    true, pred = check_segments(true_segments, pred_segments)
    if true.ndim != 3:
        raise UserError(
            f"true_segments of shape {true.shape}: expected [b, h, w]; of a video take its frames one by one"
        )
    num_true, num_pred = arguments.whole("num_true", num_true), arguments.whole("num_pred", num_pred)
    return _correct_localisation(true, pred, num_true, num_pred)


@partial(jax.jit, static_argnames=("num_true", "num_pred"))
def _correct_localisation(true: jax.Array, pred: jax.Array, num_true: int, num_pred: int) -> jax.Array:
    true, pred = true.astype(jnp.int32), pred.astype(jnp.int32)
    pred = jnp.where((true >= 0) & (true < num_true), pred, -1)  # what does not count is taken out of both
    objects, found = _boxes(true, num_true)[:, 1:], _boxes(pred, num_pred)
    overlaps = _iou(objects[:, :, None], found[:, None])
    none = ~(_area(objects) > 0).any(1)
    return (none | (overlaps >= RIGHT).any((1, 2))).astype(jnp.float32)


def _boxes(segments: jax.Array, count: int) -> jax.Array:
    """int [b, h, w] -> int32 [b, count, 4]: first and last row and column, last ones excluded; empty where no pixel."""

    def ends(present: jax.Array) -> jax.Array:  # bool [b, count, n]
        size = present.shape[-1]
        first = present.argmax(-1)
        last = size - present[..., ::-1].argmax(-1)
        return jnp.stack([first, jnp.where(present.any(-1), last, first)], -1)

    inside = segments[:, None] == jnp.arange(count)[:, None, None]
    return jnp.concatenate([ends(inside.any(3)), ends(inside.any(2))], -1)


def _area(boxes: jax.Array) -> jax.Array:
    top, bottom, left, right = jnp.moveaxis(boxes, -1, 0)
    return jnp.maximum(bottom - top, 0) * jnp.maximum(right - left, 0)


def _iou(some: jax.Array, others: jax.Array) -> jax.Array:
    """Boxes [..., 4] twice -> float32 [...]."""
    first, last = jnp.maximum(some, others), jnp.minimum(some, others)
    shared = _area(jnp.stack([first[..., 0], last[..., 1], first[..., 2], last[..., 3]], -1))
    return shared / jnp.maximum(_area(some) + _area(others) - shared, 1)
