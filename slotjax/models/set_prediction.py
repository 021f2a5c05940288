"""Set prediction: slots that each describe one object, in no order (Locatello et al., 2020, sec. 3.2)."""

from typing import Any

import jax
import jax.numpy as jnp

from slotjax.models.base import Model, Output
from slotjax.nn.encoders import Encoder
from slotjax.nn.heads import Head


class SetPrediction(Model):
    """Names objects; see `slotjax.models.Model`."""

    resolution: tuple[int, int]
    encoder: Encoder
    head: Head

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to `SlotAttention`."""
        return self.attend_and_decode(self.encode(images), slots, self.decode, **options)

    @property
    def inputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {"image": jax.ShapeDtypeStruct((*self.resolution, 3), jnp.float32)}

    @property
    def token_grid(self) -> tuple[int, int]:
        return self.encoder.grid(self.resolution)

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, h, w, 3] -> tokens [b, n, d]."""
        return self.encoder(images)

    def decode(self, slots: jax.Array) -> Output:
        """slots [*b, k, d] -> predictions."""
        return Output(predictions=self.head(slots))
