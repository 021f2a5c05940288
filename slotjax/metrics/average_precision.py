"""Average precision of predicted sets of objects, over a whole evaluation set (Locatello et al., 2020, app. D)."""

import numpy as np

from slotjax.data.clevr_properties import ATTRIBUTES, COORDINATES, EXTENT, NUM_PROPERTIES, REAL
from slotjax.errors import UserError
from slotjax.system import arguments

THRESHOLDS = (np.inf, 1.0, 0.5, 0.25, 0.125)  # the paper's, in the scenes' own units of length


def average_precision(predictions: np.ndarray, targets: np.ndarray, threshold: float = np.inf) -> float | None:
    """The area under the curve of precision over recall, as the original computes it.

    A prediction is right if of the true objects that share its size, material, shape and colour the nearest is closer
    than `threshold` and no prediction of more confidence took it.

    Args:
      predictions: float [n, k, 19] of all n images; their last number is the confidence by which they are ranked. A
        confidence of NaN ranks last, and a place of NaN is right nowhere.
      targets: float [n, m, 19], a `REAL` of 0 marking padding; m may differ from k.
      threshold: the distance must stay below it; `inf` looks at the attributes alone.

    Returns:
      AP in [0, 1]; None where there is no true object.

    Raises:
      UserError: sets of other shapes, or a threshold that is not above 0.
    """
    predictions, targets = _sets("predictions", predictions), _sets("targets", targets)
    if len(predictions) != len(targets):
        raise UserError(f"predictions of {len(predictions)} images, targets of {len(targets)}: expected as many")
    if threshold != np.inf:
        arguments.number("threshold", threshold, open_below=True)
    if not (targets[..., REAL] > 0).any():
        return None
    precision, recall = precision_and_recall(predictions, targets, threshold)
    # In float32, like the original: a step of recall is one true object found.
    precision, recall = (x.astype(np.float32).astype(np.float64) for x in (precision, recall))
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_from_here * np.diff(recall, prepend=0.0)).sum())


def _sets(name: str, value: np.ndarray) -> np.ndarray:
    value = np.asarray(arguments.array(name, value))
    if value.ndim != 3 or value.shape[2] != NUM_PROPERTIES:
        raise UserError(f"{name} of shape {value.shape}: expected [n, objects, {NUM_PROPERTIES}]")
    return value.astype(np.result_type(value.dtype, np.float32))


def precision_and_recall(
    predictions: np.ndarray, targets: np.ndarray, threshold: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Both after each prediction, taken from the most confident on: float [n * k] twice. Arguments as above."""
    distance, nearest = nearest_match(predictions, targets)
    # NaN comes last; equal confidences go from the last to the first, as in the original.
    doubts = -predictions[..., REAL].ravel()
    order = len(doubts) - 1 - np.argsort(doubts[::-1], kind="stable")
    claimed = (nearest + np.arange(len(targets))[:, None] * targets.shape[1]).ravel()[order]
    hits = np.flatnonzero((distance < threshold).ravel()[order])
    right = np.zeros(len(order), bool)
    right[hits[np.unique(claimed[hits], return_index=True)[1]]] = True
    found = np.cumsum(right)
    return found / np.arange(1, len(order) + 1), found / (targets[..., REAL] > 0).sum()


def nearest_match(predictions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each prediction the nearest true object with all its attributes.

    Returns:
      its distance, float [n, k] in the scenes' units, inf where no object has those attributes; and its place, int
      [n, k].
    """
    offset = (targets[:, None, :, COORDINATES] - predictions[:, :, None, COORDINATES]) * np.float32(EXTENT)
    distance = np.linalg.norm(offset, axis=-1)
    same = targets[:, None, :, REAL] > 0
    for part in ATTRIBUTES.values():
        same = same & (predictions[:, :, None, part].argmax(-1) == targets[:, None, :, part].argmax(-1))
    distance = np.where(same, distance, np.inf)
    return distance.min(-1), distance.argmin(-1)
