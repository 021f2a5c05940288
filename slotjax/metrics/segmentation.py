"""How good is a segmentation, or a reconstruction: pure, jitted functions that judge every image of a batch on its own.

Segments are int [b, h, w]; the true ones have the background at 0 and objects from 1. Pixels with an id outside
[0, num_true) or [0, num_pred) are left out. No metric is ever NaN: each says what it returns where there is nothing to
judge, and `has_foreground` says which images should not enter an average of the metrics of objects.

FG-ARI alone can be fooled: it does not see where a segment spills into the background, so that a scene cut into
quadrants may score 1. Read it with the plain index and `mean_iou`.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from slotjax.metrics.matching import assigned, linear_assignment

PSNR_FLOOR = 1e-10  # mean squared error below which pictures count as equal


def has_foreground(true_segments: jax.Array) -> jax.Array:
    """Which images show an object: int [b, h, w] -> bool [b]. The others say nothing about objects: leave them out."""
    return jnp.any(true_segments > 0, axis=(1, 2))


def segments_from_masks(masks: jax.Array) -> jax.Array:
    """The slot with the largest mask, the first of equals: [b, k, h, w] -> int32 [b, h, w]."""
    return masks.argmax(1).astype(jnp.int32)


def contingency(true_segments: jax.Array, pred_segments: jax.Array, num_true: int, num_pred: int) -> jax.Array:
    """Pixels that two segmentations share: int [b, h, w] twice -> float32 [b, num_true, num_pred].

    Exact up to 2^24 pixels an image.
    """
    chex.assert_rank([true_segments, pred_segments], 3)
    chex.assert_equal_shape([true_segments, pred_segments])
    batch = true_segments.shape[0]
    true = jax.nn.one_hot(true_segments.reshape(batch, -1), num_true)
    pred = jax.nn.one_hot(pred_segments.reshape(batch, -1), num_pred)
    return jnp.einsum("bnt,bnp->btp", true, pred, precision="highest")


@partial(jax.jit, static_argnames=("num_true", "num_pred", "ignore_background"))
def adjusted_rand_index(
    true_segments: jax.Array, pred_segments: jax.Array, *, num_true: int, num_pred: int, ignore_background: bool
) -> jax.Array:
    """Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal partitions, 0 on average for random ones.

    Args:
      true_segments, pred_segments: int [b, h, w], ids in [0, num_true) and [0, num_pred).
      ignore_background: leave out the pixels whose true id is 0 (FG-ARI, as in Greff et al., 2019).

    Returns:
      float32 [b], at most 1. Partitions that agree score 1 even where chance alone would (one segment in each, or no
      pixel at all), as in scikit-learn; the original Slot Attention code returned NaN there. One true segment that is
      predicted in pieces scores 0.
    """
    table = contingency(true_segments, pred_segments, num_true, num_pred)
    if ignore_background:
        table = table[:, 1:]
    of_true, of_pred, total = table.sum(2, keepdims=True), table.sum(1, keepdims=True), table.sum((1, 2), keepdims=True)

    def pairs(others):
        """Ordered pairs of a pixel with each of `others`, which were counted without subtracting large products."""
        return (table * others).sum((1, 2))

    both, neither = pairs(jnp.maximum(table - 1, 0)), pairs(total - of_true - of_pred + table)
    only_true, only_pred = pairs(of_true - table), pairs(of_pred - table)
    agree = (only_true == 0) & (only_pred == 0)
    chance = (both + only_true) * (only_true + neither) + (both + only_pred) * (only_pred + neither)
    return jnp.where(agree, 1.0, 2 * (both * neither - only_true * only_pred) / jnp.where(agree, 1.0, chance))


@partial(jax.jit, static_argnames=("num_true", "num_pred"))
def mean_iou(true_segments: jax.Array, pred_segments: jax.Array, *, num_true: int, num_pred: int) -> jax.Array:
    """Mean intersection over union of the true objects, each matched to a segment of its own (Hungarian).

    Over all pixels, so that a prediction which spills into the background is punished; true ids that no pixel bears do
    not count.

    Returns:
      float32 [b] in [0, 1]. An object for which no segment is left counts 0; 1 where there is no object.
    """
    iou, sizes = _iou(contingency(true_segments, pred_segments, num_true, num_pred))
    iou, present = iou[:, 1:], sizes[:, 1:] > 0
    matched = assigned(iou, *linear_assignment(-iou))
    return _mean(matched.sum(1), present.sum(1))


@partial(jax.jit, static_argnames=("num_true", "num_pred"))
def mean_best_overlap(true_segments: jax.Array, pred_segments: jax.Array, *, num_true: int, num_pred: int) -> jax.Array:
    """Mean over the true objects of the best IoU with any segment (Pont-Tuset et al., 2017, sec. 5).

    As in DINOSAUR (Seitzer et al., 2023) the background is no object but its pixels count in the unions. Unlike in
    `mean_iou` one segment may serve several objects.

    Returns:
      float32 [b] in [0, 1]; 1 where there is no object.
    """
    numbers = {"num_true": num_true, "num_pred": num_pred, "ignore_background": True, "weighted": False}
    return segmentation_covering(true_segments, pred_segments, **numbers)


@partial(jax.jit, static_argnames=("num_true", "num_pred", "ignore_background", "weighted"))
def segmentation_covering(
    true_segments: jax.Array,
    pred_segments: jax.Array,
    *,
    num_true: int,
    num_pred: int,
    ignore_background: bool = False,
    weighted: bool = True,
) -> jax.Array:
    """Covering of the true segments by the predicted (Arbelaez et al., 2011, sec. 2.3): their mean best overlap.

    Args:
      ignore_background: leave the background out of the mean, though not out of the unions, as GENESIS does
        (Engelcke et al., 2020, sec. 5.2).
      weighted: by the pixels of the true segments (SC); otherwise all segments count the same (mSC).

    Returns:
      float32 [b] in [0, 1]; 1 where there is nothing to cover.
    """
    iou, sizes = _iou(contingency(true_segments, pred_segments, num_true, num_pred))
    first = int(ignore_background)
    best, sizes = iou[:, first:].max(2, initial=0), sizes[:, first:]
    weights = sizes if weighted else (sizes > 0).astype(jnp.float32)
    return _mean((best * weights).sum(1), weights.sum(1))


@partial(jax.jit, static_argnames=("num_true", "ignore_background"))
def mask_purity(
    true_segments: jax.Array, masks: jax.Array, *, num_true: int, ignore_background: bool = False
) -> jax.Array:
    """How much of every slot's mask lies on one true segment (Manning et al., 2008, sec. 16.3), for soft masks.

    The mass of each slot on the segment where it has most, over the mass of all slots; unused slots weigh nothing.

    Args:
      true_segments: int [b, h, w].
      masks: [b, k, h, w], not negative; hard masks give the usual purity.

    Returns:
      float32 [b] in [0, 1]; 1 where there is no mass. More slots than segments can only raise it.
    """
    chex.assert_equal_shape([true_segments, masks[:, 0]])
    true = jax.nn.one_hot(true_segments, num_true)[..., int(ignore_background) :]
    mass = jnp.einsum("bkhw,bhwt->bkt", masks.astype(jnp.float32), true, precision="highest")
    return _mean(mass.max(2, initial=0).sum(1), mass.sum((1, 2)))


@jax.jit
def mask_entropy(masks: jax.Array) -> jax.Array:
    """How undecided masks are: mean over pixels of the entropy over slots, divided by log k.

    Args:
      masks: [b, k, h, w], sums to 1 over k.

    Returns:
      float32 [b] in [0, 1]: 0 where every pixel belongs to one slot (or there is only one), 1 where all share it.
    """
    if masks.shape[1] == 1:
        return jnp.zeros(masks.shape[0])
    entropy = jax.scipy.special.entr(masks.astype(jnp.float32)).sum(1)
    return entropy.mean((1, 2)) / jnp.log(masks.shape[1])


@jax.jit
def mse(reconstruction: jax.Array, images: jax.Array) -> jax.Array:
    """Mean squared error of each image: [b, h, w, c] twice, in [-1, 1] -> float32 [b]."""
    chex.assert_equal_shape([reconstruction, images])
    return ((reconstruction.astype(jnp.float32) - images.astype(jnp.float32)) ** 2).mean((1, 2, 3))


@jax.jit
def psnr(reconstruction: jax.Array, images: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in decibels of images in [-1, 1] (a peak of 2): float32 [b]; equal images give 106."""
    return 10 * jnp.log10(4 / jnp.maximum(mse(reconstruction, images), PSNR_FLOOR))


def _iou(table: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Intersection over union [b, t, p] of every pair of segments, and the pixels of each true one [b, t]."""
    union = table.sum(2, keepdims=True) + table.sum(1, keepdims=True) - table
    return table / jnp.maximum(union, 1), table.sum(2)


def _mean(total: jax.Array, weight: jax.Array) -> jax.Array:
    """total / weight, and 1 where there is no weight."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 1.0)
