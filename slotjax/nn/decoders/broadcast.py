"""The decoder of Slot Attention: a slot repeated over a grid, then transposed convolutions."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn.decoders.base import SlotwiseDecoder, check_multiple
from slotjax.nn.encoders import check_layers
from slotjax.nn.fields import Count, Counts, Resolution, Small, Smalls
from slotjax.nn.frames import Frame, PictureFrame
from slotjax.nn.layers import ConvTranspose
from slotjax.nn.positions import SoftPositionEmbedding


class SpatialBroadcastDecoder(SlotwiseDecoder):
    """A slot repeated over a grid, told apart by position, then transposed convolutions (Watters et al., 2019).

    Attributes:
      resolution: height and width of the picture; the grid is this over the product of the strides.
      channels, kernels, strides: one entry for each transposed convolution before the last layer, each with a ReLU.
      last_kernel: kernel size of the last layer (stride 1), to red, green, blue (or what else there is) and mask.
      out_channels: of what is drawn; 3 are red, green and blue.
      frame: in which coordinates slots are drawn.
    """

    resolution: Resolution = (128, 128)
    channels: Counts = (64, 64, 64, 64, 64)
    kernels: Smalls = (5, 5, 5, 5, 5)
    strides: Smalls = (2, 2, 2, 2, 1)
    last_kernel: Small = 3
    frame: Frame = PictureFrame()
    out_channels: Count = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, slots: jax.Array) -> jax.Array:
        """slots [m, d + frame.size] -> [m, h, w, out_channels + 1]: components and mask logits."""
        height, width = (size // math.prod(self.strides) for size in self.resolution)
        slots, frames = self.frame.split(slots)
        x = slots.astype(self.dtype)[:, None, None, :]
        x = jnp.broadcast_to(x, (x.shape[0], height, width, x.shape[-1]))
        x = SoftPositionEmbedding(name="position")(x, self.frame.soft(frames, height, width))
        for i, (channels, size, stride) in enumerate(zip(self.channels, self.kernels, self.strides, strict=True)):
            x = nn.relu(ConvTranspose(channels, size, stride, self.dtype, name=f"deconv{i}")(x))
        name = f"deconv{len(self.channels)}"
        last = ConvTranspose(self.out_channels + 1, self.last_kernel, 1, self.dtype, name=name)
        return last(x)

    def check(self) -> None:
        """Raises a `UserError` if layers do not match, or no grid gives `resolution`."""
        check_layers("model.decoder", self)
        check_multiple(self.resolution, math.prod(self.strides), f"the decoder's strides {self.strides}")
