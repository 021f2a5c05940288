"""Models from plain fields, as configs have them: every part by its name, every field checked."""

import dataclasses
from collections import ChainMap
from collections.abc import Mapping
from typing import Any, get_type_hints

import jax.numpy as jnp

from slotjax.errors import UserError, shown
from slotjax.models.base import Model
from slotjax.models.discovery import ObjectDiscovery
from slotjax.models.set_prediction import SetPrediction
from slotjax.models.video import VideoDiscovery
from slotjax.nn.attention import SlotAttention
from slotjax.nn.backbones import BACKBONES, Backbone
from slotjax.nn.corrector import Corrector
from slotjax.nn.decoders import DECODERS, SEQUENCE_DECODERS, Decoder
from slotjax.nn.decoders.mlp import PLACE_LAYERS, PlaceLayer
from slotjax.nn.encoders import ENCODERS, Encoder
from slotjax.nn.fields import Resolution, check, choose
from slotjax.nn.frames import ATTENDED_FRAMES, FRAMES, AttendedFrame, Frame
from slotjax.nn.heads import HEADS, Head
from slotjax.nn.initializers import INITIALIZERS, GaussianSlots
from slotjax.nn.invariant import InvariantSlotAttention
from slotjax.nn.predictors import PREDICTORS, Predictor
from slotjax.nn.selections import SELECTIONS, Selection

Kinds = Mapping[str, Any]  # name -> class

ATTENTIONS: Kinds = {"slots": SlotAttention, "invariant": InvariantSlotAttention, "corrector": Corrector}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Small parts that a name says all about.
BY_NAME: dict[Any, Kinds] = {
    Frame: FRAMES,
    AttendedFrame: ATTENDED_FRAMES,
    PlaceLayer: PLACE_LAYERS,
    Selection: SELECTIONS,
}
# Of a part: what the model has for all of them.
NOT_FIELDS = ("parent", "name", "dtype", "resolution", "grid", "out_channels", "training")
PIXELS = {"name": "pixels"}  # the backbone of models that were described before there were others


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a model is made of, besides its attention: its module, and for each part a protocol and what it can be.

    Attributes:
      backbones: what makes its target, by name; none for a model that always learns from pictures.
    """

    module: type[Model]
    parts: dict[str, tuple[Any, Kinds]]
    backbones: Kinds = dataclasses.field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, Kinds]:
        """What each part, the slots' start and the backbone among them, can be by name."""
        parts = {name: kinds for name, (_, kinds) in self.parts.items()} | {"initializer": INITIALIZERS}
        return parts | ({"backbone": self.backbones} if self.backbones else {})


AUTOENCODER: dict[str, tuple[Any, Kinds]] = {"encoder": (Encoder, ENCODERS), "decoder": (Decoder, DECODERS)}
OF_PICTURES = ChainMap(SEQUENCE_DECODERS, DECODERS)  # no copy: anyone may add their own
MODELS = {
    "object_discovery": Kind(ObjectDiscovery, AUTOENCODER | {"decoder": (Decoder, OF_PICTURES)}, BACKBONES),
    "video": Kind(VideoDiscovery, AUTOENCODER | {"predictor": (Predictor, PREDICTORS)}),
    "set_prediction": Kind(SetPrediction, {"encoder": (Encoder, ENCODERS), "head": (Head, HEADS)}),
}


