"""How the best checkpoint scores on every held-out image, and how clustering the pixels scores on the same ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from slotjax.errors import UserError
from slotjax.models import Model
from slotjax.reporting.history import History
from slotjax.reporting.titles import number, ordered
from slotjax.tasks import Figures, Task
from slotjax.training.evaluation import Score, build_clustering_score, build_score, collect
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed
from slotjax.training.restore import restore_state
from slotjax.weights import load

METHODS = {
    "slots": "Slot Attention",
    "kmeans": "k-means on colour",
    "soft_kmeans": "soft k-means on colour",
    "kmeans_of_features": "k-means on features",
    "blocks": "equal blocks",
}
ALIKE = 5e-4  # figures that differ by less read the same


@dataclass(frozen=True)
class Trained:
    """The best checkpoint, or weights, whose step is not known; and the images they are scored on."""

    model: Model
    params: Any
    step: int | None
    feed: SceneFeed | StoredFeed

    @property
    def num_parameters(self) -> int:
        return sum(x.size for x in jax.tree.leaves(self.params))


@dataclass(frozen=True)
class Scores:
    """What the held-out images score by each method, of which "slots" comes first.

    Attributes:
      images: {method: {figure: [n, ...]}}.
      means: {method: {figure: mean}}.
      shown: the figures that the model has for at least one image, in the order in which they are shown.
    """

    images: dict[str, Figures]
    means: dict[str, dict[str, Any]]
    shown: list[str]

    @property
    def ranked_by(self) -> str | None:
        """The figure that single images are ranked by; None where there is none."""
        return self.shown[0] if self.shown else None

    @property
    def has_masks(self) -> bool:
        return number(self.means["slots"].get("ari")) is not None


def open_trained(history: History) -> Trained:
    """The best checkpoint of a run, or weights, and the held-out images.

    Raises:
      UserError: no checkpoint, a damaged one, or data that is no longer there.
    """
    if history.of_weights:
        return Trained(*load(history.workdir), None, open_feed(history.config))
    model, state = restore_state(history.config, history.workdir, best=True)
    return Trained(model, state.best_params, int(state.step), open_feed(history.config))


def score(history: History, trained: Trained) -> Scores:
    """Scores everything in one pass over the held-out images, which may be costly to draw."""
    feed, parts = trained.feed, {}
    ways: dict[str, Score] = {"slots": build_score(history.config, trained.model, feed.num_true)}
    if feed.num_true is not None and history.task.BASELINES:
        ways |= baselines(history, trained.model, feed.num_true)
    for batch in feed.eval_batches():
        for name, way in ways.items():
            parts.setdefault(name, []).append(collect(way, trained.params, [batch]))
    if not parts:
        raise UserError(f"data.eval_images={history.config.data.eval_images}: no held-out {history.noun} to score")
    images = {name: {key: np.concatenate([p[key] for p in some]) for key in some[0]} for name, some in parts.items()}
    return gathered(images, history.task)


def baselines(history: History, model: Model, num_true: int) -> dict[str, Score]:
    """What segments without slots: clusters of colours, or where slots see features clusters of these, and blocks."""
    clusters = history.config.model.num_slots
    if not model.sees_features:
        return {name: build_clustering_score(name, clusters, num_true) for name in history.task.BASELINES}
    return {
        "kmeans_of_features": build_clustering_score("kmeans", clusters, num_true, model=model),
        "blocks": build_clustering_score("blocks", clusters, num_true),
    }


def gathered(images: Mapping[str, Figures], task: Task) -> Scores:
    """The scores of single images and their means; soft k-means is left out where it says what k-means does."""
    means = {name: task.summary(figures) for name, figures in images.items()}
    if {"kmeans", "soft_kmeans"} <= means.keys() and alike(means["kmeans"], means["soft_kmeans"]):
        del means["soft_kmeans"]
    slots = images["slots"]
    shown = [name for name in ordered(slots, task) if slots[name].ndim == 1 and np.isfinite(slots[name]).any()]
    return Scores({name: images[name] for name in means}, means, shown)


def alike(some: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether two methods' means read the same."""
    pairs = ((number(some[name]), number(others.get(name))) for name in some)
    return all(a == b if a is None or b is None else abs(a - b) < ALIKE for a, b in pairs)
