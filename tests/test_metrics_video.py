"""Metrics of videos: equal to what the original recorded, to other programs, and to what is plain by eye."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from slotjax import metrics
from slotjax.errors import UserError

NUMBERS = {"num_true": 4, "num_pred": 5}
quickly = settings(max_examples=20, deadline=None)
many_videos = given(st.integers(0, 2**31), st.floats(0, 1))


def videos(seed: int, likeness: float, batch: int = 4, frames: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted segments; the latter follow the former in about `likeness` of the pixels, and in some videos
    objects are out of sight for a while."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, NUMBERS["num_true"], (batch, frames, 4, 4))
    hidden = rng.uniform(size=(batch, frames, NUMBERS["num_true"])) < 0.3
    true = np.where(np.take_along_axis(hidden, true.reshape(batch, frames, 16), 2).reshape(true.shape), 0, true)
    names = np.array([rng.permutation(NUMBERS["num_pred"]) for _ in range(batch)])
    follows = np.take_along_axis(names, true.reshape(batch, -1), 1).reshape(true.shape)
    pred = rng.integers(0, NUMBERS["num_pred"], true.shape)
    return true, np.where(rng.uniform(size=true.shape) < likeness, follows, pred)


@pytest.mark.parametrize("kind, ignore", [("ari", False), ("ari_nobg", True)])
def test_rand_indices_are_those_of_the_original(shared_data, kind, ignore):
    """One clustering over all frames of a video; padding is an id that there is not."""
    golden = np.load(shared_data / "golden" / "golden_savi.npz")
    true, pred, padding = (golden[f"metric/{name}"] for name in ("true", "pred", "padding_mask"))
    numbers = {"num_true": int(golden["metric/num_true"]), "num_pred": int(golden["metric/num_pred"])}
    unpadded = np.where(padding > 0, true, -1)
    found = metrics.adjusted_rand_index(unpadded, pred, **numbers, ignore_background=ignore)
    np.testing.assert_allclose(found, golden[f"metric/{kind}"], atol=2e-6)
    whole = metrics.adjusted_rand_index(true, pred, **numbers, ignore_background=ignore)
    np.testing.assert_allclose(whole, golden[f"metric/{kind}_nopad"], atol=2e-6)
    frames = metrics.frame_adjusted_rand_index(unpadded, pred, **numbers, ignore_background=ignore)
    np.testing.assert_allclose(frames, golden[f"metric/{kind}_per_frame"], atol=2e-6)
    means = golden["metric/mean"], golden["metric/mean_masked"]
    mask = golden["metric/mask"]
    np.testing.assert_allclose([found.mean(), found[mask].mean()], [mean[int(ignore)] for mean in means], atol=2e-6)


@quickly
@many_videos
def test_each_frame_is_scored_on_its_own(seed, likeness):
    true, pred = videos(seed, likeness)
    found = metrics.frame_adjusted_rand_index(true, pred, **NUMBERS, ignore_background=True)
    frames = zip(true.reshape(-1, 4, 4), pred.reshape(-1, 4, 4), strict=True)
    expected = [adjusted_rand_score(t[t > 0], p[t > 0]) for t, p in frames]
    np.testing.assert_allclose(found.ravel(), expected, atol=2e-6)


@quickly
@many_videos
def test_mean_iou_has_one_matching_for_the_whole_video(seed, likeness):
    true, pred = videos(seed, likeness)
    expected = []
    for t, p in zip(true, pred, strict=True):
        ids = [i for i in range(1, NUMBERS["num_true"]) if (t == i).any()]
        table = [[((t == i) & (p == j)).sum() / max(1, ((t == i) | (p == j)).sum()) for j in range(5)] for i in ids]
        rows, columns = linear_sum_assignment(-np.array(table)) if ids else ([], [])
        expected.append(np.array(table)[rows, columns].sum() / len(ids) if ids else 1)
    np.testing.assert_allclose(metrics.mean_iou(true, pred, **NUMBERS), expected, atol=1e-6)


def switches(true: np.ndarray, pred: np.ndarray) -> float:
    """Of one video [t, h, w], by counting."""
    counts = []
    for i in range(1, NUMBERS["num_true"]):
        best, count = None, 0
        for t, p in zip(true, pred, strict=True):
            if not (t == i).any():
                continue
            iou = [
                ((t == i) & (p == j)).sum() / max(1, ((t == i) | (p == j)).sum()) for j in range(NUMBERS["num_pred"])
            ]
            if best is None or iou[best] < max(iou):
                count += best is not None
                best = int(np.argmax(iou))
        counts += [] if best is None else [count]
    return float(np.mean(counts)) if counts else 0.0


@quickly
@many_videos
def test_identity_switches_equal_counting(seed, likeness):
    true, pred = videos(seed, likeness)
    expected = [switches(t, p) for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(metrics.identity_switches(true, pred, **NUMBERS), expected, atol=1e-6)


def one(*frames: list[int]) -> np.ndarray:
    return np.array(frames)[None, :, None, :]


@pytest.mark.parametrize(
    ("true", "pred", "expected"),
    [
        (one([1, 2], [1, 2], [1, 2]), one([3, 0], [3, 0], [3, 0]), 0.0),  # slots stay
        (one([1, 2], [1, 2], [1, 2]), one([3, 0], [0, 3], [0, 3]), 1.0),  # both objects change slots once
        (one([1, 2], [1, 2], [1, 2]), one([3, 0], [4, 0], [3, 0]), 1.0),  # one of two changes and comes back
        (one([1, 0], [0, 0], [1, 0]), one([3, 0], [0, 0], [3, 0]), 0.0),  # out of sight, back in its slot
        (one([1, 0], [0, 0], [1, 0]), one([3, 0], [0, 0], [4, 0]), 1.0),  # back in another
        (one([0, 0], [0, 0]), one([1, 0], [0, 1]), 0.0),  # no object
        (one([1, 1], [1, 1]), one([2, 2], [2, 3]), 0.0),  # another slot that is only as good
    ],
)
def test_switches_by_eye(true, pred, expected):
    assert float(metrics.identity_switches(true, pred, **NUMBERS)[0]) == expected


def test_end_point_error_is_a_mean_distance():
    flow = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 2)).astype(np.float32)
    off = flow + np.array([3, -4], np.float32) * np.array([1, 2], np.float32)[:, None, None, None, None]
    np.testing.assert_allclose(metrics.end_point_error(off, flow), [5, 10], rtol=1e-6)
    assert (np.asarray(metrics.end_point_error(jnp.asarray(flow), flow)) == 0).all()


@pytest.mark.parametrize(
    ("metric", "arrays", "message"),
    [
        (metrics.identity_switches, [np.zeros((1, 4, 4), int)] * 2, r"shape \(1, 4, 4\).*expected \[b, t, h, w\]"),
        (metrics.identity_switches, [np.zeros((1, 2, 4, 4), int), np.zeros((1, 3, 4, 4), int)], r"expected \[b, t"),
        (metrics.identity_switches, [np.zeros((1, 2, 4, 4))] * 2, "dtype float64: expected whole numbers"),
        (metrics.frame_adjusted_rand_index, [np.zeros((4, 4), int)] * 2, r"expected \[b, t, h, w\]"),
        (metrics.end_point_error, [np.zeros((1, 2, 4, 4, 3))] * 2, r"expected \[b, t, h, w, 2\]"),
        (metrics.end_point_error, [np.zeros((1, 2, 4, 4, 2), int)] * 2, "floats, in pixels"),
    ],
)
def test_what_is_no_video_is_named(metric, arrays, message):
    options = {metrics.frame_adjusted_rand_index: {"ignore_background": True}, metrics.end_point_error: {}}
    numbers = {} if metric is metrics.end_point_error else NUMBERS
    with pytest.raises(UserError, match=message):
        metric(*arrays, **numbers, **options.get(metric, {}))
