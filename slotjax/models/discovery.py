"""Object discovery: an auto-encoder with slots in its middle (Locatello et al., 2020, sec. 3.1)."""

import dataclasses
import math
from typing import Any, cast

import jax

from slotjax.errors import UserError
from slotjax.models.base import Model, Output, compose, pictures
from slotjax.nn.decoders import Decoder
from slotjax.nn.decoders.base import rematerialised
from slotjax.nn.encoders import Encoder
from slotjax.nn.frames import ATTENDED_FRAMES, AttendedFrame


class ObjectDiscovery(Model):
    """Finds objects by redrawing the picture; see `slotjax.models.Model`.

    Attributes:
      remat: the backward pass computes the decoder's activations again instead of keeping them.
    """

    resolution: tuple[int, int]
    encoder: Encoder
    decoder: Decoder
    remat: bool = False

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to its attention."""
        return dataclasses.replace(self.attend_and_decode(images, slots, **options), target=images)

    @property
    def inputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        return pictures(self.resolution)

    @property
    def decoded_dim(self) -> int:
        return self.attention.slot_dim + self.decoder.frame.size

    def check(self) -> None:
        """Raises a `UserError` where slots are not drawn in the frames in which they attend."""
        frame = self.decoder.frame
        if (frame if isinstance(frame, AttendedFrame) else None) != self.attention.own_frame():
            raise UserError(
                "model.decoder.frame: slots are drawn in the frames in which they attend: with attention=invariant"
                f" give model.frame and model.decoder.frame the same of {', '.join(ATTENDED_FRAMES)}, else neither"
            )

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, h, w, 3] -> tokens [b, n, d]."""
        return self.encoder(images)

    def decode(self, slots: jax.Array) -> Output:
        """slots [*b, k, d], as `Output` has them -> components, masks and reconstruction."""
        flat = slots.reshape(math.prod(slots.shape[:-1]), slots.shape[-1])
        remat = self.remat and not self.is_initializing()
        drawn = rematerialised(cast(Any, self.decoder), flat) if remat else self.decoder(flat)
        drawn = drawn.reshape(*slots.shape[:-1], *drawn.shape[1:])
        return compose(drawn[..., :-1], drawn[..., -1])

    def start(self, slots: jax.Array) -> jax.Array:
        return self.decoder.frame.start(slots, self.attention.slot_dim)

    def locate(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        return self.decoder.frame.locate(slots, attention, self.encoder.grid(self.resolution))
