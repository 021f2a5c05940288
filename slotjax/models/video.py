"""Video: slots that follow objects through time (SAVi, Kipf et al., 2022, sec. 2)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError, shown
from slotjax.models.base import Model, Output, composed, with_head_start
from slotjax.models.cues import check_cues, cues_of
from slotjax.models.targets import TARGETS, Targets, channels, colours, flows_of, target_of
from slotjax.nn.decoders.base import Drawn, SlotwiseDecoder, rematerialised
from slotjax.nn.encoders import Encoder
from slotjax.nn.fields import Range
from slotjax.nn.frames import AttendedFrame
from slotjax.nn.initializers import Initializer, keys_of_examples
from slotjax.nn.predictors import Predictor


class VideoDiscovery(Model):
    """Finds objects and follows them, by redrawing every frame, its flow or its depth; see `slotjax.models.Model`.

    Encoder and decoder see all frames as if they were so many pictures. Only the slots go through time: those of one
    frame, as the predictor carries them over, are where attention (the corrector) begins at the next.

    Attributes:
      targets: what the slots draw.
      first_iterations: of attention at a video's first frame; 0: as at all others.
      restart: slots start anew after every so many frames, as if each part were a video of its own; 0: never. With it
        training begins on short videos (`train.stages`), where objects part sooner.
      remat: frames are encoded and drawn one after another, and the backward pass computes their activations again
        instead of keeping them.
      background: as of `slotjax.models.discovery.ObjectDiscovery`.
    """

    resolution: tuple[int, int]
    encoder: Encoder
    predictor: Predictor
    decoder: SlotwiseDecoder
    targets: Targets = ("image",)
    first_iterations: Annotated[int, Range(0, 1000)] = 0
    restart: Annotated[int, Range(0, 10_000)] = 0
    remat: bool = False
    background: Annotated[float, Range(0, 20)] = 0.0
    training: bool = False

    noun: ClassVar[str] = "video"
    takes_cues: ClassVar[bool] = True

    def __call__(
        self,
        video: jax.Array,
        slots: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        cues: Mapping[str, jax.Array] | None = None,
        num_slots: int | None = None,
        num_iterations: int | None = None,
        return_history: bool = False,
    ) -> Output:
        """video [b, t, h, w, 3] -> `Output`.

        `slots` [b, k, d] are those of the frame before the first, if there was one; else the first frame's slots start
        from `cues`, or are drawn.
        """
        if return_history:
            raise UserError("return_history=True: is for pictures; out.slots holds the slots of every frame")
        batch, frames = video.shape[:2]
        if not 0 < self.restart < frames or self.is_initializing():
            return self._followed(video, slots, key, cues, num_slots, num_iterations)
        if slots is not None or cues is not None:
            raise UserError(f"model.restart={self.restart}: slots start anew on the way, from neither slots nor cues")
        if frames % self.restart:
            raise UserError(f"model.restart={self.restart}: must divide the {frames} frames of a video")
        if key is not None:
            split = jax.vmap(lambda key: jax.random.split(key, frames // self.restart))
            keys = split(keys_of_examples(key, batch))
            key = keys.reshape(-1, *keys.shape[2:])  # the old keys are two words each
        parts = video.reshape(-1, self.restart, *video.shape[2:])
        out = self._followed(parts, None, key, None, num_slots, num_iterations)
        return jax.tree.map(lambda x: x.reshape(batch, frames, *x.shape[2:]), out)

    def _followed(
        self,
        video: jax.Array,
        slots: jax.Array | None,
        key: jax.Array | None,
        cues: Mapping[str, jax.Array] | None,
        num_slots: int | None,
        num_iterations: int | None,
    ) -> Output:
        """What `__call__` returns of videos through which slots go from the first frame to the last."""
        tokens, frames = self.encode(video), []
        if slots is None or self.is_initializing():
            first = num_iterations or self.first_iterations or self.attention.num_iterations
            start = self._start(cues, num_slots)
            found = self.attention(tokens[:, 0], start, key=key, num_slots=num_slots, num_iterations=first)
            frames, slots, tokens = [jax.tree.map(lambda x: x[None], found)], found[0], tokens[:, 1:]
        slots = self.decoder.frame.start(slots, self.attention.slot_dim)
        if self.is_initializing():
            self.predictor(slots)
        elif tokens.shape[1]:
            frames.append(self._follow(slots, tokens, num_iterations))
        slots, attention = (jnp.concatenate(field).swapaxes(0, 1) for field in zip(*frames, strict=True))
        slots = self.locate(slots, attention)
        out = dataclasses.replace(self.decode(slots, video, key), slots=slots, attention=attention)
        return self.aimed(out, {"image": video})

    def _start(self, cues: Mapping[str, jax.Array] | None, num_slots: int | None) -> jax.Array | None:
        """Where the first frame's attention starts, [b, k, d]; None: as the initializer draws it."""
        if cues is None:
            return None
        if "slots" in cues:
            return cues["slots"]
        return cast(Any, self.attention.initializer)(None, num_slots or self.attention.num_slots, cues)

    def _follow(self, slots: jax.Array, tokens: jax.Array, num_iterations: int | None) -> tuple[jax.Array, jax.Array]:
        """Slots [b, k, d] of the frame before, tokens [b, t, n, d] -> slots [t, b, k, d] and attention [t, b, k, n]."""

        def frame(model: Any, slots: jax.Array, tokens: jax.Array) -> Any:
            found = model.attention(tokens, model.predictor(slots), num_iterations=num_iterations)
            return found[0], found

        scan = nn.scan(frame, variable_broadcast="params", split_rngs={"params": False}, in_axes=1)
        return scan(self, slots, tokens)[1]

    @property
    def inputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {"image": jax.ShapeDtypeStruct((2, *self.resolution, 3), jnp.float32)}

    @property
    def token_grid(self) -> tuple[int, int]:
        return self.encoder.grid(self.resolution)

    @property
    def learns_from(self) -> tuple[str, ...]:
        cues = ("boxes",) if self._takes else ()
        return (*cues, *(name for name in self.targets if name != "image"))

    def cues(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"cues": cues_of(self._takes, batch["boxes"][:, 0])} if self._takes else {}

    def check_cues(self, cues: Any, batch: int, num_slots: int) -> Any:
        return check_cues(cues, self._takes, (batch, num_slots, self.attention.slot_dim))

    @property
    def _takes(self) -> tuple[str, ...]:
        """The cues that slots start from; none where they are drawn."""
        initializer = self.attention.initializer
        return () if initializer is None else cast(Initializer, initializer).takes

    def in_training(self) -> Model:
        decoder = self.decoder.in_training()
        return self if decoder == self.decoder else self.clone(decoder=decoder, training=True)

    def aimed(self, out: Output, batch: Mapping[str, Any]) -> Output:
        if self.training and out.target is not None:
            return out  # of the places that were drawn
        return dataclasses.replace(out, target=target_of(self.targets, batch))

    def flows(self, out: Output) -> dict[str, jax.Array]:
        return flows_of(self.targets, out.need("reconstruction")[0])

    def colours(self, drawn: jax.Array) -> jax.Array:
        return colours(self.targets, drawn)

    @classmethod
    def drawn(cls, targets: Targets = ("image",), **fields: Any) -> int:
        del fields
        return channels(targets)

    @property
    def decoded_dim(self) -> int:
        return self.attention.slot_dim + self.decoder.frame.size

    def check(self) -> None:
        """Raises a `UserError` for nothing to draw, or attention in the slots' own frames, which no predictor moves."""
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise UserError(
                f"model.targets={shown(self.targets)}: name at least one of {', '.join(TARGETS)}, each once"
            )
        if self.in_training() != self and self.targets != ("image",):
            raise UserError("model.decoder.sample: is for model.targets=image alone; set it to 1")
        if self.attention.own_frame() is not None or isinstance(self.decoder.frame, AttendedFrame):
            raise UserError(
                "model.attention='invariant': is for pictures; with model.name=video take slots or corrector"
            )

    def encode(self, images: jax.Array) -> jax.Array:
        """images [b, t, h, w, 3] -> tokens [b, t, n, d]."""
        return self._of_each(self.encoder, images, 2)

    def decode(self, slots: jax.Array, target: jax.Array | None = None, key: jax.Array | None = None) -> Output:
        """slots [b, t, k, d] of videos, or [b, k, d] of frames -> components, masks and reconstruction.

        In training, of the places that the decoder draws of each frame of the target [b, t, h, w, 3], by the key.
        """
        if self.training and target is not None and key is not None:
            drawn = self._sampled(slots, target, key)
        else:
            drawn = self.decoder.split(self._of_each(self.decoder, slots, slots.ndim - 1))
        return composed(with_head_start(drawn, self.background))

    def _sampled(self, slots: jax.Array, target: jax.Array, key: jax.Array) -> Drawn:
        """What slots draw of each frame at other places."""
        batch = slots.shape[:2]
        keys = jax.vmap(lambda key: jax.random.split(key, batch[1]))(keys_of_examples(key, batch[0]))
        frames = (x.reshape(math.prod(batch), *x.shape[2:]) for x in (slots, target, keys))
        drawn = self.decoder.draw(*frames, self.remat)
        return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), drawn)

    def locate(self, slots: jax.Array, attention: jax.Array) -> jax.Array:
        """slots [b, t, k, d] and where they attend [b, t, k, n] -> what `decode` takes."""
        locate = self.decoder.frame.locate
        return jax.vmap(lambda *frame: locate(*frame, self.token_grid), 1, 1)(slots, attention)

    def _of_each(self, part: Any, inputs: jax.Array, axes: int) -> jax.Array:
        """What `part`, which takes one leading axis, makes of inputs with so many; the second is that of frames."""
        if not self.remat or self.is_initializing():
            outputs = part(inputs.reshape(math.prod(inputs.shape[:axes]), *inputs.shape[axes:]))
            return outputs.reshape(*inputs.shape[:axes], *outputs.shape[1:])
        inputs = inputs.swapaxes(0, 1)
        flat = inputs.reshape(math.prod(inputs.shape[:axes]), *inputs.shape[axes:])
        outputs = rematerialised(part, flat, parts=len(inputs))
        return outputs.reshape(*inputs.shape[:axes], *outputs.shape[1:]).swapaxes(0, 1)
