"""How the best checkpoint scores on every held-out image, and how clustering the pixels scores on the same ones."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from slotjax.errors import UserError
from slotjax.reporting.history import Record
from slotjax.reporting.titles import number, ordered
from slotjax.training.evaluation import Figures, Score, build_clustering_score, build_score, collect
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed
from slotjax.training.restore import restore_state

METHODS = {"slots": "Slot Attention", "kmeans": "k-means on colour", "soft_kmeans": "soft k-means on colour"}


@dataclass(frozen=True)
class Trained:
    """The best checkpoint, and the images it is judged on."""

    model: nn.Module
    params: Any
    step: int
    feed: SceneFeed | StoredFeed

    @property
    def num_parameters(self) -> int:
        return sum(x.size for x in jax.tree.leaves(self.params))


@dataclass(frozen=True)
class Judgement:
    """Figures of every image by method ("slots" first), {figure: [n]}, and their means.

    `figures` are the per-image ones that the model has for at least one image, in the order in which they are shown.
    """

    scores: dict[str, Figures]
    summaries: dict[str, dict[str, Any]]

    @property
    def figures(self) -> list[str]:
        slots = self.scores["slots"]
        return [name for name in ordered(slots) if slots[name].ndim == 1 and np.isfinite(slots[name]).any()]

    @property
    def has_masks(self) -> bool:
        return number(self.summaries["slots"].get("ari")) is not None


def open_trained(record: Record) -> Trained:
    """The best checkpoint of a run and its held-out images.

    Raises:
      UserError: no checkpoint, a damaged one, or data that is no longer there.
    """
    model, state = restore_state(record.config, record.workdir, best=True)
    return Trained(model, state.best_params, int(state.step), open_feed(record.config))


def judge(record: Record, trained: Trained) -> Judgement:
    """Scores everything in one pass over the held-out images, which may be costly to draw."""
    feed, parts = trained.feed, {}
    scores: dict[str, Score] = {"slots": build_score(record.config, trained.model, feed.num_true)}
    if feed.num_true is not None and hasattr(record.task, "segmentation_scores"):
        clusters = record.config.model.num_slots
        scores |= {name: build_clustering_score(name, clusters, feed.num_true) for name in ("kmeans", "soft_kmeans")}
    for batch in feed.eval_batches():
        for name, score in scores.items():
            parts.setdefault(name, []).append(collect(score, trained.params, [batch]))
    if not parts:
        raise UserError(f"data.eval_images={record.config.data.eval_images}: no held-out image to score")
    whole = {name: {key: np.concatenate([p[key] for p in some]) for key in some[0]} for name, some in parts.items()}
    return Judgement(whole, {name: record.task.summary(figures) for name, figures in whole.items()})
