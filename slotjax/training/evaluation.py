"""Scoring parameters on the held-out images, and keeping the best."""

import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax.clustering import segment_images
from slotjax.drawing import slots as draw
from slotjax.models import Model
from slotjax.system.rng import EVAL_SEED, example_keys, stream_key
from slotjax.tasks import TASKS, Figures, Summary, discovery
from slotjax.training import processes
from slotjax.training.run import Run
from slotjax.training.state import TrainState

Score = Callable[[Any, dict], dict[str, Any]]

# Compiled once for all kinds of clustering: the matching takes seconds to compile.
_segmentation_scores = jax.jit(discovery.segmentation_scores, static_argnames=("num_true", "num_pred"))


def slots_keys(index: jax.Array) -> jax.Array:
    """The keys that draw the slots of held-out images, the same each time: int [b] -> keys [b]."""
    return example_keys(stream_key(EVAL_SEED, "evaluation slots"), 0, index)


def build_score(config: ConfigDict, model: Model, num_true: int | None, **options: Any) -> Score:
    """A compiled (params, batch) -> {figure: [b, ...]}."""
    task = TASKS[config.model.name]
    return jax.jit(
        lambda params, batch: task.scores(model, params, batch, slots_keys(batch["index"]), num_true, **options)
    )


def build_clustering_score(
    method: Any, num_clusters: int, num_true: int, position_weight: float = 0.0, model: Model | None = None
) -> Score:
    """A compiled (params, batch) -> {figure: [b]} of what needs no slots, the baselines; `mse` is NaN.

    Args:
      method: "kmeans" or "soft_kmeans"; it and the others as in `slotjax.clustering.segment_images`. All frames of a
        video are clustered together. Or "blocks", which cuts every picture alike (`blocks`).
      model: cluster what this model's slots are to reconstruct, a backbone's features; None clusters pixels.
    """
    key = stream_key(EVAL_SEED, "clustering")
    cluster = partial(segment_images, num_clusters=num_clusters, method=method, position_weight=position_weight)

    @jax.jit
    def segment(params, images, key):
        seen: Any = images if model is None else model.apply({"params": params}, images, method="target")
        if method == "blocks":
            return jnp.broadcast_to(blocks(num_clusters, images.shape[-3:-1]), images.shape[:-1])
        tall = seen.reshape(len(seen), -1, *seen.shape[-2:])  # a video's frames one below the other
        return enlarged(cluster(tall, key=key).reshape(seen.shape[:-1]), images.shape[-3:-1])

    def score(params, batch):
        found = segment(params, batch["image"], jax.random.fold_in(key, batch["index"][0]))
        figures = _segmentation_scores(batch["segments"], found, num_true=num_true, num_pred=num_clusters)
        if "classes" in batch:
            figures |= discovery.class_scores(batch["segments"], batch["classes"], found, num_true, num_clusters)
        return {"mse": np.full(len(found), np.nan, np.float32)} | figures

    return score


def blocks(count: int, size: tuple[int, ...]) -> jax.Array:
    """A picture of these rows and columns cut into so many blocks, as square as they can be: int32 [h, w].

    Scores that say little of objects, such as FG-ARI where objects are small and far apart, are high for blocks too.
    """
    height, width = size
    bands = max(1, round(math.sqrt(count)))
    band = np.arange(height) * bands // height
    per_band = np.array([count // bands + (i < count % bands) for i in range(bands)])
    first = np.cumsum(per_band) - per_band
    columns = np.arange(width) * per_band[band][:, None] // width
    return jnp.asarray(first[band][:, None] + columns, jnp.int32)


def enlarged(segments: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """[*b, h, w] -> [*b, *size], to the nearest: a patch is one segment."""
    rows, columns = (np.arange(n) * have // n for have, n in zip(segments.shape[-2:], size, strict=True))
    return segments[..., rows[:, None], columns]


def collect(score: Score, params: Any, batches: Iterable[dict]) -> Figures:
    """Every image's figures, padding left out: {figure: [n, ...]}."""
    collected: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        valid = np.asarray(batch["valid"])
        for name, values in score(params, {k: v for k, v in batch.items() if k != "valid"}).items():
            collected.setdefault(name, []).append(np.asarray(values)[valid])
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def leading(batches: Iterable[dict], count: int) -> dict[str, Any]:
    """The first `count` held-out examples, or all of fewer; what fills up a batch is no example."""
    found: list[dict] = []
    for batch in batches:
        places = np.flatnonzero(batch["valid"])[:count]
        found.append(jax.tree.map(lambda x, places=places: x[places], {k: v for k, v in batch.items() if k != "valid"}))
        count -= len(places)
        if not count:
            break
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


class Evaluator:
    """Scores a run while it trains.

    Attributes:
      scored: the steps that were scored before.
      best: the best summary so far, with its `step`; or None.

    Args:
      rows: of metrics.jsonl, up to the step from which the run goes on.
    """

    def __init__(self, run: Run, rows: list[dict[str, Any]]):
        self.run = run
        self.score = build_score(run.config, run.model, run.feed.num_true)
        evaluations = [row for row in rows if "num_images" in row]
        self.scored = {row["step"] for row in evaluations}
        self.best: Summary | None = None
        for row in evaluations:
            if run.task.is_better(row, self.best):
                self.best = row

    def evaluate(self, state: TrainState, stop: Callable[[], bool]) -> Summary | None:
        """The summary of a state on the host, or None where a stop was asked for: half an evaluation is none."""
        params = jax.device_put(state.best_params, self.run.parallel.own_devices[0])
        # Of several processes each scores everything, so that all know which parameters are the best.
        batches = itertools.takewhile(lambda batch: processes.many() or not stop(), self.run.feed.eval_batches())
        figures = collect(self.score, params, batches)
        return None if stop() else self.run.task.summary(figures)

    def improves(self, step: int, summary: Summary) -> bool:
        """Takes note of an evaluation; whether none was better."""
        self.scored.add(step)
        if not self.run.task.is_better(summary, self.best):
            return False
        self.best = summary | {"step": step}
        return True

    def draw(self, step: int, state: TrainState) -> Path:
        """Writes the first held-out images as the model sees them into `pictures/`, and returns the file."""
        run = self.run
        batch = leading(run.feed.eval_batches(), run.config.eval.pictures)
        sheet = run.task.pictures(run.model, state.best_params, batch, slots_keys(batch["index"]))
        path = Path(run.workdir) / "pictures" / f"step_{step:07d}.png"
        draw.save(sheet, path)
        return path