def build_model(config: Mapping[str, Any]) -> Model:
    """The model that `config.model` describes: a frozen linen module, equal to any other built from the same numbers.

    Args:
      config: a ConfigDict or any mapping with `resolution`, `num_slots`, `slot_dim`, and each part as its name and
        attributes, `"decoder": {"name": "mlp", "patch": 4}` say; all else has a default. `configs/` has examples.
        Sequences become tuples, so that the model hashes.

    Raises:
      UserError: a field is missing, unknown or impossible.
    """
    fields = as_fields("model", freeze(config))
    kind = choose("model.name", MODELS, fields.pop("name", "object_discovery"))
    resolution, num_slots, slot_dim = take(fields, "resolution", "num_slots", "slot_dim")
    check("model.resolution", Resolution, resolution)
    dtype = choose("model.dtype", DTYPES, fields.pop("dtype", "float32"))
    hints = own_fields(kind)
    own = {name: attribute(f"model.{name}", hints[name], fields.pop(name)) for name in hints if name in fields}
    of_parts = {"dtype": dtype, "resolution": resolution, "out_channels": kind.module.drawn(**own)}
    if kind.backbones:
        own["backbone"] = build_backbone(kind, fields.pop("backbone", PIXELS), dtype)
        of_parts |= {"resolution": drawn_grid(own["backbone"], resolution), "out_channels": own["backbone"].channels}
    parts = {
        name: build_part(f"model.{name}", kinds, take(fields, name)[0], **of_parts)
        for name, (_, kinds) in kind.parts.items()
    }
    for name, part in parts.items():
        check_part(f"model.{name}", kind.parts[name][0], part)
    start = fields.pop("initializer", {"name": "gaussian"})
    given = {"num_slots": num_slots, "slot_dim": slot_dim}
    attention = choose("model.attention", ATTENTIONS, fields.pop("attention", "slots"))
    grid = parts["encoder"].grid(of_parts["resolution"])
    attention = build_part("model", {"attention": attention}, {"name": "attention"} | given | fields, grid=grid)
    initializer = build_part("model.initializer", INITIALIZERS, start, **given)
    if initializer.takes and not kind.module.takes_cues:
        raise UserError("model.initializer.name='cues': is for model.name=video; choose gaussian or learned")
    model = kind.module(resolution=resolution, attention=attention.clone(initializer=initializer), **parts, **own)
    model.check()
    return model


def noun_of(config: Mapping[str, Any]) -> str:
    """What people call one example of the model that `config.model` describes: "image" or "video"."""
    return MODELS[config["name"]].module.noun


def build_backbone(kind: Kind, fields: Any, dtype: Any) -> Any:
    """What makes the target of a model of this kind."""
    backbone = build_part("model.backbone", kind.backbones, fields, dtype=dtype)
    check_part("model.backbone", Backbone, backbone)
    return backbone


