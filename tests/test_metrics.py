"""Every metric against an independent implementation, and in the cases where it could be undefined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from slotjax import metrics

BATCH, SIDE, NUMBERS = 75, 6, {"num_true": 5, "num_pred": 6}
SEGMENTATIONS = ("adjusted_rand_index", "mean_iou", "mean_best_overlap", "segmentation_covering")


def random_pairs(seed: int, likeness: float, ids: int):
    """True and predicted segments: the latter follow the former in about `likeness` of the pixels."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, min(ids, NUMBERS["num_true"]), (BATCH, SIDE, SIDE))
    pred = rng.integers(0, min(ids, NUMBERS["num_pred"]), true.shape)
    return true, np.where(rng.uniform(size=true.shape) < likeness, rng.permutation(5)[true], pred)


many_pairs = given(st.integers(0, 2**31), st.floats(0, 1), st.integers(1, 6))
quickly = settings(max_examples=40, deadline=None)


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
def test_covering_equals_brute_force(seed, likeness, ids):
    true, pred = random_pairs(seed, likeness, ids)

    def expected(true, pred, objects, weighted):
        if len(objects) == 0:
            return 1.0
        weights = [(true == t).sum() if weighted else 1 for t in objects]
        return np.average(iou_table(true, pred, objects).max(1), weights=weights)

    for ignore, find in ((False, np.unique), (True, object_ids)):
        for weighted in (False, True):
            ours = metrics.segmentation_covering(true, pred, **NUMBERS, ignore_background=ignore, weighted=weighted)
            theirs = [expected(t, p, find(t), weighted) for t, p in zip(true, pred, strict=True)]
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    best = metrics.mean_best_overlap(true, pred, **NUMBERS)
    np.testing.assert_allclose(
        best, [expected(t, p, object_ids(t), False) for t, p in zip(true, pred, strict=True)], atol=1e-6
    )
    assert (np.asarray(best) >= np.asarray(metrics.mean_iou(true, pred, **NUMBERS)) - 1e-6).all()


@quickly
@many_pairs
def test_purity_of_hard_masks_equals_brute_force(seed, likeness, ids):
    true, pred = random_pairs(seed, likeness, ids)
    masks = np.stack([pred == i for i in range(6)], 1)
    ours = metrics.mask_purity(true, masks, num_true=5)
    expected = [
        sum(np.bincount(t[p == i], minlength=1).max() for i in np.unique(p)) / t.size
        for t, p in zip(true, pred, strict=True)
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


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
    ("true", "pred", "fg_ari", "ari", "miou", "covering"),
    [
        pytest.param(EMPTY, EMPTY, 1, 1, 1, 1, id="nothing, and nothing seen"),
        pytest.param(EMPTY, PIECES, 1, 0, 1, 4 / 16, id="nothing, in pieces"),
        pytest.param(DISC, DISC, 1, 1, 1, 1, id="one object, found"),
        pytest.param(DISC, EMPTY, 1, 0, 4 / 16, (12 * 12 + 4 * 4) / 256, id="one object, one slot for all"),
        pytest.param(DISC, 5 * DISC, 1, 1, 1, 1, id="unused slots"),
        pytest.param(EMPTY + 1, EMPTY, 1, 1, 1, 1, id="all pixels one object"),
        pytest.param(EMPTY + 1, PIECES, 0, 0, 4 / 16, 4 / 16, id="all pixels one object, in pieces"),
    ],
)
def test_degenerate_images(true, pred, fg_ari, ari, miou, covering):
    def close(value, expected):
        np.testing.assert_allclose(value, [expected], atol=1e-6)

    close(metrics.adjusted_rand_index(true, pred, **NUMBERS, ignore_background=True), fg_ari)
    close(metrics.adjusted_rand_index(true, pred, **NUMBERS, ignore_background=False), ari)
    close(metrics.mean_iou(true, pred, **NUMBERS), miou)
    close(metrics.segmentation_covering(true, pred, **NUMBERS), covering)
    assert metrics.has_foreground(true).tolist() == [bool((true > 0).any())]


