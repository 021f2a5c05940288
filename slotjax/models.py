"""Parts put together into a model, and what a model returns."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from slotjax.errors import UserError, shown
from slotjax.nn.attention import SlotAttention, check_options
from slotjax.nn.decoders import DECODERS
from slotjax.nn.encoders import ENCODERS
from slotjax.nn.heads import HEADS
from slotjax.nn.initializers import SLOTS
from slotjax.nn.positions import FRAME, frames

# Far beyond any use: what a file from somewhere asks for should not fill the memory while its shapes are computed.
MOST = {"resolution": 2048, "kernels": 255, "last_kernel": 255, "strides": 255, "patch": 255, "frequencies": 24}
LEAST = {"frequencies": 0, "groups": 0}
MOST_LAYERS = 64
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@struct.dataclass
class Output:
    """What a model returns: float32 arrays, or None for what it does not have.

    Attributes:
      slots: [b, k, d]; with a relative decoder [b, k, d + 4], ending in `slotjax.nn.positions.frames`.
      attention: [b, k, n], the last iteration's; sums to 1 over k.
      masks: [b, k, h, w]; sum to 1 over k.
      components: [b, k, h, w, 3], what each slot draws, in [-1, 1] like the images (not clipped).
      reconstruction: [b, h, w, 3], the components weighted by their masks.
      predictions: [b, k, 19] in [0, 1], set prediction only: what each slot says of its object, laid out as
        `slotjax.data.clevr_properties.targets` says.
      slots_history: [b, t, k, d]; attention_history: [b, t, k, n].
    """

    slots: Any = None
    attention: Any = None
    masks: Any = None
    components: Any = None
    reconstruction: Any = None
    predictions: Any = None
    slots_history: Any = None
    attention_history: Any = None


def compose(components: jax.Array, mask_logits: jax.Array) -> Output:
    """Masks as a softmax over slots, and the picture they compose (Locatello et al., 2020, sec. 3.1); float32.

    Args:
      components: [b, k, h, w, 3].
      mask_logits: [b, k, h, w].
    """
    components = components.astype(jnp.float32)
    masks = jax.nn.softmax(mask_logits.astype(jnp.float32), axis=1)
    reconstruction = (masks[..., None] * components).sum(1)
    return Output(masks=masks, components=components, reconstruction=reconstruction)


class ObjectDiscovery(nn.Module):
    """An auto-encoder with slots in its middle (Locatello et al., 2020, sec. 3.1)."""

    resolution: tuple[int, int]
    encoder: nn.Module
    attention: SlotAttention
    decoder: nn.Module

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to `SlotAttention`."""
        return attend_and_decode(self, images, slots, **options)

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, h, w, 3] -> tokens [b, n, d]."""
        return self.encoder(images)

    def decode(self, slots: jax.Array) -> Output:
        """slots [b, k, d], as `Output` has them -> components, masks and reconstruction."""
        batch, num_slots, dim = slots.shape
        pictures = self.decoder(slots.reshape(-1, dim))
        pictures = pictures.reshape(batch, num_slots, *pictures.shape[1:])
        return compose(pictures[..., :3], pictures[..., 3])

    def located(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        """slots [b, k, d] and where they attend [b, k, n] -> what `decode` takes."""
        if not self.relative:
            return slots
        return jnp.concatenate([slots, frames(attention, *self.encoder.grid(self.resolution))], axis=-1)

    @property
    def decoded_dim(self) -> int:
        """How many numbers a slot has for `decode`."""
        return self.attention.slot_dim + FRAME * self.relative

    @property
    def relative(self) -> bool:
        """Whether the decoder draws a slot around where it attends."""
        return getattr(self.decoder, "relative", False)


class SetPrediction(nn.Module):
    """Slots that each describe one object of a set, in no order (Locatello et al., 2020, sec. 3.2)."""

    resolution: tuple[int, int]
    encoder: nn.Module
    attention: SlotAttention
    head: nn.Module

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to `SlotAttention`."""
        return attend_and_decode(self, images, slots, **options)

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, h, w, 3] -> tokens [b, n, d]."""
        return self.encoder(images)

    def decode(self, slots: jax.Array) -> Output:
        """slots [b, k, d] -> predictions."""
        return Output(predictions=self.head(slots))

    def located(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        """The slots as they are: a set has no picture to be drawn."""
        return slots

    @property
    def decoded_dim(self) -> int:
        """How many numbers a slot has for `decode`."""
        return self.attention.slot_dim


def attend_and_decode(model: Any, images: jax.Array, slots: jax.Array | None, **options: Any) -> Output:
    """Encodes, lets slots compete, decodes: what every model has in common."""
    if slots is not None and slots.shape[-1] == model.decoded_dim:
        slots = slots[..., : model.attention.slot_dim]  # where they attend is found anew
    slots, attention, *history = model.attention(model.encode(images), slots, **options)
    slots = model.located(slots, attention)
    out = dataclasses.replace(model.decode(slots), slots=slots, attention=attention)
    if history:
        states, attention = history[0]
        states = jax.vmap(model.located, 1, 1)(states, attention)
        out = dataclasses.replace(out, slots_history=states, attention_history=attention)
    return out


def build_model(config: Mapping[str, Any]) -> nn.Module:
    """The model that `config.model` describes: a frozen linen module, equal to any other built from the same numbers.

    Args:
      config: a ConfigDict or any mapping; sequences become tuples, so that the model hashes.

    Raises:
      UserError: a field is missing, unknown or impossible.
    """
    fields = as_fields("model", freeze(config))
    name = fields.pop("name", "object_discovery")
    return choose("model.name", MODELS, name)(fields)


def build_object_discovery(fields: dict[str, Any]) -> ObjectDiscovery:
    """`ObjectDiscovery` from plain fields (see `configs/clevr.py` for what they are)."""
    resolution, encoder, decoder = take(fields, "resolution", "encoder", "decoder")
    check_field("model.resolution", tuple[int, int], resolution)
    dtype = choose("model.dtype", DTYPES, fields.pop("dtype", "float32"))
    encoder = build_part("model.encoder", ENCODERS, encoder, dtype=dtype)
    encoder.check()
    decoder = build_part("model.decoder", DECODERS, decoder, dtype=dtype, resolution=resolution)
    decoder.check()
    return ObjectDiscovery(resolution, encoder, build_attention(fields), decoder)


def build_set_prediction(fields: dict[str, Any]) -> SetPrediction:
    """`SetPrediction` from plain fields (see `configs/clevr_set.py` for what they are)."""
    resolution, encoder, head = take(fields, "resolution", "encoder", "head")
    check_field("model.resolution", tuple[int, int], resolution)
    dtype = choose("model.dtype", DTYPES, fields.pop("dtype", "float32"))
    encoder = build_part("model.encoder", ENCODERS, encoder, dtype=dtype)
    encoder.check()
    head = build_part("model.head", HEADS, head, dtype=dtype)
    return SetPrediction(resolution, encoder, build_attention(fields), head)


def build_attention(fields: dict[str, Any]) -> SlotAttention:
    """`SlotAttention` from the model's own fields."""
    num_slots, slot_dim = take(fields, "num_slots", "slot_dim")
    start = as_fields("model.initializer", fields.pop("initializer", {"name": "gaussian"}))
    fields = {**fields, "name": "slot_attention", "num_slots": num_slots, "slot_dim": slot_dim}
    attention = build_part("model", {"slot_attention": SlotAttention}, fields)
    check_options(attention.num_iterations, attention.normalize, attention.update, attention.gradient)
    own = {"num_slots": num_slots} if start.get("name") == "learned" else {}
    initializer = build_part("model.initializer", SLOTS, start, slot_dim=slot_dim, **own)
    return attention.clone(initializer=initializer)


