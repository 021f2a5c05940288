"""Every metric against an independent implementation, and in the cases where it could be undefined."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from slotjax import metrics
from slotjax.errors import UserError
from slotjax.metrics.segmentation import contingency

BATCH, SIDE, NUMBERS = 40, 6, {"num_true": 5, "num_pred": 6}
SEGMENTATIONS = {
    "fg_ari": partial(metrics.adjusted_rand_index, ignore_background=True),
    "ari": partial(metrics.adjusted_rand_index, ignore_background=False),
    "mean_iou": metrics.mean_iou,
    "mean_best_overlap": metrics.mean_best_overlap,
}
every_metric = pytest.mark.parametrize("metric", SEGMENTATIONS.values(), ids=SEGMENTATIONS)


def random_pairs(seed: int, likeness: float, ids: int):
    """True and predicted segments: the latter follow the former in about `likeness` of the pixels."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, min(ids, NUMBERS["num_true"]), (BATCH, SIDE, SIDE))
    pred = rng.integers(0, min(ids, NUMBERS["num_pred"]), true.shape)
    return true, np.where(rng.uniform(size=true.shape) < likeness, rng.permutation(5)[true], pred)


many_pairs = given(st.integers(0, 2**31), st.floats(0, 1), st.integers(1, 6))
quickly = settings(max_examples=15, deadline=None, derandomize=True)


def iou_table(true, pred, true_ids):
    pred_ids = np.unique(pred)
    return np.array(
        [[((true == t) & (pred == p)).sum() / ((true == t) | (pred == p)).sum() for p in pred_ids] for t in true_ids]
    )


def object_ids(true):
    return [i for i in np.unique(true) if i > 0]


