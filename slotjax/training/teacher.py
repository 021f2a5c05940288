"""A trained network that another one learns from: from its masks, or through its eyes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from slotjax import weights
from slotjax.api import apply, encode, features
from slotjax.errors import UserError
from slotjax.models import Model, Output, build_model
from slotjax.models.build import fields_of
from slotjax.models.discovery import ObjectDiscovery
from slotjax.nn.backbones import load_backbone
from slotjax.training.restore import load
from slotjax.training.state import TrainState

TEACHER = "teacher"  # its parameters, among those of the state that are not trained


@dataclass(frozen=True)
class Teacher:
    """Frozen parameters, and what a loss finds in the batch because of them.

    Attributes:
      params: of the teacher.
      lesson: (params, target, out, keys) -> arrays by name: what the student's slots are to draw, [b, h, w, c], whole;
        what the student made of it, and the keys that drew its slots.
    """

    params: Any
    lesson: Callable[[Any, jax.Array, Output, jax.Array], dict[str, jax.Array]]

    def beside(self, state: TrainState) -> TrainState:
        """The state with the teacher's parameters: neither trained, averaged nor saved."""
        return replace(state, frozen={**state.frozen, TEACHER: self.params})

    def teach(self, params: Mapping[str, Any], target: jax.Array, out: Output, keys: jax.Array) -> dict[str, jax.Array]:
        """Its lesson by a state's parameters, among which the teacher's are."""
        return self.lesson(params[TEACHER], target, out, keys)


def open_teacher(config: ConfigDict) -> Teacher | None:
    """The teacher that `train.teacher` names, if any.

    Raises:
      UserError: there is none of that name, or it cannot teach this student.
    """
    name = config.train.teacher
    if not name:
        return None
    student = build_model(config.model)
    try:
        return through_its_eyes(name, student) if config.train.losses.get("perceptual") else by_its_masks(name, student)
    except UserError as error:
        raise UserError(f"train.teacher={name}: {error}") from None


def by_its_masks(name: str, student: Model) -> Teacher:
    """A run, or a file of its weights, whose masks the loss `distillation` learns from: SPOT's second stage
    (Kakogeorgiou et al., 2024, sec. 3.1). It takes what the student is to draw, so that no backbone runs twice.
    """
    model, params = load(name)
    if not (isinstance(model, ObjectDiscovery) and isinstance(student, ObjectDiscovery)):
        raise UserError("both runs must be of model.name=object_discovery; train one of these")
    slots, own = model.attention.num_slots, student.attention.num_slots
    if slots != own:
        raise UserError(f"has {slots} slots, not model.num_slots={own}; set it to {slots}")
    if _eyes(model) != _eyes(student):
        raise UserError("sees by another model.backbone; give this run the same weights and layer")
    drawn, attended = model.decoder.resolution, student.encoder.grid(student.decoder.resolution)
    if tuple(drawn) != tuple(attended):
        raise UserError(
            f"its masks are of {drawn[0]}x{drawn[1]} places, and attention here is of {attended[0]}x"
            f"{attended[1]}; take the same model.resolution, and an encoder that keeps every place, as of features"
        )
    taught = model.given_features() if model.sees_features else model
    params = {key: x for key, x in params.items() if key not in model.frozen}

    def masks(params: Any, target: jax.Array, out: Output, keys: jax.Array) -> dict[str, jax.Array]:
        (masks,) = apply(taught, params, target, keys).need("masks")
        return {"teacher_masks": jax.lax.stop_gradient(masks)}

    return Teacher(jax.tree.map(jnp.asarray, params), masks)


def through_its_eyes(name: str, student: Model) -> Teacher:
    """A network by whose features the loss `perceptual` compares pictures: the encoder of a run of pictures, or of its
    weights, or a vision transformer from a .safetensors file (`slotjax.load_backbone`).
    """
    decoder: Any = student.decoder if isinstance(student, ObjectDiscovery) else None
    if decoder is None or student.sees_features:
        raise UserError("train.losses.perceptual is for model.name=object_discovery that draws pixels; set it to 0")
    if getattr(decoder, "sample", 1) > 1:
        raise UserError(f"model.decoder.sample={decoder.sample}: it looks at whole pictures; set it to 1")
    resolution = student.resolution
    if weights.of_backbone(name):
        backbone, params = load_backbone(name)
        backbone.grid(resolution)  # refuses a resolution that it cannot take
        look = partial(features, backbone)
    else:
        model, params = load(name)
        if not isinstance(model, ObjectDiscovery):
            raise UserError("only the encoder of a run of model.name=object_discovery can look at pictures; name one")
        looked_at, own = tuple(model.resolution), tuple(resolution)
        if looked_at != own:
            raise UserError(f"looks at pictures of {looked_at}, not model.resolution={own}; set it to {looked_at}")
        look = partial(encode, model)

    def seen(params: Any, target: jax.Array, out: Output, keys: jax.Array) -> dict[str, jax.Array]:
        (drawn,) = out.need("reconstruction")
        return {"teacher_features": look(params, drawn), "teacher_target": look(params, target)}

    return Teacher(params, seen)


def _eyes(model: Model) -> dict[str, Any]:
    """What its backbone is; the file may lie elsewhere."""
    return {name: value for name, value in fields_of(model)["backbone"].items() if name != "weights"}
