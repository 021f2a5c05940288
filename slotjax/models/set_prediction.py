"""Set prediction: slots that each describe one object, in no order (Locatello et al., 2020, sec. 3.2)."""

from typing import Any

import flax.linen as nn
import jax

from slotjax.models.base import Output, attend_and_decode, pictures
from slotjax.nn.attention import SlotAttention
from slotjax.nn.encoders import Encoder
from slotjax.nn.heads import Head


class SetPrediction(nn.Module):
    """Names objects; see `slotjax.models.Model`."""

    resolution: tuple[int, int]
    encoder: Encoder
    attention: SlotAttention
    head: Head

    frozen = ()

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to `SlotAttention`."""
        return attend_and_decode(self, images, slots, **options)

    @property
    def inputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        return pictures(self.resolution)

    @property
    def decoded_dim(self) -> int:
        return self.attention.slot_dim

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, h, w, 3] -> tokens [b, n, d]."""
        return self.encoder(images)

    def decode(self, slots: jax.Array) -> Output:
        """slots [*b, k, d] -> predictions."""
        return Output(predictions=self.head(slots))

    def locate(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        """The slots as they are: a set has no picture to be drawn."""
        del attention
        return slots
