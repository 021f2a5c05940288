"""How good is a segmentation: pure, batched functions of segment ids."""

import jax
import jax.numpy as jnp
import optax


def contingency(true_segments: jax.Array, pred_segments: jax.Array, num_true: int, num_pred: int) -> jax.Array:
    """Pixels that two segmentations share: int [b, h, w] twice -> float32 [b, num_true, num_pred]."""
    batch = true_segments.shape[0]
    true = jax.nn.one_hot(true_segments.reshape(batch, -1), num_true)
    pred = jax.nn.one_hot(pred_segments.reshape(batch, -1), num_pred)
    return jnp.einsum("bnt,bnp->btp", true, pred, precision="highest")


def adjusted_rand_index(
    true_segments: jax.Array, pred_segments: jax.Array, *, num_true: int, num_pred: int, ignore_background: bool
) -> jax.Array:
    """Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal partitions, 0 on average for random ones.

    Args:
      true_segments, pred_segments: int [b, h, w], ids in [0, num_true) and [0, num_pred).
      ignore_background: leave out the pixels whose true id is 0 (FG-ARI).

    Returns:
      float32 [b]. Where chance alone decides nothing (one segment in each, or no pixel at all) the partitions agree
      and the index is 1, as in scikit-learn; the original code returned NaN there.
    """
    table = contingency(true_segments, pred_segments, num_true, num_pred)
    if ignore_background:
        table = table[:, 1:]

    def pairs(counts):
        return counts * (counts - 1) / 2

    together = pairs(table).sum((1, 2))
    true_pairs, pred_pairs = pairs(table.sum(2)).sum(1), pairs(table.sum(1)).sum(1)
    all_pairs = jnp.maximum(pairs(table.sum((1, 2))), 1)
    expected = true_pairs * (pred_pairs / all_pairs)
    best = (true_pairs + pred_pairs) / 2
    trivial = best - expected <= 1e-6 * best
    return jnp.where(trivial, 1.0, (together - expected) / jnp.where(trivial, 1.0, best - expected))


def mean_iou(true_segments: jax.Array, pred_segments: jax.Array, *, num_true: int, num_pred: int) -> jax.Array:
    """Mean intersection over union of the true objects, each matched to a segment of its own (Hungarian).

    Over all pixels, so that a prediction which spills into the background is punished. Objects without a segment left
    for them count 0; ids that no pixel bears do not count. float32 [b]; 1 where there is no object.
    """
    table = contingency(true_segments, pred_segments, num_true, num_pred)
    union = table.sum(2, keepdims=True) + table.sum(1, keepdims=True) - table
    iou = (table / jnp.maximum(union, 1))[:, 1:]
    present = table.sum(2)[:, 1:] > 0

    def matched(iou):
        rows, columns = optax.assignment.hungarian_algorithm(-iou)
        return iou[rows, columns].sum()

    count = present.sum(1)
    return jnp.where(count > 0, jax.vmap(matched)(iou) / jnp.maximum(count, 1), 1.0)