def test_one_object_in_pieces_scores_no_fg_ari():
    pred = np.where(DISC > 0, np.arange(4)[:, None] + 1, 0)
    assert metrics.adjusted_rand_index(DISC, pred, **NUMBERS, ignore_background=True) == 0


def test_objects_beyond_the_segments_count_zero():
    assert metrics.mean_iou(PIECES, EMPTY, num_true=5, num_pred=1) == np.float32(np.mean([3 / 16, 0, 0, 0]))
    assert metrics.mean_iou(EMPTY, EMPTY, num_true=1, num_pred=1) == 1


@pytest.mark.parametrize("wrong", [0, 1, 500])
@pytest.mark.parametrize("size", [(240, 320), (1024, 1024)])
def test_large_pictures_in_float32(wrong, size):
    """Where nearly all pixels are background the index is a small difference of large numbers of pairs."""
    true = np.zeros((1, *size), np.int32)
    true[0, 0, :20] = 1
    pred = true.copy()
    pred[0, 1, :wrong] = 1
    ours = metrics.adjusted_rand_index(true, pred, num_true=2, num_pred=2, ignore_background=False)
    np.testing.assert_allclose(ours, [adjusted_rand_score(true.ravel(), pred.ravel())], rtol=1e-4)


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_renaming_the_predicted_segments_changes_nothing(name):
    true, pred = random_pairs(0, 0.5, 5)
    extra = {"ignore_background": True} if name == "adjusted_rand_index" else {}
    metric = getattr(metrics, name)
    renamed = np.random.default_rng(0).permutation(6)[pred]
    scores = metric(true, pred, **NUMBERS, **extra)
    assert scores.shape == (BATCH,) and scores.dtype == jnp.float32
    np.testing.assert_allclose(metric(true, renamed, **NUMBERS, **extra), scores, atol=1e-6)
    alone = jax.vmap(lambda t, p: metric(t[None], p[None], **NUMBERS, **extra)[0])(true, pred)
    np.testing.assert_allclose(alone, scores, atol=1e-6)


def test_other_shapes_are_refused():
    with pytest.raises(AssertionError):
        metrics.mean_iou(np.zeros((2, 4, 4), int), np.zeros((1, 4, 4), int), **NUMBERS)


def test_contingency_counts_and_leaves_out_strange_ids():
    table = metrics.contingency(jnp.array([[[0, 1, 1, -1]]]), jnp.array([[[0, 2, 2, 0]]]), 2, 3)
    np.testing.assert_array_equal(table, [[[1, 0, 0], [0, 0, 2]]])


def test_soft_masks():
    even, hard = np.full((1, 4, 4, 4), 0.25), np.eye(4)[None, :, :, None] * np.ones(4)
    true = np.broadcast_to(np.arange(4)[:, None], (1, 4, 4))
    np.testing.assert_allclose(metrics.mask_entropy(even), [1], rtol=1e-6)
    np.testing.assert_allclose(metrics.mask_entropy(hard), [0], atol=1e-7)
    np.testing.assert_allclose(metrics.mask_entropy(np.ones((1, 1, 4, 4))), [0])
    np.testing.assert_allclose(metrics.mask_purity(true, even, num_true=4), [0.25], rtol=1e-6)
    np.testing.assert_allclose(metrics.mask_purity(true, hard, num_true=4), [1])
    np.testing.assert_allclose(metrics.mask_purity(true, even, num_true=4, ignore_background=True), [1 / 3], rtol=1e-6)
    np.testing.assert_allclose(metrics.mask_purity(EMPTY, even, num_true=1, ignore_background=True), [1])
    np.testing.assert_array_equal(metrics.segments_from_masks(hard), true)


def test_errors_of_reconstructions():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    other = images + np.array([0, 0.1, 1], np.float32)[:, None, None, None]
    np.testing.assert_allclose(metrics.mse(other, images), [0, 0.01, 1], rtol=1e-4)
    np.testing.assert_allclose(metrics.psnr(other, images)[1:], 10 * np.log10([400, 4]), rtol=1e-4)
    assert 106 < metrics.psnr(images, images)[0] < 107
