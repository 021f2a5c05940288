"""What a model takes and what it returns."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import export

from slotjax.errors import UserError
from slotjax.nn.competition import Competition
from slotjax.nn.decoders.base import Drawn, Hidden
from slotjax.nn.layers import pixels, product
from slotjax.nn.partition import spread

SHUT = -1e30  # the logit of a mask that is not drawn
MOST_ABOVE = 30.0  # by how much such a slot's logit may exceed the others': its exponential stays finite


@struct.dataclass
class Output:
    """What a model returns: float32 arrays, or None for what it does not have.

    `*b` are the axes of the batch, behind which those of a video have the axis of its frames.

    Attributes:
      slots: [*b, k, d]; where the decoder's frame is each slot's own, d includes its numbers, 4 with
        `decoder.frame=slot`; see `slotjax.nn.frames`.
      attention: [*b, k, n], the last iteration's; sums to 1 over k (over n with `normalize=inputs`).
      masks: [*b, k, h, w]; sum to 1 over k.
      mask_logits: [*b, k, h, w], whose softmax over k the masks are.
      components: [*b, k, h, w, c], what each slot draws, in the units of the target (not clipped).
      reconstruction: [*b, h, w, c], the components weighted by their masks.
      target: [*b, h, w, c], what the reconstruction should be: the images themselves, or a backbone's features, which
        are of fewer rows and columns.
      start: [b, k, d], where the slots of pictures started, if that was predicted from the tokens.
      kept: [b, k], how probable it is that each slot is drawn, where the model chooses; see `slotjax.nn.selections`.
      predictions: [*b, k, p] in [0, 1], set prediction only: what each slot says of its object, laid out as
        `slotjax.data.clevr_properties.targets` says.
      slots_history: [*b, t, k, d], after each iteration.
      attention_history: [*b, t, k, n], within each iteration.
    """

    slots: jax.Array | None = None
    attention: jax.Array | None = None
    masks: jax.Array | None = None
    mask_logits: jax.Array | None = None
    components: jax.Array | None = None
    reconstruction: jax.Array | None = None
    target: jax.Array | None = None
    start: jax.Array | None = None
    kept: jax.Array | None = None
    predictions: jax.Array | None = None
    slots_history: jax.Array | None = None
    attention_history: jax.Array | None = None

    @property
    def draws_pictures(self) -> bool:
        """Whether the slots draw red, green and blue, and not features."""
        return self.components is not None and self.components.shape[-1] == 3

    def need(self, *names: str) -> list[jax.Array]:
        """These fields; a `UserError` for one that the model does not have."""
        for name in names:
            if getattr(self, name) is None:
                raise UserError(f"out.{name}: this model has none; take one that does")
        return [getattr(self, name) for name in names]


export.register_pytree_node_serialization(
    Output,
    serialized_name="slotjax.Output",
    serialize_auxdata=lambda data: b"",
    deserialize_auxdata=lambda data: (),
)


class Model(nn.Module):
    """What models have in common; a linen module that hashes, equal to another when their numbers are.

    Every model has an `encoder`, which makes tokens, and `attention`, where slots compete for them. `frozen` names the
    parts, at the top of the parameters' tree, that are not trained; `noun` is what people call one of its examples.
    """

    attention: Competition

    frozen: ClassVar[tuple[str, ...]] = ()
    noun: ClassVar[str] = "image"
    takes_cues: ClassVar[bool] = False  # whether its slots may start from them

    @property
    def inputs(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """What one example holds for it: names, shapes and dtypes, without the axes of the batch.

        The first is what `slotjax.apply` takes by position. Of a video two frames stand for any number of them.
        """
        raise NotImplementedError

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens of an image, or of a frame."""
        raise NotImplementedError

    @property
    def learns_from(self) -> tuple[str, ...]:
        """What an example holds for training besides: cues for the slots, or a target that is not among the inputs."""
        return ()

    @classmethod
    def drawn(cls, **fields: Any) -> int:
        """How many numbers a pixel has that slots draw, by the model's own fields."""
        del fields
        return 3

    def check_cues(self, cues: Any, batch: int, num_slots: int) -> Any:
        """The cues from which slots start as arrays, or a `UserError` if they are not what the model takes."""
        del batch, num_slots
        if cues is not None:
            raise UserError("cues: a model of pictures takes none; leave them out, or take a model of videos")

    def cues(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What a batch gives `slotjax.apply` besides the inputs: keywords."""
        del batch
        return {}

    def aimed(self, out: Output, batch: Mapping[str, Any]) -> Output:
        """`out` with its `target`, where that is in the batch and not among the inputs."""
        del batch
        return out

    def flows(self, out: Output) -> dict[str, jax.Array]:
        """The flows that slots draw, by their names in a batch: [*b, h, w, 2] in pixels a frame (row, column)."""
        del out
        return {}

    def colours(self, drawn: jax.Array) -> jax.Array:
        """What slots draw, [*b, h, w, c], as red, green and blue in [-1, 1] where that can be looked at."""
        return drawn

    @property
    def decoded_dim(self) -> int:
        """How many numbers a slot has for `decode`: with those of its frame, where it attends in one."""
        frame = self.attention.own_frame()
        return self.attention.slot_dim + (0 if frame is None else frame.size)

    def check(self) -> None:
        """Raises a `UserError` for parts that do not go together."""

    def pretrained(self) -> dict[str, Any]:
        """Parameters that come from a file of others, at the top of their tree; a `UserError` if it is gone."""
        return {}

    def given_features(self) -> "Model":
        """The same model that takes its backbone's features in place of pictures; a `UserError` where it has none."""
        raise UserError(
            "data.feature_cache: this model has no pretrained backbone whose features could be kept; 0 is off"
        )

    @property
    def sees_features(self) -> bool:
        """Whether slots see, and draw, features of a backbone and not pictures."""
        return False

    def target(self, images: jax.Array) -> jax.Array:
        """What slots are to draw of images."""
        return images

    def in_training(self) -> "Model":
        """The same model as it is while it learns, where something is drawn at random that is not in evaluation."""
        return self

    def encode(self, images: jax.Array) -> jax.Array:
        """What the slots compete for, [*b, n, d]."""
        raise NotImplementedError

    def decode(self, slots: jax.Array) -> Output:
        """What slots [*b, k, decoded_dim] say."""
        raise NotImplementedError

    def start(self, slots: jax.Array) -> jax.Array:
        """What attention begins with, of slots as `Output` has them, or without what is behind their `slot_dim`."""
        return slots

    def locate(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        """slots [b, k, d] and where they attend [b, k, n] -> what `decode` takes: the slots as they are, or located."""
        del attention
        return slots

    def attend_and_decode(
        self, tokens: jax.Array, slots: jax.Array | None, decode: Callable[[jax.Array], Output], **options: Any
    ) -> Output:
        """Lets slots compete for tokens [b, n, d], and decodes them: what models of single pictures have in common."""
        slots = None if slots is None else self.start(slots)
        start = None
        if self.attention.predicts_start:
            slots = start = self.attention.start(tokens, slots, options.get("key"), options.get("num_slots"))
        slots, attention, *history = self.attention(tokens, slots, **options)
        slots = self.locate(slots, attention)
        out = dataclasses.replace(decode(slots), slots=slots, attention=attention, start=start)
        if history:
            states, attention = history[0]
            states = jax.vmap(self.locate, 1, 1)(states, attention)
            out = dataclasses.replace(out, slots_history=states, attention_history=attention)
        return out


def mixed(hidden: Hidden, mask_logits: jax.Array) -> jax.Array:
    """What masks compose of slots' features, and the last layer makes of that: float32 [*b, h, w, c].

    The layer is linear and masks sum to 1, so it is what they compose of what the layer makes of each slot's.
    """
    masks = jax.nn.softmax(mask_logits, axis=-3).astype(hidden.features.dtype)
    features = jnp.einsum("...khw,...khwf->...hwf", masks, hidden.features)
    return (product(features, hidden.kernel) + hidden.bias).astype(jnp.float32)


def composed(drawn: Drawn, gates: jax.Array | None = None) -> Output:
    """Masks as a softmax over slots, and the picture they compose (Locatello et al., 2020, sec. 3.1); float32.

    Args:
      drawn: what a decoder drew.
      gates: [*b, k] of 0 and 1, at least one of them 1: masks are shared among the slots that have a 1 (AdaSlot,
        Fan et al., 2024), and gates are differentiated as if masks were multiplied with them. None: all have.
    """
    components, mask_logits = (spread(x.astype(jnp.float32), -4) for x in (drawn.components, drawn.mask_logits))
    masks = jax.nn.softmax(mask_logits, axis=-5)
    if gates is not None:
        masks, mask_logits = gated(mask_logits, gates[..., None, None, None, None])
    if components.shape[-5] == 1:  # masks sum to 1
        reconstruction = pixels(components.squeeze(-5))
    elif drawn.hidden is not None and gates is None:
        reconstruction = mixed(drawn.hidden, mask_logits[..., 0, 0])
    else:
        reconstruction = pixels((masks * components).sum(-5))
    masks, components = pixels(masks)[..., 0], pixels(components)
    return Output(
        masks=masks,
        mask_logits=pixels(mask_logits)[..., 0],
        components=jnp.broadcast_to(components, (*masks.shape, components.shape[-1])),
        reconstruction=reconstruction,
        target=drawn.target,
    )


def with_head_start(drawn: Drawn, background: float) -> Drawn:
    """What a decoder drew, with so much added to the first slot's mask logits."""
    if not background:
        return drawn
    first = jnp.arange(drawn.mask_logits.shape[-5]) == 0
    return drawn._replace(mask_logits=drawn.mask_logits + jnp.where(first, background, 0.0)[:, None, None, None, None])


def gated(mask_logits: jax.Array, gates: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The masks of the slots whose gate is 1, [*b, k, h, w, 1, q], and their logits."""
    open_logits = jnp.where(gates > 0, mask_logits, SHUT)
    highest = jax.lax.stop_gradient(open_logits.max(-5, keepdims=True))
    weights = gates * jnp.exp(jnp.minimum(mask_logits - highest, MOST_ABOVE))
    return weights / weights.sum(-5, keepdims=True), open_logits