@quickly
@many_pairs
def test_adjusted_rand_index_equals_scikit_learns(seed, likeness, ids):
    true, pred = random_pairs(seed, likeness, ids)
    plain = metrics.adjusted_rand_index(true, pred, **NUMBERS, ignore_background=False)
    foreground = metrics.adjusted_rand_index(true, pred, **NUMBERS, ignore_background=True)
    expected = [adjusted_rand_score(t.ravel(), p.ravel()) for t, p in zip(true, pred, strict=True)]
    expected_foreground = [adjusted_rand_score(t[t > 0], p[t > 0]) for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(plain, expected, atol=2e-6)
    np.testing.assert_allclose(foreground, expected_foreground, atol=2e-6)


@quickly
@many_pairs
def test_mean_iou_equals_scipys_matching(seed, likeness, ids):
    true, pred = random_pairs(seed, likeness, ids)

    def expected(true, pred):
        objects = object_ids(true)
        if not objects:
            return 1.0
        iou = iou_table(true, pred, objects)
        return iou[linear_sum_assignment(-iou)].sum() / len(objects)

    ours = metrics.mean_iou(true, pred, **NUMBERS)
    np.testing.assert_allclose(ours, list(map(expected, true, pred)), atol=1e-6)


@quickly
@many_pairs
def test_mean_best_overlap_equals_brute_force(seed, likeness, ids):
    true, pred = random_pairs(seed, likeness, ids)

    def expected(true, pred):
        objects = object_ids(true)
        return iou_table(true, pred, objects).max(1).mean() if objects else 1.0

    ours = metrics.mean_best_overlap(true, pred, **NUMBERS)
    np.testing.assert_allclose(ours, list(map(expected, true, pred)), atol=1e-6)
    assert (np.asarray(ours) >= np.asarray(metrics.mean_iou(true, pred, **NUMBERS)) - 1e-6).all()


def test_a_quartered_scene_fools_fg_ari_alone():
    rows, columns = np.indices((64, 64)) // 32
    quarters = (2 * rows + columns)[None]
    true = np.zeros_like(quarters)
    for i, (y, x) in enumerate([(10, 10), (10, 44), (44, 10), (44, 44)]):
        true[0, y : y + 12, x : x + 12] = i + 1
    numbers = {"num_true": 5, "num_pred": 4}
    assert metrics.adjusted_rand_index(true, quarters, **numbers, ignore_background=True) == 1
    assert metrics.adjusted_rand_index(true, quarters, **numbers, ignore_background=False) < 0.1
    np.testing.assert_allclose(metrics.mean_iou(true, quarters, **numbers), 144 / 1024, rtol=1e-6)


EMPTY = np.zeros((1, 4, 4), int)
DISC = EMPTY + np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
PIECES = np.arange(16).reshape(1, 4, 4) % 5


@pytest.mark.parametrize(
    ("true", "pred", "fg_ari", "ari", "miou"),
    [
        pytest.param(EMPTY, EMPTY, 1, 1, 1, id="nothing, and nothing seen"),
        pytest.param(EMPTY, PIECES, 1, 0, 1, id="nothing, in pieces"),
        pytest.param(DISC, DISC, 1, 1, 1, id="one object, found"),
        pytest.param(DISC, EMPTY, 1, 0, 4 / 16, id="one object, one slot for all"),
        pytest.param(DISC, 5 * DISC, 1, 1, 1, id="unused slots"),
        pytest.param(EMPTY + 1, EMPTY, 1, 1, 1, id="all pixels one object"),
        pytest.param(EMPTY + 1, PIECES, 0, 0, 4 / 16, id="all pixels one object, in pieces"),
    ],
)
def test_degenerate_images(true, pred, fg_ari, ari, miou):
    scores = {name: metric(true, pred, **NUMBERS).item() for name, metric in SEGMENTATIONS.items()}
    expected = {"fg_ari": fg_ari, "ari": ari, "mean_iou": miou, "mean_best_overlap": miou}
    assert scores == pytest.approx(expected, abs=1e-6)


def test_one_object_in_pieces_scores_no_fg_ari():
    pred = np.where(DISC > 0, np.arange(4)[:, None] + 1, 0)
    assert metrics.adjusted_rand_index(DISC, pred, **NUMBERS, ignore_background=True) == 0


def test_objects_beyond_the_segments_count_zero():
    assert metrics.mean_iou(PIECES, EMPTY, num_true=5, num_pred=1) == np.float32(np.mean([3 / 16, 0, 0, 0]))
    assert metrics.mean_iou(EMPTY, EMPTY, num_true=1, num_pred=1) == 1


@pytest.mark.parametrize(("size", "wrong"), [((240, 320), 1), ((1024, 1024), 1), ((1024, 1024), 500)])
def test_large_pictures_in_float32(size, wrong):
    """Where nearly all pixels are background the index is a small difference of large numbers of pairs."""
    true = np.zeros((1, *size), np.int32)
    true[0, 0, :20] = 1
    pred = true.copy()
    pred[0, 1, :wrong] = 1
    ours = metrics.adjusted_rand_index(true, pred, num_true=2, num_pred=2, ignore_background=False)
    np.testing.assert_allclose(ours, [adjusted_rand_score(true.ravel(), pred.ravel())], rtol=1e-4)


@every_metric
def test_renaming_the_predicted_segments_changes_nothing(metric):
    true, pred = random_pairs(0, 0.5, 5)
    renamed = np.random.default_rng(0).permutation(6)[pred]
    scores = metric(true, pred, **NUMBERS)
    assert scores.shape == (BATCH,) and scores.dtype == jnp.float32
    np.testing.assert_allclose(metric(true, renamed, **NUMBERS), scores, atol=1e-6)
    alone = jax.vmap(lambda t, p: metric(t[None], p[None], **NUMBERS)[0])(true, pred)
    np.testing.assert_allclose(alone, scores, atol=1e-6)


@every_metric
def test_a_video_is_scored_as_one_picture_of_all_its_pixels(metric):
    true, pred = (x[None] for x in random_pairs(1, 0.7, 5))
    tall = metric(true.reshape(1, -1, SIDE), pred.reshape(1, -1, SIDE), **NUMBERS)
    np.testing.assert_array_equal(metric(true, pred, **NUMBERS), tall)
    swapped = np.where(np.arange(BATCH)[:, None, None] % 2, pred, (pred + 1) % 6)  # ids that change from frame to frame
    assert (metric(true, swapped, **NUMBERS) < tall).all()


@every_metric
@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 0, 4)])
def test_nothing_to_score(metric, shape):
    nothing = np.zeros(shape, int)
    np.testing.assert_array_equal(metric(nothing, nothing, **NUMBERS), np.ones(shape[0]))


def test_contingency_counts_exactly_and_leaves_out_strange_ids():
    table = contingency(jnp.array([[[0, 1, 1, -1, 2, 1]]]), jnp.array([[[0, 2, 2, 0, 1, 3]]]), 2, 3)
    np.testing.assert_array_equal(table, [[[1, 0, 0], [0, 0, 2]]])
    many = np.zeros((1, 2**24 + 1, 1), bool)  # beyond what float32 counts
    assert contingency(many, many, 1, 1).tolist() == [[[2**24 + 1]]]


