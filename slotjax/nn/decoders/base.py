"""What decoders have in common: what they are to a model, and how they trade memory for work."""

from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax

from slotjax.errors import UserError
from slotjax.nn.frames import Frame

PARTS = 8  # of the slots, where activations are computed again instead of kept


@runtime_checkable
class Decoder(Protocol):
    """A linen module that draws slots."""

    resolution: tuple[int, int]
    frame: Frame

    def __call__(self, slots: jax.Array) -> jax.Array:
        """slots [m, d], followed by the numbers of `frame` -> [m, h, w, c + 1]: components and, last, mask logits."""
        ...

    def check(self) -> None:
        """Raises a `UserError` for attributes that do not go together."""
        ...


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
