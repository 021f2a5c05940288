"""Object discovery: an auto-encoder with slots in its middle (Locatello et al., 2020, sec. 3.1)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import jax

from slotjax.errors import UserError
from slotjax.models.base import Model, Output, compose
from slotjax.nn.backbones import Backbone, Given, Pixels
from slotjax.nn.decoders import Decoder
from slotjax.nn.decoders.base import rematerialised
from slotjax.nn.encoders import Encoder
from slotjax.nn.frames import ATTENDED_FRAMES, AttendedFrame


class ObjectDiscovery(Model):
    """Finds objects by redrawing the picture, or what a pretrained backbone makes of it; see `slotjax.models.Model`.

    Attributes:
      backbone: makes the target: the picture itself, or features (DINOSAUR, Seitzer et al., 2023). Never trained.
      encoder: makes tokens of the target.
      remat: the backward pass computes the decoder's activations again instead of keeping them.
    """

    resolution: tuple[int, int]
    encoder: Encoder
    decoder: Decoder
    remat: bool = False
    backbone: Backbone = Pixels()

    frozen: ClassVar[tuple[str, ...]] = ("backbone",)

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to its attention."""
        target = jax.lax.stop_gradient(self.backbone(images))
        return dataclasses.replace(self.attend_and_decode(self.encoder(target), slots, **options), target=target)

    @property
    def inputs(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        return self.backbone.inputs(self.resolution)

    def pretrained(self) -> dict[str, Any]:
        weights = self.backbone.pretrained()
        return {} if weights is None else {"backbone": weights}

    def given_features(self) -> Model:
        if isinstance(self.backbone, Pixels):
            return super().given_features()
        shape = (*self.backbone.grid(self.resolution), self.backbone.channels)
        return self.clone(backbone=Given(shape, parent=None))

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
        return self.encoder(self.backbone(images))

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
        return self.decoder.frame.locate(slots, attention, self.encoder.grid(self.backbone.grid(self.resolution)))
