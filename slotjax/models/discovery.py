"""Object discovery: an auto-encoder with slots in its middle (Locatello et al., 2020, sec. 3.1)."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import jax

from slotjax.errors import UserError
from slotjax.models.base import Model, Output, composed, with_head_start
from slotjax.nn.backbones import Backbone, Given, Pixels
from slotjax.nn.decoders import Decoder
from slotjax.nn.decoders.base import SlotwiseDecoder
from slotjax.nn.encoders import Encoder
from slotjax.nn.fields import Range
from slotjax.nn.frames import ATTENDED_FRAMES, AttendedFrame
from slotjax.nn.selections import AllSlots, Selection


class ObjectDiscovery(Model):
    """Finds objects by redrawing the picture, or what a pretrained backbone makes of it; see `slotjax.models.Model`.

    Attributes:
      backbone: makes the target: the picture itself, or features (DINOSAUR, Seitzer et al., 2023). Never trained.
      encoder: makes tokens of the target.
      remat: the backward pass computes the decoder's activations again instead of keeping them.
      background: added to the first slot's mask logits, so that it draws what no other slot makes its own. A field for
        the first of `train.stages`: slots have no order at use.
      common_background: the first slot is all zeros when it is drawn, so that it draws the same in every picture (about
        where it attends, if slots are drawn in frames of their own): the background, where all scenes have one.
      selection: which slots are drawn.
    """

    resolution: tuple[int, int]
    encoder: Encoder
    decoder: Decoder
    remat: bool = False
    background: Annotated[float, Range(0, 20)] = 0.0
    common_background: bool = False
    selection: Selection = AllSlots()
    backbone: Backbone = Pixels()

    frozen: ClassVar[tuple[str, ...]] = ("backbone",)

    def __call__(self, images: jax.Array, slots: jax.Array | None = None, **options: Any) -> Output:
        """images [b, h, w, 3] -> `Output`; `slots` and `options` go to its attention."""
        target = jax.lax.stop_gradient(self.backbone(images))
        decode = partial(self.decode, target=target, key=options.get("key"))
        out = self.attend_and_decode(self.encoder(target), slots, decode, **options)
        return out if out.target is not None else dataclasses.replace(out, target=target)

    @property
    def inputs(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        return self.backbone.inputs(self.resolution)

    def pretrained(self) -> dict[str, Any]:
        weights = self.backbone.pretrained()
        return {} if weights is None else {"backbone": weights}

    @property
    def token_grid(self) -> tuple[int, int]:
        return self.encoder.grid(self.backbone.grid(self.resolution))

    @property
    def sees_features(self) -> bool:
        return not isinstance(self.backbone, Pixels)

    def target(self, images: jax.Array) -> jax.Array:
        return self.backbone(images)

    def given_features(self) -> Model:
        if not self.sees_features:
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
        if not isinstance(self.selection, AllSlots) and not isinstance(self.decoder, SlotwiseDecoder):
            raise UserError("model.selection: is for decoders that draw each slot on its own; set it to all")

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, h, w, 3] -> tokens [b, n, d]."""
        return self.encoder(self.backbone(images))

    def in_training(self) -> Model:
        return self.clone(decoder=self.decoder.in_training(), selection=self.selection.in_training())

    def decode(self, slots: jax.Array, target: jax.Array | None = None, key: jax.Array | None = None) -> Output:
        """slots [*b, k, d], as `Output` has them -> components, masks and reconstruction; see `Decoder`."""
        drawn = with_head_start(self.decoder.draw(slots, target, key, self.remat), self.background)
        kept = self.selection(slots, key, drawn)
        return dataclasses.replace(composed(drawn, kept.gates), kept=kept.probabilities)

    def start(self, slots: jax.Array) -> jax.Array:
        return self.decoder.frame.start(slots, self.attention.slot_dim)

    def locate(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        if self.common_background:
            slots = slots.at[:, 0, : self.attention.slot_dim].set(0.0)
        return self.decoder.frame.locate(slots, attention, self.token_grid)
