"""Slots that share an object, made one."""

from typing import Any

import numpy as np

MOST_APART = 0.5  # by default, from 0, the same share of every pixel, to 1, no pixel in common
FAINTEST = 1e-100  # so that a slot without a pixel has a direction too, whose length does not vanish


def merge(shares: Any, most_apart: float = MOST_APART) -> np.ndarray:
    """Which slots are of the same object, by how far their shares of the pixels overlap.

    Slots are merged agglomeratively, nearest groups first (scipy.cluster.hierarchy, average linkage), by one minus the
    cosine of their shares, as SOLV merges slots by their own (Aydemir et al., 2023). Two slots that have
    halves of every pixel of an object are one; two that have a half of the object each are not.

    Args:
      shares: [b, k, h, w], responsibilities or masks.
      most_apart: distance below which groups are merged, in (0, 1).

    Returns:
      int [b, k], the group of each slot, from 0 on; `shares` summed over a group are the object's.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # takes long to import

    shares = np.asarray(shares, np.float64)
    flat = shares.reshape(*shares.shape[:2], -1)
    flat = np.maximum(flat, FAINTEST)
    if flat.shape[1] == 1:
        return np.zeros(flat.shape[:2], np.int64)
    groups = [fcluster(linkage(one, "average", "cosine"), most_apart, "distance") - 1 for one in flat]
    return np.stack(groups).astype(np.int64)
