"""What decoders have in common: what they are to a model, and how they trade memory for work."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.frames import Frame

PARTS = 8  # of the slots, where activations are computed again instead of kept


class Hidden(NamedTuple):
    """From what, by one last dense layer, components were made: features [*b, k, h, w, f], kernel [f, c], bias [c]."""

    features: jax.Array
    kernel: jax.Array
    bias: jax.Array


class Drawn(NamedTuple):
    """What slots drew: components [*b, k, h, w, c, q] and mask logits [*b, k, h, w, 1, q].

    h and w count square patches of q pixels, which are row by row; q is 1 where pixels are drawn one by one. Pixels
    are brought to their places when slots have been summed over, which leaves little to move. Where all slots draw the
    same, k of components is 1.

    Attributes:
      target: [*b, h, w, c], what they were to draw, pixel by pixel, where they drew only a part of it; else None.
      hidden: where q is 1 and c large, what components were made from: masks mix it at less cost.
    """

    components: jax.Array
    mask_logits: jax.Array
    target: jax.Array | None = None
    hidden: Hidden | None = None


@runtime_checkable
class Decoder(Protocol):
    """A linen module that draws slots."""

    resolution: tuple[int, int]
    frame: Frame

    def draw(self, slots: jax.Array, target: jax.Array | None, key: jax.Array | None, remat: bool) -> Drawn:
        """What slots draw.

        Args:
          slots: [*b, k, d], followed by the numbers of `frame`.
          target: [*b, h, w, c], what they are to draw, for decoders that draw one place after another; None where it is
            not known.
          key: for what is drawn at random in training: one, or one for each example; None where there is none.
          remat: the backward pass computes activations again instead of keeping them.
        """
        ...

    def in_training(self) -> Any:
        """The same decoder as it is while it learns."""
        ...

    def check(self) -> None:
        """Raises a `UserError` for attributes that do not go together."""
        ...


class SlotwiseDecoder(nn.Module):
    """A decoder that draws every slot on its own; a subclass says what one slot draws.

    That is `__call__`: slots [m, d], followed by the numbers of `frame` -> [m, h, w, c + 1], components and, last, mask
    logits; or something else that `split` takes apart.
    """

    def draw(self, slots: jax.Array, target: jax.Array | None, key: jax.Array | None, remat: bool) -> Drawn:
        """See `Decoder`."""
        del target, key
        return self.drawn(slots, remat)

    def drawn(self, slots: jax.Array, remat: bool, *others: Any) -> Drawn:
        """What slots [*b, k, d] draw; `others`, of which each has a leading axis of b * k, go to `__call__` besides."""
        own: Any = self
        flat = slots.reshape(math.prod(slots.shape[:-1]), slots.shape[-1])
        remat = remat and not self.is_initializing()
        drawn = rematerialised(self, flat, *others) if remat else own(flat, *others)
        return self.split(drawn.reshape(*slots.shape[:-1], *drawn.shape[1:]))

    def split(self, drawn: jax.Array) -> Drawn:
        """What `__call__` returns, with any axes in place of its first, apart."""
        return Drawn(drawn[..., :-1, None], drawn[..., -1:, None])

    def in_training(self) -> "SlotwiseDecoder":
        """It is the same always."""
        return self


def rematerialised(part: nn.Module, *inputs: Any, parts: int | None = None) -> jax.Array:
    """What `part`, a decoder say, makes of inputs, of which each is [m, ...] or None, in `parts` parts (or up to
    `PARTS`, as many as divide them) one after another, whose activations the backward pass recomputes.

    The same outputs and gradients for a fraction of the memory, and one more forward pass of the decoder (Chen et al.,
    2016). Recomputing alone would not lower the peak, since the backward pass would hold all activations again.
    """
    count = inputs[0].shape[0]
    parts = parts or max(n for n in range(1, PARTS + 1) if count % n == 0)
    plain, variables = part.clone(parent=None), part.variables
    apply = jax.checkpoint(plain.apply)
    pieces = jax.tree.map(lambda x: x.reshape(parts, count // parts, *x.shape[1:]), inputs)
    outputs = jax.lax.map(lambda piece: apply(variables, *piece), pieces)
    return outputs.reshape(count, *outputs.shape[2:])


def drawn_together(components: jax.Array, mask_logits: jax.Array, channels: int) -> Drawn:
    """What all slots draw together, patches [*b, 1, h, w, c * q] of c channels, and masks that are each patch's.

    mask_logits: [*b, k, h, w].
    """
    components = components.reshape(*components.shape[:-1], channels, -1)
    logits = mask_logits[..., None, None]
    return Drawn(components, jnp.broadcast_to(logits, (*mask_logits.shape, 1, components.shape[-1])))


def check_multiple(resolution: tuple[int, int], factor: int, why: str) -> None:
    """Raises a `UserError` where the decoder, whose grid is enlarged by `factor`, cannot draw `resolution`."""
    if any(size % factor for size in resolution):
        nearest = tuple(max(factor, round(size / factor) * factor) for size in resolution)
        raise UserError(
            f"model.resolution={resolution}: {why} can only reach multiples of {factor}; take {nearest}, "
            "or other strides"
        )
