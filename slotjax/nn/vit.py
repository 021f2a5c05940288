"""The vision transformer (Dosovitskiy et al., 2021), as ViT, DINO, DINOv2 and MAE's encoder have it.

It is not trained here: its weights come from a file (`slotjax.nn.vit_weights`).
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn import vit_weights
from slotjax.nn.bicubic import bicubic
from slotjax.nn.fields import Count, Range, Resolution, Small

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's red, green and blue, of pictures in [0, 1]
HEADS = {1152: 16, 1280: 16, 1408: 16}  # by width, where they are not 64 numbers wide each


class VisionTransformer(nn.Module):
    """Patches of a picture as tokens, to each of which every block adds what it finds at the others.

    Class and register tokens (Darcet et al., 2024) take part and are left out in the end. Norms and softmax are
    computed in float32 whatever `dtype`.

    Attributes:
      weights: the file of its parameters; "" draws them at random, to try things out.
      sha256: the file's checksum; another file in its place is refused.
      layer: take the tokens after so many blocks, through the last norm; 0 takes all blocks.
      patch: height and width of the pixels of one token.
      width: numbers of a token; depth: how many blocks there are; hidden: width of their MLPs.
      heads: of attention; 0 is as published, which is 64 numbers each but for the largest.
      positions: rows and columns of the learned positions, which are interpolated for pictures of other sizes.
      class_token, registers: whether there is the one, and how many of the others.
      layer_scale: whether each block's branches are scaled, number by number (Touvron et al., 2021).
      epsilon: of the norms.
      antialias: positions are interpolated as `slotjax.nn.bicubic` says, so or so.
      mean, spread: of red, green and blue in pictures in [0, 1], what the pictures are normalised by; () is ImageNet's.
    """

    weights: str = ""
    sha256: str = ""
    layer: Annotated[int, Range(0, 256)] = 0
    patch: Small = 16
    width: Count = 768
    depth: Annotated[int, Range(1, 256)] = 12
    hidden: Count = 3072
    heads: Annotated[int, Range(0, 256)] = 0
    positions: Resolution = (14, 14)
    class_token: bool = True
    registers: Annotated[int, Range(0, 64)] = 0
    layer_scale: bool = False
    epsilon: Annotated[float, Range(0, 1, open_below=True)] = 1e-6
    antialias: bool = True
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, 3] in [-1, 1] -> patch tokens after the last norm, float32 [b, h / patch, w / patch, width]."""
        rows, columns = self.grid((images.shape[1], images.shape[2]))
        batch, tokens = images.shape[0], rows * columns
        x = _dense(self.width, self.dtype, "patches")(_patches(self._normalised(images), self.patch))
        x = (x + self._positions(rows, columns)).reshape(batch, tokens, self.width)
        for name, count in (("registers", self.registers), ("class_token", int(self.class_token))):
            if count:
                token = self.param(name, nn.initializers.normal(0.02), (count, self.width), jnp.float32)
                x = jnp.concatenate([jnp.broadcast_to(token.astype(x.dtype), (batch, *token.shape)), x], axis=1)
        for i in range(self.layer or self.depth):
            x = Block(self.num_heads, self.hidden, self.layer_scale, self.epsilon, self.dtype, name=f"block{i}")(x)
        x = _norm(self.epsilon, "norm")(x[:, -tokens:])
        return x.reshape(batch, rows, columns, self.width)

    def inputs(self, resolution: tuple[int, int]) -> dict[str, jax.ShapeDtypeStruct]:
        return {"image": jax.ShapeDtypeStruct((*resolution, 3), jnp.float32)}

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens; a `UserError` for pictures that are no multiples of the patch."""
        height, width = resolution
        if height % self.patch or width % self.patch or not height or not width:
            fitting = tuple(max(self.patch, round(size / self.patch) * self.patch) for size in resolution)
            raise UserError(
                f"pictures of {height}x{width}: this backbone sees patches of {self.patch}x{self.patch}; "
                f"resize them to {fitting[0]}x{fitting[1]}, or to other multiples of {self.patch}"
            )
        return height // self.patch, width // self.patch

    @property
    def channels(self) -> int:
        return self.width

    @property
    def num_heads(self) -> int:
        """How many heads attention has."""
        return self.heads or HEADS.get(self.width, self.width // 64)

    def pretrained(self) -> Any:
        """The parameters in `weights`, or None where no file is named; a `UserError` where it is not the same file."""
        return vit_weights.read(self) if self.weights else None

    def check(self) -> None:
        """Raises a `UserError` for heads that do not divide the width, a layer that there is not, or odd colours."""
        if not self.heads and self.width not in HEADS and self.width % 64:
            raise UserError(
                f"model.backbone.heads=0: no published transformer is {self.width} wide, and no array says how many "
                "heads it has; set it, or load_backbone(FILE, heads=...)"
            )
        if self.width % self.num_heads:
            raise UserError(f"model.backbone.heads={self.num_heads}: must divide model.backbone.width={self.width}")
        if self.layer > self.depth:
            raise UserError(f"model.backbone.layer={self.layer}: there are {self.depth} blocks; 0 takes all of them")
        if len(self.mean) not in (0, 3):
            raise UserError(f"model.backbone.mean={self.mean}: give red, green and blue, or () for ImageNet's")
        if len(self.spread) not in (0, 3) or any(number <= 0 for number in self.spread):
            raise UserError(
                f"model.backbone.spread={self.spread}: give red, green and blue above 0, or () for ImageNet's"
            )

    def _normalised(self, images: jax.Array) -> jax.Array:
        mean, spread = (jnp.asarray(x, jnp.float32) for x in (self.mean or MEAN, self.spread or SPREAD))
        return (((images.astype(jnp.float32) + 1) / 2 - mean) / spread).astype(self.dtype)

    def _positions(self, rows: int, columns: int) -> jax.Array:
        """[rows, columns, width], interpolated from those that were learned."""
        shape = (*self.positions, self.width)
        learned = self.param("positions", nn.initializers.normal(0.02), shape, jnp.float32)
        down, along = (
            jnp.asarray(bicubic(have, size, self.antialias))
            for have, size in zip(self.positions, (rows, columns), strict=True)
        )
        precise = jax.lax.Precision.HIGHEST
        return jnp.einsum("rh,cw,hwd->rcd", down, along, learned, precision=precise).astype(self.dtype)


class Block(nn.Module):
    """Attention, then an MLP, each of what a norm made of the tokens, and added to them."""

    heads: int
    hidden: int
    layer_scale: bool
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, n, d] -> [b, n, d]."""
        batch, tokens, width = x.shape
        qkv = _dense(3 * width, self.dtype, "qkv")(_norm(self.epsilon, "norm1")(x))
        query, key, value = jnp.moveaxis(qkv.reshape(batch, tokens, 3, self.heads, -1), 2, 0)
        seen = jax.nn.dot_product_attention(query, key, value).reshape(batch, tokens, width)
        x = x + self._scaled(_dense(width, self.dtype, "out")(seen), "scale1")
        y = _dense(self.hidden, self.dtype, "dense0")(_norm(self.epsilon, "norm2")(x))
        y = _dense(width, self.dtype, "dense1")(nn.gelu(y, approximate=False))
        return x + self._scaled(y, "scale2")

    def _scaled(self, x: jax.Array, name: str) -> jax.Array:
        if not self.layer_scale:
            return x
        return x * self.param(name, nn.initializers.ones, (x.shape[-1],), jnp.float32).astype(x.dtype)


def _norm(epsilon: float, name: str) -> nn.Module:
    return nn.LayerNorm(epsilon, dtype=jnp.float32, use_fast_variance=False, name=name)


def _dense(features: int, dtype: Any, name: str) -> nn.Module:
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.normal(0.02), name=name)


def _patches(images: jax.Array, patch: int) -> jax.Array:
    """[b, h, w, c] -> [b, h / patch, w / patch, patch * patch * c], each patch row by row."""
    batch, height, width, channels = images.shape
    x = images.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // patch, width // patch, -1)
