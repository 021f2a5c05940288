"""A transformer that draws features, or patches, one after another, each from the slots and from those before it.

As in DINOSAUR (Seitzer et al., 2023, appendix E), after SLATE (Singh et al., 2022). Which slots a place looks at says
whose it is: masks are the attention of the last block.
"""

import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError
from slotjax.nn.decoders.base import Drawn, check_multiple, drawn_together
from slotjax.nn.decoders.near import Near
from slotjax.nn.fields import Count, Range, Resolution, Small
from slotjax.nn.frames import Frame, PictureFrame
from slotjax.nn.initializers import keys_of_examples
from slotjax.nn.layers import patches

FAINTEST = 1e-30  # of a mask: its logarithm stays finite
ORDERS, TOLD = 1, 2  # streams of an example's key; 0 would draw slots


class TransformerDecoder(nn.Module):
    """Predicts the feature at each place, in order, from slots and the features before it (teacher forcing).

    Every slot draws the same, what all of them have drawn together, and masks say who looked. Without a target, as in
    `slotjax.decode`, what was predicted takes the place of what is known, at the cost of a pass for each place.

    Attributes:
      resolution: rows and columns of what is drawn; out_channels: of it.
      patch: what is drawn one after another are patches of so many rows and columns of pixels, of each of which every
        slot has one share, as in SLATE but without its tokenizer; 1 is for features.
      width: of the tokens; hidden: of the blocks' MLPs; blocks: how many there are; heads: of their attention.
      permutations: in training each picture's order is one of nine, of which each has a first token of its own (SPOT,
        Kakogeorgiou et al., 2024, sec. 3.3); else it is row by row, as it is always in evaluation.
      dropout: the share of the features before a place that it is not told in training, drawn for each picture: what
        neighbours tell nobody asks slots for (word dropout, Bowman et al., 2016, sec. 3.1). 0 is the method.
      frame: picture is the method; in a slot's own frame it also counts where a place lies from the slot (`Near`).
      training: whether orders are drawn; see `slotjax.models.Model.in_training`.
    """

    resolution: Resolution = (14, 14)
    width: Count = 768
    hidden: Count = 3072
    blocks: Small = 4
    heads: Annotated[int, Range(1, 256)] = 8
    patch: Small = 1
    permutations: bool = False
    dropout: Annotated[float, Range(0, 1)] = 0.0
    frame: Frame = PictureFrame()
    out_channels: Count = 3
    training: bool = False
    dtype: Any = jnp.float32

    def draw(self, slots: jax.Array, target: jax.Array | None, key: jax.Array | None, remat: bool) -> Drawn:
        """See `Decoder`; slots [b, k, d + frame.size]. `remat` has no effect: slots share all there is."""
        del remat
        if target is None:
            return self._generated(slots)
        number, told = jnp.zeros(len(slots), jnp.int32), None
        if self.training and key is not None:
            keys = keys_of_examples(key, len(slots))
            if self.permutations:
                count = len(orders(*self._grid))
                number = jax.vmap(lambda one: jax.random.randint(_fold(one, ORDERS), (), 0, count))(keys)
            if self.dropout:
                count = math.prod(self._grid) - 1
                told = jax.vmap(lambda one: jax.random.bernoulli(_fold(one, TOLD), 1 - self.dropout, (count,)))(keys)
        known = patches(target, self.patch)
        known = known.reshape(*known.shape[:-2], self._channels)
        return drawn_together(*self(slots, known, number, told), self.out_channels)

    @property
    def _grid(self) -> tuple[int, int]:
        return self.resolution[0] // self.patch, self.resolution[1] // self.patch

    @property
    def _channels(self) -> int:
        """Of one place."""
        return self.out_channels * self.patch**2

    @nn.compact
    def __call__(
        self, slots: jax.Array, target: jax.Array, number: jax.Array, told: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """What is drawn [b, 1, h, w, c], and mask logits [b, k, h, w], of h x w features or patches.

        Args:
          slots: [b, k, d + frame.size]; target: [b, h, w, c]; number: of each picture's order, [b].
          told: which features, in that order and but for the last, are known, [b, h * w - 1]; None: all.
        """
        height, width = self._grid
        slots, frames = self.frame.split(slots)
        order = jnp.asarray(orders(height, width))[number]
        known = jnp.take_along_axis(target.reshape(len(target), height * width, -1), order[..., None], 1)
        starts = self.param("first", nn.initializers.normal(0.02), (len(orders(1, 1)), self.width), jnp.float32)
        places = self.param("places", nn.initializers.normal(0.02), (height * width, self.width), jnp.float32)
        before = _dense(self.width, self.dtype, "project")(_norm("norm_target")(known[:, :-1]).astype(self.dtype))
        before = before if told is None else jnp.where(told[..., None], before, 0)
        x = jnp.concatenate([starts[number][:, None].astype(self.dtype), before], 1)
        x = x + places[order].astype(self.dtype)  # where what comes next is
        normed = _norm("norm_slots")(slots)
        slots = _dense(self.width, self.dtype, "project_slots")(normed.astype(self.dtype))
        near, attention = jnp.zeros(()), jnp.zeros(())
        if self.frame.size:
            near = Near(self.frame, self._grid, self.width, name="near")(normed, frames)
            near = jnp.take_along_axis(near, order[..., None], 1)[:, None]  # for all heads
        for i in range(self.blocks):
            x, attention = Block(self.heads, self.hidden, self.dtype, name=f"block{i}")(x, slots, near)
        drawn = _dense(self._channels, self.dtype, "dense")(_norm("norm")(x).astype(self.dtype))
        back = jnp.argsort(order, 1)[..., None]
        drawn, attention = (jnp.take_along_axis(x, back, 1) for x in (drawn, attention))
        drawn = drawn.reshape(len(slots), 1, height, width, -1)
        masks = jnp.moveaxis(attention, 2, 1).reshape(len(slots), -1, height, width)
        return drawn, jnp.log(jnp.maximum(masks, FAINTEST))

    def in_training(self) -> "TransformerDecoder":
        """With orders that are drawn."""
        return self.clone(training=True)

    def check(self) -> None:
        """Raises a `UserError` for heads that do not divide the width, or patches that do not tile the picture."""
        check_multiple(self.resolution, self.patch, f"the decoder's patch {self.patch}")
        if self.width % self.heads:
            raise UserError(f"model.decoder.heads={self.heads}: must divide model.decoder.width={self.width}")

    def _generated(self, slots: jax.Array) -> Drawn:
        """What it draws when all it knows is what it has drawn."""
        plain, variables = self.clone(parent=None), self.variables
        number, (height, width) = jnp.zeros(len(slots), jnp.int32), self._grid

        def one_more(i: jax.Array, known: jax.Array) -> jax.Array:
            components: Any = plain.apply(variables, slots, known, number)[0]
            return known.at[:, i // width, i % width].set(components[:, 0, i // width, i % width].astype(known.dtype))

        known = jnp.zeros((len(slots), height, width, self._channels), jnp.float32)
        known = jax.lax.fori_loop(0, height * width, one_more, known)
        return drawn_together(*self(slots, known, number), self.out_channels)


def _fold(key: jax.Array, stream: int) -> jax.Array:
    return jax.random.fold_in(key, stream)


class Block(nn.Module):
    """Attention to the places before, attention to the slots, and an MLP, each added to the tokens."""

    heads: int
    hidden: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, slots: jax.Array, near: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [b, n, d], slots [b, k, d], what is added to logits [b, 1, n, k] -> [b, n, d], and attention [b, n, k]."""
        width = x.shape[-1]
        query, key, value = self._heads(_dense(3 * width, self.dtype, "own")(self._normed(x, "norm1")), 3)
        seen = jax.nn.dot_product_attention(query, key, value, is_causal=True).reshape(x.shape)
        x = x + _dense(width, self.dtype, "out1")(seen)
        (query,) = self._heads(_dense(width, self.dtype, "query")(self._normed(x, "norm2")), 1)
        key, value = self._heads(_dense(2 * width, self.dtype, "of_slots")(slots), 2)
        logits = jnp.einsum("bnhd,bkhd->bhnk", query, key, preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(logits * query.shape[-1] ** -0.5 + near, -1)
        seen = jnp.einsum("bhnk,bkhd->bnhd", attention.astype(self.dtype), value).reshape(x.shape)
        x = x + _dense(width, self.dtype, "out2")(seen)
        y = nn.gelu(_dense(self.hidden, self.dtype, "dense0")(self._normed(x, "norm3")), approximate=False)
        return x + _dense(width, self.dtype, "dense1")(y), attention.mean(1)

    def _heads(self, x: jax.Array, parts: int) -> list[jax.Array]:
        """[b, n, parts * d] -> `parts` times [b, n, heads, d / heads]."""
        return [part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(x, parts, -1)]

    def _normed(self, x: jax.Array, name: str) -> jax.Array:
        return _norm(name)(x).astype(self.dtype)


def orders(height: int, width: int) -> np.ndarray:
    """Nine orders of the places of a grid: int32 [9, h * w].

    Row by row and column by column from each of the four corners, and a spiral inwards; the first is the usual one.
    """
    grid = np.arange(height * width).reshape(height, width)
    flips = [grid[::down, ::right] for down in (1, -1) for right in (1, -1)]
    found = [flipped.ravel() for flipped in flips] + [flipped.T.ravel() for flipped in flips]
    spiral, rest = [], grid
    while rest.size:
        spiral.append(rest[0])
        rest = np.rot90(rest[1:])
    return np.stack([*found, np.concatenate(spiral)]).astype(np.int32)


def _norm(name: str) -> nn.Module:
    return nn.LayerNorm(dtype=jnp.float32, name=name)


def _dense(features: int, dtype: Any, name: str) -> nn.Module:
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.glorot_uniform(), name=name)
