"""A decoder that mixes the slots first and draws once: one evaluation for each place, however many slots there are."""

import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.decoders.base import Drawn, check_multiple, drawn_together
from slotjax.nn.decoders.near import Near
from slotjax.nn.fields import Count, Counts, Range, Resolution, Small
from slotjax.nn.frames import Frame, PictureFrame
from slotjax.nn.layers import Dense

MOST_PLACES = 2**16  # of a learned table


class SlotMixerDecoder(nn.Module):
    """Each place looks at the slots, says how much of each it takes, and an MLP draws it from their mixture.

    The slot mixer of the Object Scene Representation Transformer (Sajjadi et al., 2022, sec. 3.2), with a learned
    vector for each place, as for features in VideoSAUR (Zadaianchuk et al., 2023). Masks are the weights of the
    mixture; every slot draws the same, what all of them draw together.

    Attributes:
      resolution: rows and columns of what is drawn; out_channels: of it.
      patch: every place draws patch x patch pixels, of which each slot has the same share; 1 is for features.
      width: of the places' vectors; blocks: how often they look at the slots; heads: of that attention.
      hidden: the widths of the MLP that draws.
      frame: picture is the method; in a slot's own frame it also counts where a place lies from the slot (`Near`).
    """

    resolution: Resolution = (14, 14)
    width: Count = 256
    blocks: Small = 2
    heads: Annotated[int, Range(1, 256)] = 4
    hidden: Counts = (1024, 1024, 1024, 1024)
    patch: Small = 1
    frame: Frame = PictureFrame()
    out_channels: Count = 3
    dtype: Any = jnp.float32

    def draw(self, slots: jax.Array, target: jax.Array | None, key: jax.Array | None, remat: bool) -> Drawn:
        """See `Decoder`. `remat` has no effect: there is nothing to draw for each slot."""
        del target, key, remat
        *batch, count, dim = slots.shape
        drawn, logits = self(slots.reshape(math.prod(batch), count, dim))
        components, logits = drawn.reshape(*batch, 1, *drawn.shape[1:]), logits.reshape(*batch, *logits.shape[1:])
        return drawn_together(components, logits, self.out_channels)

    @nn.compact
    def __call__(self, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
        """slots [m, k, d + frame.size] -> what they draw together, and mask logits, for each place.

        [m, h / patch, w / patch, c * patch * patch] and [m, k, h / patch, w / patch].
        """
        height, width = self._grid
        slots, frames = self.frame.split(slots)
        slots = slots.astype(self.dtype)
        table = nn.initializers.normal(self.width**-0.5)
        places = self.param("places", table, (height * width, self.width), jnp.float32).astype(self.dtype)
        normed = _normed(slots, "norm_slots")
        x = jnp.broadcast_to(places, (len(slots), *places.shape))
        for i in range(self.blocks):
            x = Look(self.heads, self.dtype, name=f"block{i}")(x, normed)
        query, key = (
            Dense(self.width, use_bias=False, dtype=self.dtype, name=name)(inputs)
            for name, inputs in (("query", _normed(x, "norm")), ("key", normed))
        )
        logits = jnp.einsum("bnd,bkd->bnk", query, key, preferred_element_type=jnp.float32) * self.width**-0.5
        if self.frame.size:
            logits = logits + Near(self.frame, self._grid, self.width, name="near")(normed, frames)
        mixed = jnp.einsum("bnk,bkd->bnd", jax.nn.softmax(logits, -1).astype(self.dtype), slots)
        drawn = self._drawn(mixed, places).reshape(len(slots), height, width, -1)
        return drawn, jnp.moveaxis(logits, 2, 1).reshape(len(slots), -1, height, width)

    def _drawn(self, mixed: jax.Array, places: jax.Array) -> jax.Array:
        """Mixtures [m, n, d] and places [n, width] -> [m, n, c * patch * patch]."""
        he = nn.initializers.he_uniform()
        place = Dense(self.hidden[0], use_bias=False, kernel_init=he, dtype=self.dtype, name="place")(places)
        x = nn.relu(Dense(self.hidden[0], kernel_init=he, dtype=self.dtype, name="dense0")(mixed) + place)
        for i, features in enumerate(self.hidden[1:], start=1):
            x = nn.relu(Dense(features, kernel_init=he, dtype=self.dtype, name=f"dense{i}")(x))
        return Dense(self.out_channels * self.patch**2, dtype=self.dtype, name=f"dense{len(self.hidden)}")(x)

    @property
    def _grid(self) -> tuple[int, int]:
        return self.resolution[0] // self.patch, self.resolution[1] // self.patch

    def in_training(self) -> "SlotMixerDecoder":
        """It is the same always."""
        return self

    def check(self) -> None:
        """Raises a `UserError` for heads that do not divide the width, no MLP, or too many places or too few."""
        check_multiple(self.resolution, self.patch, f"the decoder's patch {self.patch}")
        if self.width % self.heads:
            raise UserError(f"model.decoder.heads={self.heads}: must divide model.decoder.width={self.width}")
        if not self.hidden:
            raise UserError("model.decoder.hidden=(): give at least one width")
        if math.prod(self._grid) > MOST_PLACES:
            raise UserError(
                f"model.resolution={self.resolution}: a slot mixer learns a vector for each place, {MOST_PLACES} at "
                "most; draw fewer, in larger patches, or take another decoder"
            )


class Look(nn.Module):
    """Attention of each place to the slots, and an MLP, each added to its vector; places do not see each other."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, slots: jax.Array) -> jax.Array:
        """[m, n, d] and slots [m, k, s] -> [m, n, d]."""
        width = x.shape[-1]
        options: Any = {"dtype": self.dtype, "force_fp32_for_softmax": True, "name": "look"}
        attend = nn.MultiHeadDotProductAttention(self.heads, qkv_features=width, out_features=width, **options)
        x = x + attend(_normed(x, "norm1"), slots)
        y = nn.relu(Dense(4 * width, dtype=self.dtype, name="dense0")(_normed(x, "norm2")))
        return x + Dense(width, dtype=self.dtype, name="dense1")(y)


def _normed(x: jax.Array, name: str) -> jax.Array:
    return nn.LayerNorm(dtype=jnp.float32, name=name)(x).astype(x.dtype)
