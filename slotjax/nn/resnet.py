"""The encoder of SAVi++ (Elsayed et al., 2022, sec. 3): a residual network, positions, and a transformer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError, shown
from slotjax.nn.fields import Count, Counts, Smalls
from slotjax.nn.layers import Dense
from slotjax.nn.positions import placed_tokens, tokens_grid
from slotjax.nn.predictors import TransformerBlock

GROUPS = 32  # of channels, that are normalised together


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2016), with GroupNorm in place of batch statistics."""

    channels: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, channels]."""
        x = normed(convolution(self.channels, 3, self.stride, self.dtype, "conv0")(inputs), "norm0")
        x = convolution(self.channels, 3, 1, self.dtype, "conv1")(nn.relu(x))
        x = normed(x, "norm1", scale_init=nn.initializers.zeros_init())  # at first the shortcut is all there is
        if inputs.shape != x.shape:
            inputs = normed(convolution(self.channels, 1, self.stride, self.dtype, "conv2")(inputs), "norm2")
        return nn.relu(inputs + x)


def convolution(channels: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    """A SAME convolution without a bias: norms bring one."""
    return nn.Conv(channels, (size, size), stride, use_bias=False, dtype=dtype, name=name)


def normed(x: jax.Array, name: str, **options: Any) -> jax.Array:
    """GroupNorm, in the inputs' dtype."""
    return nn.GroupNorm(GROUPS, name=name, **options)(x).astype(x.dtype)


class ResNetEncoder(nn.Module):
    """A residual network at a stride of 8, positions as in `SAViEncoder`, and transformer blocks over the tokens.

    The first convolution is 3x3, without pooling, and no ReLU follows its norm.

    Attributes:
      channels, blocks, strides: of each stage; ResNet-34's.
      mlp_dim: width of the hidden layer of the per-token MLP.
      token_dim: of the tokens, behind a dense layer with a ReLU.
      layers, heads, hidden: of the transformer: how many blocks there are, of what attention and what MLP.
    """

    channels: Counts = (64, 128, 256, 512)
    blocks: Counts = (3, 4, 6, 3)
    strides: Smalls = (1, 2, 2, 2)
    mlp_dim: Count = 64
    token_dim: Count = 64
    layers: Count = 4
    heads: Count = 4
    hidden: Count = 1024
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, 3] -> tokens [b, n, token_dim], row by row."""
        x = ((images + 1) / 2).astype(self.dtype)
        x = normed(convolution(self.channels[0], 3, 1, self.dtype, "conv")(x), "conv_norm")
        for i, (channels, blocks, stride) in enumerate(zip(self.channels, self.blocks, self.strides, strict=True)):
            for j in range(blocks):
                x = ResidualBlock(channels, 1 if j else stride, self.dtype, name=f"stage{i}_block{j}")(x)
        x = placed_tokens(x, self.mlp_dim, self.dtype)
        x = nn.relu(Dense(self.token_dim, dtype=self.dtype, name="dense2")(x))
        for i in range(self.layers):
            block = TransformerBlock(self.heads, mlp_dim=self.hidden, norm="pre", dtype=self.dtype, name=f"block{i}")
            x = block(x)
        return x

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this height and width."""
        return tokens_grid(resolution, self.strides)

    def check(self) -> None:
        """Raises a `UserError` for lists of different lengths, or widths that do not divide."""
        lengths = {name: len(getattr(self, name)) for name in ("channels", "blocks", "strides")}
        if len(set(lengths.values())) > 1:
            raise UserError(f"model.encoder: {lengths} are the numbers of stages; give each as many entries")
        if any(channels % GROUPS for channels in self.channels):
            raise UserError(f"model.encoder.channels={shown(self.channels)}: must be multiples of {GROUPS}")
        if self.token_dim % self.heads:
            raise UserError(f"model.encoder.token_dim={self.token_dim}: must be a multiple of heads={self.heads}")
