"""The decoder of SAVi: as that of Slot Attention, with a dense layer for each of what is read from its features."""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn.decoders.base import SlotwiseDecoder, check_multiple
from slotjax.nn.encoders import check_layers
from slotjax.nn.fields import Count, Counts, Resolution, Smalls
from slotjax.nn.frames import Frame, PictureFrame
from slotjax.nn.layers import ConvTranspose
from slotjax.nn.positions import corners


class ReadoutDecoder(SlotwiseDecoder):
    """A slot repeated over a grid, positions, transposed convolutions, and dense layers (Kipf et al., 2022, app. A.2).

    SAVi++ averages the features of all slots by their masks before the last dense layer ("early fusion"); as that layer
    is linear and masks sum to 1, what is drawn is the same.

    Attributes:
      resolution: height and width of the picture; the grid is this over the product of the strides.
      channels, kernels, strides: one entry for each transposed convolution, each with a ReLU.
      out_channels: of what is drawn.
    """

    resolution: Resolution = (64, 64)
    channels: Counts = (64, 64, 64, 64)
    kernels: Smalls = (5, 5, 5, 5)
    strides: Smalls = (2, 2, 2, 1)
    out_channels: Count = 3
    dtype: Any = jnp.float32

    frame: ClassVar[Frame] = PictureFrame()

    @nn.compact
    def __call__(self, slots: jax.Array) -> jax.Array:
        """slots [m, d] -> [m, h, w, out_channels + 1]: components and mask logits."""
        lecun = nn.initializers.lecun_normal()
        height, width = (size // math.prod(self.strides) for size in self.resolution)
        x = slots.astype(self.dtype)[:, None, None, :]
        x = x + nn.Dense(x.shape[-1], dtype=self.dtype, name="position")(jnp.asarray(corners(height, width)))
        for i, (channels, size, stride) in enumerate(zip(self.channels, self.kernels, self.strides, strict=True)):
            x = nn.relu(ConvTranspose(channels, size, stride, self.dtype, lecun, name=f"deconv{i}")(x))
        read = [
            nn.Dense(self.out_channels, dtype=self.dtype, name="readout"),
            nn.Dense(1, dtype=self.dtype, name="mask"),
        ]
        return jnp.concatenate([layer(x) for layer in read], axis=-1)

    def check(self) -> None:
        """Raises a `UserError` if layers do not match, or no grid gives `resolution`."""
        check_layers("model.decoder", self)
        check_multiple(self.resolution, math.prod(self.strides), f"the decoder's strides {self.strides}")