def test_memory_does_not_grow_with_the_segments():
    segments = jax.ShapeDtypeStruct((2, 1024, 1024), jnp.int32)
    count = jax.jit(contingency, static_argnums=(2, 3)).lower(segments, segments, 50, 50).compile()
    assert count.memory_analysis().temp_size_in_bytes < 64 * 2**20


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint32, bool, np.ndarray.tolist, jnp.asarray])
def test_ids_of_any_whole_numbers(kind):
    segments = kind(DISC) if not isinstance(kind, type) else DISC.astype(kind)
    numbers = {"num_true": 300, "num_pred": 2, "ignore_background": True}
    assert metrics.adjusted_rand_index(segments, segments, **numbers).tolist() == [1]


@pytest.mark.parametrize(
    ("true", "pred", "numbers", "message"),
    [
        (
            DISC,
            DISC[:, :2],
            {},
            r"true_segments of shape \(1, 4, 4\), pred_segments of shape \(1, 2, 4\): expected the same",
        ),
        (DISC[0], DISC[0], {}, r"true_segments of shape \(4, 4\): expected \[b, h, w\] or .* segments\[None\]"),
        (DISC, DISC / 1.0, {}, "pred_segments of dtype float64: expected whole numbers"),
        ([[[0, 1], [2]]], DISC, {}, r"true_segments=.*: is no array of numbers"),
        (None, DISC, {}, "true_segments of dtype object: expected real numbers"),
        (DISC, DISC, {"num_true": 0}, "num_true=0: must be a whole number of at least 1"),
        (DISC, DISC, {"num_true": -3}, "num_true=-3"),
        (DISC, DISC, {"num_pred": 2.5}, "num_pred=2.5: must be a whole number"),
        (DISC, DISC, {"num_pred": 10**30}, "num_pred=10+: must"),
        (DISC, DISC, {"num_true": 10**6, "num_pred": 10**6}, "too many pairs"),
    ],
)
def test_impossible_segments_are_named(true, pred, numbers, message):
    for metric in SEGMENTATIONS.values():
        with pytest.raises(UserError, match=message):
            metric(true, pred, **{"num_true": 2, "num_pred": 2} | numbers)


def test_a_traced_number_is_named():
    with pytest.raises(UserError, match="num_true=.*name it in static_argnames"):
        jax.jit(lambda n: metrics.mean_iou(DISC, DISC, num_true=n, num_pred=2))(3)


EVEN, HARD = np.full((1, 4, 4, 4), 0.25), np.eye(4)[None, :, :, None] * np.ones(4)


@pytest.mark.parametrize(
    ("masks", "entropy"),
    [
        (EVEN, [1]),
        (HARD, [0]),
        (HARD > 0, [0]),
        (np.ones((1, 1, 4, 4)), [0]),
        (np.stack([EVEN, HARD], 1), [0.5]),  # a video of two frames
        (np.zeros((0, 4, 4, 4)), []),
        (np.zeros((1, 4, 0, 4)), [0]),
    ],
)
def test_entropy_of_masks(masks, entropy):
    np.testing.assert_allclose(metrics.mask_entropy(masks), entropy, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("hair", [1e-7, 1e-3])
def test_entropy_stays_in_range_whatever_resizing_left(hair):
    outside = HARD + np.array([hair, -hair, hair, -hair])[:, None, None]
    for masks in (outside, EVEN + hair, EVEN - hair):
        assert 0 <= metrics.mask_entropy(masks).item() <= 1


def test_errors_of_reconstructions():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    other = images + np.array([0, 0.1, 1], np.float32)[:, None, None, None]
    np.testing.assert_allclose(metrics.mse(other, images), [0, 0.01, 1], rtol=1e-4)
    np.testing.assert_allclose(metrics.mse(other[None], images[None]), [1.01 / 3], rtol=1e-4)
    assert metrics.mse(images[:0], images[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.mask_entropy(HARD[0]), r"masks of shape \(4, 4, 4\): expected \[b, k, h, w\]"),
        (
            lambda: metrics.mask_entropy(HARD.astype(np.uint8) * 255),
            r"masks of dtype uint8: expected floats in \[0, 1\]",
        ),
        (lambda: metrics.mse(EVEN, EVEN[:, :2]), r"reconstruction of shape .*images of shape .*: expected the same"),
        (lambda: metrics.mse(EVEN, EVEN.astype(np.uint8)), r"images of dtype uint8: expected floats in \[-1, 1\]"),
    ],
)
def test_impossible_pictures_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
