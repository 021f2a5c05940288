"""Set prediction: name every object's place and properties, in no order (Locatello et al., 2020, sec. 3.2)."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.api import decode, jitted_apply
from slotjax.data import clevr_properties
from slotjax.data.clevr_properties import REAL, targets
from slotjax.data.scenes import SCENES
from slotjax.drawing import objects as draw
from slotjax.errors import UserError
from slotjax.losses.sets import matched_huber
from slotjax.metrics.average_precision import THRESHOLDS, average_precision
from slotjax.models import Model, Output
from slotjax.tasks.base import Batch, Condition, Figures, Summary, answer

LOSSES = {"set": 1.0}
TARGETS = ("objects",)
HEADLINES = ("ap_inf", "ap_1", "set_loss")
BASELINES = ()
NEXT = ("evaluate --workdir {workdir}",)
AP = {f"ap_{threshold:g}": threshold for threshold in THRESHOLDS}  # ap_inf, ap_1, ap_0.5, ap_0.25, ap_0.125
TITLES = {name: f"AP@{threshold:g}" for name, threshold in AP.items()} | {"set_loss": "set loss"}
PAPER = dict(zip(AP, (0.943, 0.867, 0.56, 0.108, 0.009), strict=True))  # CLEVR10 after 150,000 steps; table 3 there
STUDIED_OBJECTS = (6, 8, 10)  # figure 5, right: scenes of exactly so many, with as many slots
STUDIED_ITERATIONS = 7  # figure 5, middle: up to so many


def check(config: ConfigDict, example: Mapping[str, Any]) -> None:
    """Refuses data without objects, without their properties, or with more of them than there are slots."""
    where = f"data.name={config.data.name!r}"
    if "objects" not in example:
        raise UserError(f"{where}: says nothing of objects, which set prediction learns; {_REMEDY}")
    if names := clevr_properties.missing(example["objects"]):
        raise UserError(f"{where}: its objects have no {', '.join(names)}; {_REMEDY}")
    most = example["objects"]["present"].shape[0]
    rendered = config.data.name in SCENES
    field = "data.options.max_objects" if rendered else "data.max_objects"
    if not rendered:
        most = min(most, config.data.max_objects or most)
    if most > config.model.num_slots:
        raise UserError(
            f"model.num_slots={config.model.num_slots}: the scenes hold up to {most} objects, and each needs a slot; "
            f"set model.num_slots={most} or {field}={config.model.num_slots}"
        )


_REMEDY = "choose clevr, clevr_tfds or clevr_with_masks"


def scores(
    model: Model, params: Any, batch: Batch, keys: jax.Array, num_true: int | None, **options: Any
) -> dict[str, jax.Array]:
    """For each image `set_loss` [b], and what average precision is computed from over all images.

    That is `predictions` [b, k, 19] (with `return_history` [b, t, k, 19], after every iteration) and `targets`
    [b, m, 19], where m is the larger of the number of slots and of what a scene can hold.
    """
    del num_true
    out = answer(model, params, batch, keys, **options)
    (predictions,), objects = out.need("predictions"), batch["objects"]
    truth = targets(objects, max(predictions.shape[1], objects["present"].shape[1]))
    value = matched_huber(predictions, truth)
    if out.slots_history is not None:
        predictions = jax.vmap(lambda slots: decode(model, params, slots).need("predictions")[0])(out.slots_history)
    return {"set_loss": value, "predictions": predictions, "targets": truth}


def summary(figures: Figures) -> Summary:
    """Average precision at the paper's thresholds (None without objects) and the mean loss over all images."""
    predictions, truth = figures["predictions"], figures["targets"]
    means: dict[str, Any] = {name: average_precision(predictions, truth, limit) for name, limit in AP.items()}
    loss = float(np.mean(figures["set_loss"], dtype=np.float64)) if len(truth) else np.nan
    means["set_loss"] = loss if np.isfinite(loss) else None
    return means | {"num_images": len(truth), "num_objects": int(truth[..., REAL].sum())}


def is_better(candidate: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Higher mean of the average precisions; of equals, the lower loss."""
    return best is None or _quality(candidate) > _quality(best)


def _quality(figures: Mapping[str, Any]) -> tuple[float, float]:
    loss = np.inf if figures["set_loss"] is None else figures["set_loss"]
    return float(np.mean([figures[name] or 0.0 for name in AP])), -loss


def conditions(config: ConfigDict) -> list[Condition]:
    """As in the paper's figure 5: scenes of exactly 6, 8 and 10 objects, and 1 to 7 iterations."""
    learned = config.model.get("initializer", {}).get("name") == "learned"  # has no starts for further slots
    counts = [count for count in STUDIED_OBJECTS if not learned or count <= config.model.num_slots]
    crowded = copy.deepcopy(config)
    crowded.model.num_slots = max(STUDIED_OBJECTS)
    if config.data.name == "clevr":  # stored scenes are what they are: those with so many objects are picked
        crowded.data.options.update(min_objects=min(STUDIED_OBJECTS), max_objects=max(STUDIED_OBJECTS))
    of_objects = [Condition(crowded, partial(_exactly, count=count), {"num_slots": count}) for count in counts]
    every = {"num_iterations": STUDIED_ITERATIONS, "return_history": True}
    return [*of_objects, Condition(config, _each_iteration, every)]


def _exactly(figures: Figures, count: int) -> dict[str, Figures]:
    chosen = figures["targets"][..., REAL].sum(1) == count
    return {f"{count} objects": {name: values[chosen] for name, values in figures.items()}}


def _each_iteration(figures: Figures) -> dict[str, Figures]:
    # The loss was taken after the last iteration only.
    rest = dict(figures, set_loss=np.full(len(figures["targets"]), np.nan))
    return {
        f"{t + 1} iteration{'s' if t else ''}": rest | {"predictions": figures["predictions"][:, t]}
        for t in range(figures["predictions"].shape[1])
    }


def table(result: Mapping[str, Any], further: Mapping[str, Mapping[str, Any]], noun: str = "image") -> str:
    """Average precision in percent, beside the paper's, then one line for each study."""
    del noun
    rows = {"": None, "this model": result, "paper, CLEVR10": PAPER, **further}
    return "\n".join(_row(title, figures) for title, figures in rows.items())


def _row(title: str, figures: Mapping[str, Any] | None) -> str:
    """One line of the table; without figures its head."""
    if figures is None:
        cells = ["AP@inf", *(f"AP@{limit:g}" for limit in THRESHOLDS[1:])]
    else:
        cells = ["-" if figures[name] is None else f"{100 * figures[name]:.1f}" for name in AP]
    images = f"  {figures['num_images']:5} images" if figures and "num_images" in figures else ""
    return f"  {title:16}" + "".join(f"{cell:>10}" for cell in cells) + images


def collapse(summary: Mapping[str, Any]) -> str | None:
    """Nothing is looked for: slots that are alike show in average precision."""


def suspicion(summary: Mapping[str, Any]) -> str | None:
    """Nothing known fools average precision."""


def pictures(model: Model, params: Any, batch: Batch, keys: jax.Array) -> np.ndarray:
    """A row for each image: the picture, the true objects drawn on it, and the predicted ones."""
    predictions = jitted_apply(model, params, batch["image"], keys).predictions
    return draw.sheet(batch["image"], predictions, batch["objects"])


def panels(batch: Batch, out: Output) -> dict[str, np.ndarray]:
    """The true and the predicted objects, drawn on the pictures."""
    truth, predicted = draw.drawn(batch["image"], np.asarray(out.predictions), batch["objects"])
    return {"truth": truth, "predicted": predicted}
