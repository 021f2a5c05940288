"""Average precision, against a plain form of it that follows the definition object by object."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_sets

from slotjax.data.clevr_properties import ATTRIBUTES, REAL
from slotjax.errors import UserError
from slotjax.metrics.average_precision import average_precision, nearest_match, precision_and_recall


def plain(predictions, targets, threshold):
    """From the most confident prediction on: right if the nearest object like it is near enough and not yet taken."""
    ranked = sorted(np.ndindex(predictions.shape[:2]), key=lambda place: -predictions[(*place, REAL)])
    taken, found, precision, recall = set(), 0, [], []
    for rank, (image, slot) in enumerate(ranked, start=1):
        ours, best, chosen = predictions[image, slot], np.inf, None
        for place, theirs in enumerate(targets[image]):
            alike = all(ours[part].argmax() == theirs[part].argmax() for part in ATTRIBUTES.values())
            distance = np.linalg.norm((theirs[:3] - ours[:3]) * np.float32(6))
            if theirs[REAL] and alike and distance < best:
                best, chosen = distance, (image, place)
        if best < threshold and chosen not in taken:
            taken.add(chosen)
            found += 1
        precision.append(found / rank)
        recall.append(found / targets[..., REAL].sum())
    steps = np.diff(recall, prepend=0.0)
    return sum(step * max(precision[i:]) for i, step in enumerate(steps)), precision, recall


@pytest.mark.parametrize("threshold", [np.inf, 1.0, 0.5, 0.25])
@pytest.mark.parametrize(("slots", "places"), [(5, 5), (7, 4), (3, 6)])
def test_equals_the_plain_form(threshold, slots, places):
    rng = np.random.default_rng(slots)
    targets, predictions = random_sets(rng, 12, places, real=0.7), random_sets(rng, 12, slots)
    predictions[..., REAL] = rng.permutation(12 * slots).reshape(12, slots) / (12 * slots)
    expected, *curves = plain(predictions, targets, threshold)
    assert expected > 0 or threshold < 1
    assert average_precision(predictions, targets, threshold) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(precision_and_recall(predictions, targets, threshold), curves, rtol=1e-6)


def test_truth_as_prediction_is_perfect_at_any_distance():
    targets = random_sets(np.random.default_rng(0), 9, 5, real=0.6)
    shuffled = targets[:, ::-1]
    for threshold in (np.inf, 1.0, 0.125, 1e-6):
        assert average_precision(shuffled, targets, threshold) == pytest.approx(1.0)


def test_an_object_found_twice_counts_once():
    target = random_sets(np.random.default_rng(1), 1, 2)
    target[:, 1] = 0
    twice = np.repeat(target[:, :1], 2, axis=1)
    twice[0, :, REAL] = 0.9, 0.8
    precision, recall = precision_and_recall(twice, target)
    assert precision.tolist() == [1, 0.5] and recall.tolist() == [1, 1]


def test_the_distance_must_stay_below_the_threshold():
    target = random_sets(np.random.default_rng(2), 1, 1)
    moved = target.copy()
    moved[..., 0] = target[..., 0] + np.float32(0.25)
    distance = nearest_match(moved, target)[0].item()
    assert distance == pytest.approx(1.5, rel=1e-6)
    assert average_precision(moved, target, distance) == 0
    assert average_precision(moved, target, np.nextafter(distance, 2)) == 1


def test_without_objects_there_is_nothing_to_judge():
    assert average_precision(np.ones((2, 3, 19)), np.zeros((2, 3, 19))) is None
    assert average_precision(np.ones((0, 3, 19)), np.zeros((0, 3, 19))) is None


def test_confidence_of_nan_ranks_last():
    targets = random_sets(np.random.default_rng(3), 1, 3)
    predictions = np.concatenate([targets, targets * np.nan, targets[:, :1]], 1)
    predictions[..., REAL] = 0.9, 0.8, 0.7, np.nan, np.nan, np.nan, -np.inf
    assert average_precision(predictions, targets, 0.125) == pytest.approx(1.0)
    precision, _ = precision_and_recall(predictions, targets, 0.125)
    np.testing.assert_allclose(precision, [1, 1, 1, 3 / 4, 3 / 5, 3 / 6, 3 / 7])


@pytest.mark.parametrize("kind", [np.ndarray.tolist, jnp.asarray, np.float16, np.float64])
def test_sets_of_any_kind(kind):
    targets = random_sets(np.random.default_rng(4), 2, 3)
    sets = targets.astype(kind) if isinstance(kind, type) else kind(targets)
    assert average_precision(sets, sets) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("predictions", "targets", "threshold", "message"),
    [
        (np.ones((3, 19)), np.ones((1, 3, 19)), 1.0, r"predictions of shape \(3, 19\): expected \[n, objects, 19\]"),
        (np.ones((1, 3, 19)), np.ones((1, 3, 18)), 1.0, r"targets of shape \(1, 3, 18\)"),
        (np.ones((2, 3, 19)), np.ones((1, 3, 19)), 1.0, "predictions of 2 images, targets of 1"),
        *((np.ones((1, 3, 19)), np.ones((1, 3, 19)), x, f"threshold={x}: must be") for x in (0, -1, np.nan, None)),
    ],
)
def test_impossible_sets_are_named(predictions, targets, threshold, message):
    with pytest.raises(UserError, match=message):
        average_precision(predictions, targets, threshold)
