"""Parts put together into a model, and what a model returns."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from slotjax.errors import UserError
from slotjax.nn.attention import SlotAttention, check_options
from slotjax.nn.decoders import DECODERS
from slotjax.nn.encoders import ENCODERS
from slotjax.nn.heads import HEADS
from slotjax.nn.slots import SLOTS

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@struct.dataclass
class Output:
    """What a model returns: float32 arrays, or None for what it does not have.

    Attributes:
      slots: [b, k, d].
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
        """slots [b, k, d] -> components, masks and reconstruction."""
        batch, num_slots, dim = slots.shape
        pictures = self.decoder(slots.reshape(-1, dim))
        pictures = pictures.reshape(batch, num_slots, *pictures.shape[1:])
        return compose(pictures[..., :3], pictures[..., 3])


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


def attend_and_decode(model: Any, images: jax.Array, slots: jax.Array | None, **options: Any) -> Output:
    """Encodes, lets slots compete, decodes: what every model has in common."""
    slots, attention, *history = model.attention(model.encode(images), slots, **options)
    out = dataclasses.replace(model.decode(slots), slots=slots, attention=attention)
    if history:
        states, attention = history[0]
        out = dataclasses.replace(out, slots_history=states, attention_history=attention)
    return out


def build_model(config: Mapping[str, Any]) -> nn.Module:
    """The model that `config.model` describes: a frozen linen module, equal to any other built from the same numbers.

    Args:
      config: a ConfigDict or any mapping; sequences become tuples, so that the model hashes.

    Raises:
      UserError: a field is missing, unknown or impossible.
    """
    fields = freeze(config)
    name = fields.pop("name", "object_discovery")
    return choose("model.name", MODELS, name)(fields)


def build_object_discovery(fields: dict[str, Any]) -> ObjectDiscovery:
    """`ObjectDiscovery` from plain fields (see `configs/clevr.py` for what they are)."""
    resolution = fields.pop("resolution")
    dtype = choose("model.dtype", DTYPES, fields.pop("dtype", "float32"))
    encoder = build_part("model.encoder", ENCODERS, fields.pop("encoder"), dtype=dtype)
    decoder = build_part("model.decoder", DECODERS, fields.pop("decoder"), dtype=dtype, resolution=resolution)
    decoder.check()
    return ObjectDiscovery(resolution, encoder, build_attention(fields), decoder)


def build_set_prediction(fields: dict[str, Any]) -> SetPrediction:
    """`SetPrediction` from plain fields (see `configs/clevr_set.py` for what they are)."""
    resolution = fields.pop("resolution")
    dtype = choose("model.dtype", DTYPES, fields.pop("dtype", "float32"))
    encoder = build_part("model.encoder", ENCODERS, fields.pop("encoder"), dtype=dtype)
    head = build_part("model.head", HEADS, fields.pop("head"), dtype=dtype)
    return SetPrediction(resolution, encoder, build_attention(fields), head)


def build_attention(fields: dict[str, Any]) -> SlotAttention:
    """`SlotAttention` from the model's own fields."""
    for name in ("num_slots", "num_iterations", "slot_dim", "mlp_dim"):
        if fields.get(name, 1) < 1:
            raise UserError(f"model.{name}={fields[name]}: must be at least 1")
    start = fields.pop("initializer", {"name": "gaussian"})
    own = {"num_slots": fields["num_slots"]} if start["name"] == "learned" else {}
    initializer = build_part("model.initializer", SLOTS, start, slot_dim=fields["slot_dim"], **own)
    attention = build_part("model", {"slot_attention": SlotAttention}, {"name": "slot_attention", **fields})
    check_options(attention.num_iterations, attention.normalize, attention.update, attention.gradient)
    return attention.clone(initializer=initializer)


def build_part(where: str, kinds: Mapping[str, type], fields: Mapping[str, Any], **given: Any) -> Any:
    """One part by its name in `kinds`; a field that it does not have is named in the error."""
    fields = dict(fields)
    kind = choose(f"{where}.name", kinds, fields.pop("name", None))
    known = set(kind.__dataclass_fields__) - {"parent", "name"} - set(given)
    for name, value in fields.items():
        if name not in known:
            raise UserError(
                f"{where}.{name}={value!r}: {kind.__name__} has no such field; it has {', '.join(sorted(known))}"
            )
    return kind(**fields, **given)


def choose(where: str, choices: Mapping[str, Any], name: Any) -> Any:
    """The entry called `name`, or a `UserError` that lists what there is."""
    if name not in choices:
        raise UserError(f"{where}={name!r}: choose one of {', '.join(choices)}")
    return choices[name]


def freeze(value: Any) -> Any:
    """Mappings (ConfigDict too) to dicts and sequences to tuples, all the way down."""
    if hasattr(value, "items"):
        return {key: freeze(item) for key, item in value.items()}
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


MODELS = {"object_discovery": build_object_discovery, "set_prediction": build_set_prediction}
