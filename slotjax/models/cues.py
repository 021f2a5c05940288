"""Cues: what is known of objects in a video's first frame, from which slots can start (Kipf et al., 2022, sec. 2.3)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.errors import UserError, shown
from slotjax.system import arguments

NUMBERS = {"boxes": 4, "centers": 2}  # of an object
MEANING = {"boxes": "ymin, xmin, ymax, xmax", "centers": "row, column"}
SLACK = 1e-3  # beyond the picture's edges, for those who rounded


def cues_of(takes: tuple[str, ...], boxes: jax.Array) -> dict[str, jax.Array]:
    """The cues of these names, made of the boxes [b, m, 4] of the objects in the first frame."""
    missing = (boxes < 0).any(-1, keepdims=True)
    centers = jnp.where(missing, -1.0, (boxes[..., :2] + boxes[..., 2:]) / 2)
    return {name: {"boxes": boxes, "centers": centers}[name] for name in takes}


def check_cues(cues: Any, takes: tuple[str, ...], shape: tuple[int, int, int]) -> dict[str, jax.Array] | None:
    """The cues as arrays of floats.

    Args:
      takes: what the model starts from; empty where it draws its slots.
      shape: of its slots, [b, k, d].

    Raises:
      UserError: cues that are missing, of a kind that the model does not take, of another shape, of more objects than
        there are slots, or outside the picture.
    """
    if cues is None and not takes:
        return None
    known = (*takes, "slots")
    if not isinstance(cues, Mapping) or len(cues) != 1 or next(iter(cues)) not in known:
        given = sorted(cues) if isinstance(cues, Mapping) else cues
        kinds = " or ".join(f'{{"{name}": [b, m, {NUMBERS.get(name, shape[2])}]}}' for name in known)
        start = f"starts its slots from {takes[0]}" if takes else "draws its slots"
        raise UserError(f"cues={shown(given)}: this model {start}; give cues={kinds}")
    ((name, values),) = cues.items()
    values = arguments.floats(f"cues[{name!r}]", values, "give floats")
    if name == "slots":
        if values.ndim != 3 or (values.shape[0], values.shape[2]) != (shape[0], shape[2]):
            raise UserError(f"cues['slots'] of shape {shown(values.shape)}: expected [{shape[0]}, k, {shape[2]}]")
    else:
        _check_places(name, values, *shape[:2])
    return {name: jnp.asarray(values, jnp.float32)}


def _check_places(name: str, values: Any, batch: int, num_slots: int) -> None:
    if values.ndim != 3 or (values.shape[0], values.shape[2]) != (batch, NUMBERS[name]):
        expected = f"[{batch}, m, {NUMBERS[name]}], {MEANING[name]} of each object in the first frame"
        raise UserError(f"cues[{name!r}] of shape {shown(values.shape)}: expected {expected}")
    if values.shape[1] > num_slots:
        raise UserError(
            f"cues[{name!r}] of shape {shown(values.shape)}: {values.shape[1]} objects and {num_slots} slots; give "
            f"those of {num_slots - 1} at most, as one slot is the background's, or a larger num_slots"
        )
    if isinstance(values, Tracer):
        return
    values = np.asarray(values)
    there = values[(values != -1).any(-1)]
    if there.size and not (there.min() >= -SLACK and there.max() <= 1 + SLACK):
        raise UserError(
            f"cues[{name!r}] from {there.min():g} to {there.max():g}: give {MEANING[name]} in 0..1 of the picture's "
            "height and width, not in pixels; rows of -1 where there is no object"
        )
    if name == "boxes" and (there[:, :2] > there[:, 2:]).any():
        raise UserError(f"cues['boxes']: a box ends before it begins; the order is {MEANING[name]}")
