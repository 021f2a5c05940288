"""Which pictures to show: the best, the median and the worst."""

import numpy as np

from slotjax.reporting.scoring import Scores
from slotjax.reporting.titles import higher_is_better

GROUPS = ("best", "median", "worst")


def choose(scores: Scores, each: int = 3) -> list[tuple[str, int]]:
    """Up to `each` held-out images a group, none twice, as (group, number).

    They are ranked by `scores.ranked_by`; images without it (no object in view) are left out.
    """
    name, figures = scores.ranked_by, scores.images["slots"]
    if name is None:
        num_images = len(next(iter(figures.values())))
        return [("first", i) for i in range(min(each, num_images))]
    groups = pick(figures[name], higher_is_better(name), each)
    return [(group, i) for group, some in groups.items() for i in some]


def pick(values: np.ndarray, higher_better: bool, each: int) -> dict[str, list[int]]:
    """Positions of the best, the median and the worst finite values [n], best first; small sets give fewer."""
    values = np.asarray(values, np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(-values[finite] if higher_better else values[finite], kind="stable")]
    count = min(each, max(1, len(order) // 3))
    middle = (len(order) - count) // 2
    wanted = {"best": order[:count], "worst": order[::-1][:count][::-1], "median": order[middle : middle + count]}
    groups, taken = {}, set()
    for group, positions in wanted.items():  # of a few images, the best and the worst before the median
        groups[group] = [int(i) for i in positions if i not in taken]
        taken.update(groups[group])
    return {group: groups[group] for group in GROUPS if groups[group]}
