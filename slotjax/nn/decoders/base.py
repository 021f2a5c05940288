"""What decoders have in common: what they are to a model, and how they trade memory for work."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax

from slotjax.errors import UserError
from slotjax.nn.frames import Frame

PARTS = 8  # of the slots, where activations are computed again instead of kept


class Drawn(NamedTuple):
    """What slots drew: components [*b, k, h, w, c] and mask logits [*b, k, h, w]."""

    components: jax.Array
    mask_logits: jax.Array


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
    logits.
    """

    def draw(self, slots: jax.Array, target: jax.Array | None, key: jax.Array | None, remat: bool) -> Drawn:
        """See `Decoder`."""
        del target, key
        own: Any = self
        flat = slots.reshape(math.prod(slots.shape[:-1]), slots.shape[-1])
        drawn = rematerialised(self, flat) if remat and not self.is_initializing() else own(flat)
        drawn = drawn.reshape(*slots.shape[:-1], *drawn.shape[1:])
        return Drawn(drawn[..., :-1], drawn[..., -1])

    def in_training(self) -> "SlotwiseDecoder":
        """It is the same always."""
        return self


def rematerialised(part: nn.Module, inputs: jax.Array, parts: int | None = None) -> jax.Array:
    """What `part`, a decoder say, makes of inputs [m, ...] in `parts` parts (or up to `PARTS`, as many as divide them)
    one after another, whose activations the backward pass recomputes.

    The same outputs and gradients for a fraction of the memory, and one more forward pass of the decoder (Chen et al.,
    2016). Recomputing alone would not lower the peak, since the backward pass would hold all activations again.
    """
    count = inputs.shape[0]
    parts = parts or max(n for n in range(1, PARTS + 1) if count % n == 0)
    plain, variables = part.clone(parent=None), part.variables
    apply = jax.checkpoint(plain.apply)
    outputs = jax.lax.map(lambda x: apply(variables, x), inputs.reshape(parts, count // parts, *inputs.shape[1:]))
    return outputs.reshape(count, *outputs.shape[2:])


def check_multiple(resolution: tuple[int, int], factor: int, why: str) -> None:
    """Raises a `UserError` where the decoder, whose grid is enlarged by `factor`, cannot draw `resolution`."""
    if any(size % factor for size in resolution):
        nearest = tuple(max(factor, round(size / factor) * factor) for size in resolution)
        raise UserError(
            f"model.resolution={resolution}: {why} can only reach multiples of {factor}; take {nearest}, "
            "or other strides"
        )
