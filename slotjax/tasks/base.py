"""What a task is to training, evaluation and reports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.api import STATIC, apply
from slotjax.models import Model, Output

Batch = Mapping[str, Any]
Figures = Mapping[str, np.ndarray]  # of every image: {figure: [n, ...]}, NaN where an image has none
Summary = dict[str, Any]  # over all images: {figure: number or None}, with `num_images`


def answer(model: Model, params: Any, batch: Batch, keys: jax.Array, **options: Any) -> Output:
    """What the model makes of a batch, with the cues and the target that the batch has for it."""
    first, *others = model.inputs
    given = {name: batch[name] for name in others} | model.cues(batch) | options
    return model.aimed(apply(model, params, batch[first], keys, **given), batch)


jitted_answer = jax.jit(answer, static_argnames=STATIC)


@dataclass(frozen=True)
class Condition:
    """A trained model scored under other conditions than it was trained in: one pass over held-out images.

    Attributes:
      config: which images; all but its data are the run's.
      options: of the task's `scores`.
      rows: the pass's figures -> {title: figures of this row of the table}.
    """

    config: ConfigDict
    rows: Callable[[Figures], dict[str, Figures]]
    options: dict[str, Any] = field(default_factory=dict)


class Task(Protocol):
    """A module: what models are trained for, how that is scored, and how it is drawn.

    Attributes:
      LOSSES: {loss: weight} by default; a config can give the others a weight.
      TARGETS: what training needs of a batch besides the model's inputs; "objects" is a dict of arrays of its own.
      HEADLINES: the figures that one looks for first.
      BASELINES: methods of clustering pixels that it can be compared with.
      TITLES: {figure: what people call it}, in the order in which they are shown.
      NEXT: what to run after training, to be formatted with the workdir and the name of an `example`, as IMAGE.
    """

    LOSSES: Mapping[str, float]
    TARGETS: tuple[str, ...]
    HEADLINES: tuple[str, ...]
    BASELINES: tuple[str, ...]
    TITLES: Mapping[str, str]
    NEXT: tuple[str, ...]

    def check(self, config: ConfigDict, example: Mapping[str, Any]) -> None:
        """Raises a `UserError` where the data (shapes of one example) do not serve the task."""
        ...

    def scores(
        self, model: Model, params: Any, batch: Batch, keys: jax.Array, num_true: int | None, **options: Any
    ) -> dict[str, jax.Array]:
        """Figures, or whatever the summary needs, for each image; `options` are those of `slotjax.apply`."""
        ...

    def summary(self, figures: Figures) -> Summary:
        """Over the whole evaluation set."""
        ...

    def is_better(self, candidate: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
        """Which of two summaries is of the better parameters."""
        ...

    def conditions(self, config: ConfigDict) -> list[Condition]:
        """Under which other conditions a trained model is evaluated."""
        ...

    def table(self, result: Mapping[str, Any], further: Mapping[str, Mapping[str, Any]], noun: str = "image") -> str:
        """How an evaluation of images, or videos, and further ones by their titles, read."""
        ...

    def collapse(self, summary: Mapping[str, Any]) -> str | None:
        """What to say, during training too, when the slots do not share the work."""
        ...

    def suspicion(self, summary: Mapping[str, Any]) -> str | None:
        """What to say when the figures look better than the result is."""
        ...

    def pictures(self, model: Model, params: Any, batch: Batch, keys: jax.Array) -> np.ndarray:
        """A contact sheet, uint8 [h, w, 3]."""
        ...

    def panels(self, batch: Batch, out: Output) -> dict[str, np.ndarray]:
        """What a report shows besides what slots draw: {"truth" or "predicted": uint8 [b, h, w, 3]}."""
        ...
