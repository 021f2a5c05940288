"""Which pictures to show: the best, the median and the worst."""

from dataclasses import dataclass

import numpy as np

from slotjax.reporting.scoring import Scores
from slotjax.reporting.titles import higher_is_better

GROUPS = ("best", "median", "worst")


@dataclass(frozen=True)
class Examples:
    """Held-out images by group, {group: numbers}, and the figure they were ranked by (None: none had one)."""

    ranked_by: str | None
    groups: dict[str, list[int]]

    @property
    def indices(self) -> np.ndarray:
        return np.array([index for group in self.groups.values() for index in group], np.int64)


def choose(scores: Scores, each: int = 3) -> Examples:
    """Up to `each` images a group, none twice; images without the figure (no object in view) are left out."""
    if not scores.shown:
        num_images = len(next(iter(scores.images["slots"].values())))
        return Examples(None, {"first": list(range(min(each, num_images)))})
    name = scores.shown[0]
    return Examples(name, pick(scores.images["slots"][name], higher_is_better(name), each))


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
