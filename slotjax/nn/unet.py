"""A small U-Net as encoder: what is there, and what is around it (Ronneberger et al., 2015)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.fields import Count, Counts, Small
from slotjax.nn.layers import Conv
from slotjax.nn.positions import placed_tokens, tokens_grid


class UNetEncoder(nn.Module):
    """Convolutions down to a coarse map and up again, where each level is joined by what it was on the way down.

    A token then sees far more of the picture than through as many convolutions at its own resolution. Positions and the
    MLP for each token are as in `SAViEncoder`.

    Attributes:
      channels: of each level, the first of which has the tokens' resolution; each further one has half its side.
      kernel: of all convolutions.
      stride: of the first.
      mlp_dim: width of the hidden layer of the per-token MLP.
    """

    channels: Counts = (32, 32, 64)
    kernel: Small = 3
    stride: Small = 1
    mlp_dim: Count = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, 3] -> tokens [b, n, channels[0]], row by row."""
        x, levels = images.astype(self.dtype), []
        for i, channels in enumerate(self.channels):
            x = self._convolution(channels, 2 if i else self.stride, f"down{i}")(x)
            levels.append(x)
        for i in reversed(range(len(levels) - 1)):
            x = x.repeat(2, 1).repeat(2, 2)[:, : levels[i].shape[1], : levels[i].shape[2]]
            x = self._convolution(self.channels[i], 1, f"up{i}")(jnp.concatenate([x, levels[i]], -1))
        return placed_tokens(x, self.mlp_dim, self.dtype)

    def _convolution(self, channels: int, stride: int, name: str) -> Any:
        convolution = Conv(channels, self.kernel, stride, self.dtype, nn.initializers.he_normal(), name=name)
        return lambda x: nn.relu(convolution(x))

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this height and width."""
        return tokens_grid(resolution, (self.stride,))

    def check(self) -> None:
        """Raises a `UserError` for no level."""
        if not self.channels:
            raise UserError("model.encoder.channels=(): give at least one level")