def build_part(where: str, kinds: Mapping[str, type], fields: Any, **given: Any) -> Any:
    """One part by its name in `kinds`; a field that it does not have, or of a wrong type, is named in the error."""
    fields = dict(as_fields(where, fields))
    kind = choose(f"{where}.name", kinds, fields.pop("name", None))
    known = {name: hint for name, hint in get_type_hints(kind).items() if name in kind.__dataclass_fields__}
    known = {name: hint for name, hint in known.items() if name not in ("parent", "name", *given)}
    for name, value in fields.items():
        if name not in known:
            raise UserError(
                f"{where}.{name}={shown(value)}: {kind.__name__} has no such field; it has {', '.join(sorted(known))}"
            )
        check_field(f"{where}.{name}", known[name], value)
    part = kind(**fields, **given)
    lengths = {name: len(getattr(part, name)) for name in ("channels", "kernels", "strides") if hasattr(part, name)}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: {lengths} are the numbers of layers; give each as many entries")
    return part


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


def check_field(where: str, hint: Any, value: Any) -> None:
    """Raises a `UserError` for a number, flag or tuple of numbers that is not one, or that nobody can mean."""
    if hint is int:
        check_count(where, value)
    elif hint is bool and not isinstance(value, bool):
        raise UserError(f"{where}={shown(value)}: must be True or False")
    elif get_origin(hint) is tuple:
        size = None if ... in get_args(hint) else len(get_args(hint))
        if not isinstance(value, tuple) or size not in (None, len(value)) or len(value) > MOST_LAYERS:
            wanted = size or f"up to {MOST_LAYERS}"
            raise UserError(f"{where}={shown(value)}: must be {wanted} whole numbers")
        for number in value:
            check_count(where, number)


def check_count(where: str, value: Any) -> None:
    """Raises a `UserError` for what is no whole number in the field's range (see `MOST`)."""
    name = where.rpartition(".")[2]
    least, most = LEAST.get(name, 1), MOST.get(name, 2**14)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{where}={shown(value)}: must be a whole number")
    if value < least:
        raise UserError(f"{where}={value}: must be at least {least}")
    if value > most:
        raise UserError(f"{where}={value}: must be at most {most}")


def choose(where: str, choices: Mapping[str, Any], name: Any) -> Any:
    """The entry called `name`, or a `UserError` that lists what there is."""
    if not isinstance(name, str) or name not in choices:
        raise UserError(f"{where}={shown(name)}: choose one of {', '.join(choices)}")
    return choices[name]


def freeze(value: Any) -> Any:
    """Mappings (ConfigDict too) to dicts and sequences to tuples, all the way down."""
    if hasattr(value, "items"):
        return {key: freeze(item) for key, item in value.items()}
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


MODELS = {"object_discovery": build_object_discovery, "set_prediction": build_set_prediction}
