"""A trained model from whose masks another one learns: SPOT's second stage (Kakogeorgiou et al., 2024, sec. 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from slotjax.api import apply
from slotjax.errors import UserError
from slotjax.models import Model, build_model
from slotjax.models.build import fields_of
from slotjax.models.discovery import ObjectDiscovery
from slotjax.training.restore import load
from slotjax.training.state import TrainState

TEACHER = "teacher"  # its parameters, among those of the state that are not trained


@dataclass(frozen=True)
class Teacher:
    """A model that takes what the student's slots are to draw, so that no backbone runs twice, and its parameters."""

    model: Model
    params: Any

    def beside(self, state: TrainState) -> TrainState:
        """The state with the teacher's parameters: neither trained, averaged nor saved."""
        return replace(state, frozen={**state.frozen, TEACHER: self.params})

    def masks(self, params: Mapping[str, Any], target: jax.Array, keys: jax.Array) -> jax.Array:
        """The teacher's masks, [b, k, h, w], of what the student's slots are to draw, [b, h, w, c].

        Args:
          params: the state's; those of the teacher are under `TEACHER`.
          keys: draw its slots.
        """
        (masks,) = apply(self.model, params[TEACHER], target, keys).need("masks")
        return jax.lax.stop_gradient(masks)


def open_teacher(config: ConfigDict) -> Teacher | None:
    """The teacher that `train.teacher` names, if any.

    Raises:
      UserError: there is none of that name, or its masks are not of the slots and places by which the student attends.
    """
    name = config.train.teacher
    if not name:
        return None
    where, student = f"train.teacher={name}", build_model(config.model)
    try:
        model, params = load(name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not (isinstance(model, ObjectDiscovery) and isinstance(student, ObjectDiscovery)):
        raise UserError(f"{where}: both runs must be of model.name=object_discovery; train one of these")
    slots, own = model.attention.num_slots, student.attention.num_slots
    if slots != own:
        raise UserError(f"{where}: has {slots} slots, not model.num_slots={own}; set it to {slots}")
    if _eyes(model) != _eyes(student):
        raise UserError(f"{where}: sees by another model.backbone; give this run the same weights and layer")
    drawn, attended = model.decoder.resolution, student.encoder.grid(student.decoder.resolution)
    if tuple(drawn) != tuple(attended):
        raise UserError(
            f"{where}: its masks are of {drawn[0]}x{drawn[1]} places, and attention here is of {attended[0]}x"
            f"{attended[1]}; take the same model.resolution, and an encoder that keeps every place, as of features"
        )
    taught = model.given_features() if model.sees_features else model
    return Teacher(taught, jax.tree.map(jnp.asarray, {key: x for key, x in params.items() if key not in model.frozen}))


def _eyes(model: Model) -> dict[str, Any]:
    """What its backbone is; the file may lie elsewhere."""
    return {name: value for name, value in fields_of(model)["backbone"].items() if name != "weights"}