def drawn_grid(backbone: Any, resolution: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the target; a `UserError` for a resolution that the backbone cannot take."""
    try:
        return backbone.grid(resolution)
    except UserError as error:
        raise UserError(f"model.resolution={resolution}: {error}") from None


def fields_of(model: Model) -> dict[str, Any]:
    """The fields from which `build_model` makes this model again.

    Raises:
      UserError: a model, or a part of one, that is not in the library's lists.
    """
    name = _name_of("model", model, {name: kind.module for name, kind in MODELS.items()})
    kind, attention = MODELS[name], model.attention
    start = attention.initializer or GaussianSlots(attention.slot_dim, attention.num_slots)
    fields = {"name": name, "resolution": model.resolution} | _values(attention) | _values(model, own_fields(kind))
    del fields["initializer"]
    fields["attention"] = _name_of("model.attention", attention, ATTENTIONS)
    for part, kinds in kind.kinds.items():
        if part == "initializer":
            continue
        module = getattr(model, part)
        fields[part] = {"name": _name_of(f"model.{part}", module, kinds)} | _values(module)
        if "dtype" in _fields(type(module)):
            fields["dtype"] = jnp.dtype(module.dtype).name
    own = {name: value for name, value in _values(start).items() if name not in ("num_slots", "slot_dim")}
    fields["initializer"] = {"name": _name_of("model.attention.initializer", start, INITIALIZERS)} | own
    return fields


def _name_of(where: str, part: Any, kinds: Kinds) -> str:
    for name, kind in kinds.items():
        if type(part) is kind:
            return name
    raise UserError(
        f"{where}: {type(part).__name__} is not in the library, which has {', '.join(kinds)}; add it to their list "
        "(docs/architecture.md), so that it can be built again"
    )


def _values(part: Any, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values of a part's fields as a config writes them."""
    values = {}
    for name, hint in (declared(type(part)) if fields is None else fields).items():
        value = getattr(part, name)
        values[name] = _name_of(name, value, BY_NAME[hint]) if hint in BY_NAME else value
    return values


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config.model` and the defaults of those that it leaves out, as plain values.

    What is wrong stays as it is, for `build_model` to refuse.
    """
    fields = {"dtype": "float32", "attention": "slots", "initializer": {"name": "gaussian"}, **config}
    kind = MODELS.get(fields["name"]) if isinstance(fields.get("name"), str) else None
    if kind is None:
        return fields
    if isinstance(fields["attention"], str) and fields["attention"] in ATTENTIONS:
        fields = with_attention_defaults(ATTENTIONS[fields["attention"]], fields)
    fields = defaults_of(kind.module, tuple(kind.kinds)) | fields
    if kind.backbones:
        fields.setdefault("backbone", PIXELS)
    for name, kinds in kind.kinds.items():
        part = fields.get(name)
        if isinstance(part, Mapping) and isinstance(part.get("name"), str) and part["name"] in kinds:
            given = ("num_slots", "slot_dim") if name == "initializer" else ()
            fields[name] = defaults_of(kinds[part["name"]], given) | dict(part)
    return fields


def with_attention_defaults(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the defaults of this attention; those that only another one has go, where nobody set them."""
    given = ("num_slots", "slot_dim")
    own, others = defaults_of(kind, given), {}
    for other in ATTENTIONS.values():
        others |= {name: value for name, value in defaults_of(other, given).items() if name not in own}
    return own | {name: value for name, value in fields.items() if name not in others or value != others[name]}


def own_fields(kind: Kind) -> dict[str, Any]:
    """Fields of the model itself, {name: type}: no part, and nothing that all have."""
    return {name: hint for name, hint in declared(kind.module).items() if name not in (*kind.kinds, "attention")}


def build_part(where: str, kinds: Kinds, fields: Any, **given: Any) -> Any:
    """One part by its name in `kinds`; a field that it does not have, or of a wrong type, is named in the error.

    Args:
      given: attributes that no config sets, for parts that have them.
    """
    fields = dict(as_fields(where, fields))
    kind = choose(f"{where}.name", kinds, fields.pop("name", None))
    known = {name: hint for name, hint in declared(kind).items() if name not in (*given, "initializer")}
    values = {name: value for name, value in given.items() if name in _fields(kind)}
    for name, value in fields.items():
        if name not in known:
            raise UserError(
                f"{where}.{name}={shown(value)}: {kind.__name__} has no such field; it has {', '.join(sorted(known))}"
            )
        values[name] = attribute(f"{where}.{name}", known[name], value)
    return kind(**values)


def attribute(where: str, hint: Any, value: Any) -> Any:
    """A field as its part has it: a small part by its name, or the value itself, which is checked."""
    if hint in BY_NAME:
        return choose(where, BY_NAME[hint], value)()
    check(where, hint, value)
    return value


def check_part(where: str, protocol: Any, part: Any) -> None:
    """Raises a `UserError` for a part of one's own that lacks what a model asks of it, or whose attributes clash."""
    if not isinstance(part, protocol):
        asked = [name for name in (*protocol.__annotations__, *vars(protocol)) if not name.startswith("_")]
        lacking = [name for name in asked if name not in dir(part)]
        raise UserError(
            f"{where}: {type(part).__name__} has no {', '.join(lacking)}; see {protocol.__module__}.{protocol.__name__}"
        )
    part.check()


def _fields(kind: Any) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(kind)}


def declared(kind: type) -> dict[str, Any]:
    """The fields of a module that a config can set, {name: type}."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if name in _fields(kind) and name not in NOT_FIELDS}


def defaults_of(kind: type, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The defaults of a module's fields as a config writes them; fields without one are left out."""
    defaults = {}
    for name, hint in declared(kind).items():
        value = _fields(kind)[name].default
        if value is dataclasses.MISSING or value is None or name in leave_out:
            continue
        names = {part: key for key, part in BY_NAME.get(hint, {}).items()}
        defaults[name] = names[type(value)] if names else value
    return defaults


def as_fields(where: str, value: Any) -> dict[str, Any]:
    """`value`, or a `UserError` if it is no mapping from names."""
    if not isinstance(value, dict):
        raise UserError(f"{where}={shown(value)}: must be fields by their names, as in the files in configs/")
    return value


def take(fields: dict[str, Any], *names: str) -> list[Any]:
    """Removes these fields and returns them, or raises a `UserError` for one that is missing."""
    for name in names:
        if name not in fields:
            raise UserError(f"model.{name}: is missing; see the files in configs/ for what a model needs")
    return [fields.pop(name) for name in names]


def freeze(value: Any) -> Any:
    """Mappings (ConfigDict too) to dicts and sequences to tuples, all the way down."""
    if hasattr(value, "items"):
        return {key: freeze(item) for key, item in value.items()}
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value
