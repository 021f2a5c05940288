"""How good is a segmentation, or a reconstruction: pure functions that judge every picture or video of a batch.

Segments are whole numbers [b, h, w], or [b, t, h, w] of a video, which is judged as one; the true ones have the
background at 0 and objects from 1. Pixels with an id outside [0, num_true) or [0, num_pred) are left out. No metric of
segments is ever NaN: each says what it returns where there is nothing to judge.

FG-ARI alone can be fooled: it does not see where a segment spills into the background, so that a scene cut into
quadrants may score 1. Read it with the plain index and `mean_iou`.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.metrics.matching import assigned, linear_assignment
from slotjax.system import arguments
from slotjax.system.arguments import Array


def adjusted_rand_index(
    true_segments: Array, pred_segments: Array, *, num_true: int, num_pred: int, ignore_background: bool
) -> jax.Array:
    """Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal partitions, 0 on average for random ones.

    Args:
      true_segments, pred_segments: int [b, h, w] or [b, t, h, w], ids in [0, num_true) and [0, num_pred).
      ignore_background: leave out the pixels whose true id is 0 (FG-ARI, as in Greff et al., 2019).

    Returns:
      float32 [b], at most 1. Partitions that agree score 1 even where chance alone would (one segment in each, or no
      pixel at all), as in scikit-learn; the original Slot Attention code returned NaN there. One true segment that is
      predicted in pieces scores 0.

    Raises:
      UserError: segments that are no whole numbers, or of other shapes than each other's; so do all metrics here.
    """
    table = contingency(true_segments, pred_segments, num_true, num_pred)
    return _adjusted_rand_index(table, bool(ignore_background))


def mean_iou(true_segments: Array, pred_segments: Array, *, num_true: int, num_pred: int) -> jax.Array:
    """Mean intersection over union of the true objects, each matched to a segment of its own (Hungarian).

    Over all pixels, so that a prediction which spills into the background is punished; true ids that no pixel bears do
    not count. A video has one matching for all its frames.

    Args:
      true_segments, pred_segments: int [b, h, w] or [b, t, h, w], ids in [0, num_true) and [0, num_pred).

    Returns:
      float32 [b] in [0, 1]. An object for which no segment is left counts 0; 1 where there is no object.
    """
    return _mean_iou(contingency(true_segments, pred_segments, num_true, num_pred))


def mean_best_overlap(true_segments: Array, pred_segments: Array, *, num_true: int, num_pred: int) -> jax.Array:
    """Mean over the true objects of the best IoU with any segment (Pont-Tuset et al., 2017, sec. 5).

    As in DINOSAUR (Seitzer et al., 2023) the background is no object but its pixels count in the unions. Unlike in
    `mean_iou` one segment may serve several objects.

    Args:
      true_segments, pred_segments: int [b, h, w] or [b, t, h, w], ids in [0, num_true) and [0, num_pred).

    Returns:
      float32 [b] in [0, 1]; 1 where there is no object.
    """
    return _mean_best_overlap(contingency(true_segments, pred_segments, num_true, num_pred))


def contingency(true_segments: Array, pred_segments: Array, num_true: int, num_pred: int) -> jax.Array:
    """Pixels that two segmentations share: int [b, *pixels] twice -> int32 [b, num_true, num_pred]."""
    true, pred = check_segments(true_segments, pred_segments)
    num_true, num_pred = arguments.whole("num_true", num_true), arguments.whole("num_pred", num_pred)
    if num_true * num_pred > arguments.MOST:
        raise UserError(f"num_true={num_true}, num_pred={num_pred}: too many pairs; number the segments from 0 on")
    return _count(true, pred, num_true, num_pred)


def mask_entropy(masks: Array) -> jax.Array:
    """How undecided masks are: mean over pixels of the entropy over slots, divided by log k.

    Args:
      masks: [b, k, h, w], or [b, t, k, h, w] of a video; sums to 1 over k, up to rounding.

    Returns:
      float32 [b] in [0, 1]: 0 where every pixel belongs to one slot (or there is only one), 1 where all share it.
    """
    masks = arguments.array("masks", masks)
    if masks.ndim < 4 or masks.shape[-3] == 0:
        raise UserError(f"masks of shape {masks.shape}: expected [b, k, h, w], or [b, t, k, h, w] of a video")
    if jnp.issubdtype(masks.dtype, jnp.integer):
        raise UserError(f"masks of dtype {masks.dtype}: expected floats in [0, 1] that sum to 1 over slots")
    return _mask_entropy(masks)


def mse(reconstruction: Array, images: Array) -> jax.Array:
    """Mean squared error of each picture or video: [b, ...] twice, in [-1, 1] -> float32 [b]."""
    remedy = "expected floats in [-1, 1]; bytes are brought there by x / 127.5 - 1"
    reconstruction = arguments.floats("reconstruction", reconstruction, remedy)
    images = arguments.floats("images", images, remedy)
    if reconstruction.shape != images.shape or images.ndim < 2:
        raise UserError(
            f"reconstruction of shape {reconstruction.shape}, images of shape {images.shape}: "
            "expected the same, such as [b, h, w, c]"
        )
    return _mse(reconstruction, images)


def check_segments(true_segments: Array, pred_segments: Array) -> tuple[Any, Any]:
    """Both as arrays of whole numbers and one shape, or a `UserError`."""
    true, pred = _segments("true_segments", true_segments), _segments("pred_segments", pred_segments)
    if true.shape != pred.shape:
        raise UserError(
            f"true_segments of shape {true.shape}, pred_segments of shape {pred.shape}: expected the same; "
            "resize one to the other's height and width"
        )
    return true, pred


def _segments(name: str, value: Any) -> Any:
    value = arguments.array(name, value)
    if jnp.issubdtype(value.dtype, jnp.floating):
        raise UserError(
            f"{name} of dtype {value.dtype}: expected whole numbers; take the argmax of masks, or astype(int)"
        )
    if value.ndim < 3:
        raise UserError(
            f"{name} of shape {value.shape}: expected [b, h, w] or [b, t, h, w]; one picture is segments[None]"
        )
    return value


@partial(jax.jit, static_argnames=("num_true", "num_pred"))
def _count(true: jax.Array, pred: jax.Array, num_true: int, num_pred: int) -> jax.Array:
    # A scatter of ones. The product of one-hot codes is slower at every size on CPUs, 0.3 against 0.1 ms for 32
    # pictures of 32x32 with 6 x 5 segments, 1.2 s against 4 ms for two of 1024x1024 with 50 x 50, and takes 839 MB
    # there against 25.
    batch, pixels = true.shape[0], math.prod(true.shape[1:])
    true, pred = true.astype(jnp.int32).reshape(batch, pixels), pred.astype(jnp.int32).reshape(batch, pixels)
    inside = (true >= 0) & (true < num_true) & (pred >= 0) & (pred < num_pred)
    pairs = jnp.where(inside, true * num_pred + pred, num_true * num_pred)  # beyond the end: dropped

    def count(pairs):
        return jnp.zeros(num_true * num_pred, jnp.int32).at[pairs].add(1, mode="drop")

    return jax.vmap(count)(pairs).reshape(batch, num_true, num_pred)


@partial(jax.jit, static_argnames="ignore_background")
def _adjusted_rand_index(table: jax.Array, ignore_background: bool) -> jax.Array:
    table = table[:, int(ignore_background) :]
    of_true, of_pred, total = table.sum(2, keepdims=True), table.sum(1, keepdims=True), table.sum((1, 2), keepdims=True)

    def pairs(others):
        """Ordered pairs of a pixel with each of `others`, which were counted without subtracting large products."""
        return (table.astype(jnp.float32) * others.astype(jnp.float32)).sum((1, 2))

    both, neither = pairs(jnp.maximum(table - 1, 0)), pairs(total - of_true - of_pred + table)
    only_true, only_pred = pairs(of_true - table), pairs(of_pred - table)
    agree = (only_true == 0) & (only_pred == 0)
    chance = (both + only_true) * (only_true + neither) + (both + only_pred) * (only_pred + neither)
    return jnp.where(agree, 1.0, 2 * (both * neither - only_true * only_pred) / jnp.where(agree, 1.0, chance))


@jax.jit
def _mean_iou(table: jax.Array) -> jax.Array:
    iou, present = intersection_over_union(table)
    matched = assigned(iou, *linear_assignment(-iou))
    return _mean(matched.sum(1), present.sum(1, dtype=jnp.int32))


@jax.jit
def _mean_best_overlap(table: jax.Array) -> jax.Array:
    iou, present = intersection_over_union(table)
    return _mean(iou.max(2).sum(1), present.sum(1, dtype=jnp.int32))


def intersection_over_union(table: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Intersection over union of each object with each segment, float32 [b, t - 1, p]; is it there, [b, t - 1]."""
    union = table.sum(2, keepdims=True) + table.sum(1, keepdims=True) - table
    iou = table.astype(jnp.float32) / jnp.maximum(union, 1).astype(jnp.float32)
    return iou[:, 1:], table[:, 1:].any(2)


def _mean(total: jax.Array, count: jax.Array) -> jax.Array:
    """total / count, and 1 where there is none."""
    return jnp.where(count > 0, total / jnp.maximum(count, 1).astype(jnp.float32), 1.0)


@jax.jit
def _mask_entropy(masks: jax.Array) -> jax.Array:
    slots, pixels = masks.shape[-3], math.prod(masks.shape[1:]) // masks.shape[-3]
    # What a resize leaves a hair outside would be infinite.
    shares = jnp.clip(masks.astype(jnp.float32), 0, 1)
    entropy = jax.scipy.special.entr(shares).sum(range(1, masks.ndim))
    return jnp.clip(entropy / (max(pixels, 1) * math.log(max(slots, 2))), 0, 1)


@jax.jit
def _mse(reconstruction: jax.Array, images: jax.Array) -> jax.Array:
    errors = reconstruction.astype(jnp.float32) - images.astype(jnp.float32)
    return (errors**2).sum(range(1, errors.ndim)) / max(math.prod(errors.shape[1:]), 1)
