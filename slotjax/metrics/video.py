"""What is asked of videos alone: is each frame cut up well, do slots stay with their objects, is the motion right.

Pure functions of batches, in the conventions of `slotjax.metrics.segmentation`, whose metrics judge a video as one:
`adjusted_rand_index` counts its ids jointly over all frames, `mean_iou` has one matching for all of them.
"""

import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.metrics.segmentation import adjusted_rand_index, contingency, intersection_over_union
from slotjax.system import arguments
from slotjax.system.arguments import Array


def frame_adjusted_rand_index(
    true_segments: Array, pred_segments: Array, *, num_true: int, num_pred: int, ignore_background: bool
) -> jax.Array:
    """`adjusted_rand_index` of each frame on its own, to which it is the same which slot has an object in the next.

    Args:
      true_segments, pred_segments: int [b, t, h, w], ids in [0, num_true) and [0, num_pred).

    Returns:
      float32 [b, t]; 1 where a frame has nothing to judge.

    Raises:
      UserError: segments that are not those of videos, or of other shapes than each other's.
    """
    true, pred = _videos(true_segments, pred_segments)
    numbers = {"num_true": num_true, "num_pred": num_pred, "ignore_background": ignore_background}
    frames = adjusted_rand_index(*(x.reshape(-1, *x.shape[2:]) for x in (true, pred)), **numbers)
    return frames.reshape(true.shape[:2])


def identity_switches(true_segments: Array, pred_segments: Array, *, num_true: int, num_pred: int) -> jax.Array:
    """How often an object's best slot changes in a video, on average over its objects.

    The best slot of an object in a frame is the one whose segment has the highest IoU with it there; of several that
    are as good, the one it had before. Frames in which the object is not seen do not count: where it comes back in
    another slot than it left, that is a switch.

    Args:
      true_segments, pred_segments: int [b, t, h, w], ids in [0, num_true) and [0, num_pred).

    Returns:
      float32 [b], the mean over the objects that are seen in any frame; 0 where there is none.

    Raises:
      UserError: segments that are not those of videos, or of other shapes than each other's.
    """
    true, pred = _videos(true_segments, pred_segments)
    frames = (x.reshape(-1, *x.shape[2:]) for x in (true, pred))
    return _identity_switches(contingency(*frames, num_true, num_pred).reshape(*true.shape[:2], num_true, num_pred))


def end_point_error(flow: Array, true_flow: Array) -> jax.Array:
    """Mean distance between where two optical flows take the pixels of a video (Baker et al., 2011, sec. 4.1).

    Args:
      flow, true_flow: float [b, t, h, w, 2], in pixels.

    Returns:
      float32 [b], in pixels.

    Raises:
      UserError: arrays of other shapes than each other's, or whose last axis has not 2 numbers.
    """
    remedy = "expected floats, in pixels"
    flow, true_flow = arguments.floats("flow", flow, remedy), arguments.floats("true_flow", true_flow, remedy)
    if flow.shape != true_flow.shape or flow.ndim != 5 or flow.shape[-1] != 2:
        raise UserError(
            f"flow of shape {flow.shape}, true_flow of shape {true_flow.shape}: expected [b, t, h, w, 2] twice"
        )
    return _end_point_error(flow, true_flow)


def _videos(true_segments: Array, pred_segments: Array) -> tuple[Array, Array]:
    true, pred = arguments.array("true_segments", true_segments), arguments.array("pred_segments", pred_segments)
    if true.ndim != 4 or true.shape != pred.shape:
        raise UserError(
            f"true_segments of shape {true.shape}, pred_segments of shape {pred.shape}: expected [b, t, h, w] twice"
        )
    return true, pred


@jax.jit
def _identity_switches(tables: jax.Array) -> jax.Array:
    """float32 [b] from the pixels that ids share in each frame, int [b, t, num_true, num_pred]."""

    def frame(state: tuple[jax.Array, jax.Array], table: jax.Array):
        last, switches = state  # [b, objects], the former -1 before an object is first seen
        iou, seen = intersection_over_union(table)
        of_last = jnp.take_along_axis(iou, jnp.maximum(last, 0)[..., None], -1)[..., 0]
        stays = (last >= 0) & (of_last == iou.max(-1))
        best = jnp.where(seen & ~stays, iou.argmax(-1).astype(jnp.int32), last)
        return (best, switches + ((last >= 0) & (best != last))), None

    shape = (tables.shape[0], tables.shape[2] - 1)
    start = jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.int32)
    (last, switches), _ = jax.lax.scan(frame, start, jnp.moveaxis(tables, 1, 0))
    objects = (last >= 0).sum(1, dtype=jnp.int32)
    return switches.sum(1, dtype=jnp.int32).astype(jnp.float32) / jnp.maximum(objects, 1).astype(jnp.float32)


@jax.jit
def _end_point_error(flow: jax.Array, true_flow: jax.Array) -> jax.Array:
    offset = flow.astype(jnp.float32) - true_flow.astype(jnp.float32)
    return jnp.sqrt((offset**2).sum(-1)).mean((1, 2, 3))
