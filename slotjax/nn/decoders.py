"""From slots to pictures: every slot is decoded on its own to a component and a mask logit for each pixel."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.cpu.convolution import ConvTranspose, depth_to_space
from slotjax.nn.cpu.dense import Dense, product
from slotjax.nn.positions import FRAME, SoftPositionEmbedding, centres, fourier, relative

PARTS = 8  # of a decoder's slots, where its activations are computed again instead of kept
MOST_FEATURES = 2**22  # octaves times positions


class SpatialBroadcastDecoder(nn.Module):
    """A slot repeated over a grid, told apart by position, then transposed convolutions (Watters et al., 2019).

    Attributes:
      resolution: height and width of the picture; the grid is this over the product of the strides.
      channels, kernels, strides: one entry for each transposed convolution before the last layer, each with a ReLU.
      last_kernel: kernel size of the last layer (stride 1), to red, green, blue and mask.
      relative: see `positions`.
      remat: see `rematerialised`.
    """

    resolution: tuple[int, int] = (128, 128)
    channels: tuple[int, ...] = (64, 64, 64, 64, 64)
    kernels: tuple[int, ...] = (5, 5, 5, 5, 5)
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)
    last_kernel: int = 3
    relative: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, slots: jax.Array) -> jax.Array:
        """slots [m, d], or [m, d + 4] if relative -> [m, h, w, 4]: components and mask logits."""
        if self.remat and not self.is_initializing():
            return rematerialised(self, slots)
        height, width = (size // math.prod(self.strides) for size in self.resolution)
        slots, grid = positions(self, slots, height, width)
        x = slots.astype(self.dtype)[:, None, None, :]
        x = jnp.broadcast_to(x, (x.shape[0], height, width, x.shape[-1]))
        grid = jnp.concatenate([1 + grid, 1 - grid], -1) / 2 if self.relative else None
        x = SoftPositionEmbedding(name="position")(x, grid)
        for i, (channels, size, stride) in enumerate(zip(self.channels, self.kernels, self.strides, strict=True)):
            x = nn.relu(ConvTranspose(channels, size, stride, self.dtype, name=f"deconv{i}")(x))
        return ConvTranspose(4, self.last_kernel, 1, self.dtype, name=f"deconv{len(self.channels)}")(x)

    def check(self) -> None:
        """Raises a `UserError` if no grid gives `resolution`."""
        _check_multiple(self.resolution, math.prod(self.strides), f"the decoder's strides {self.strides}")


class MLPBroadcastDecoder(nn.Module):
    """A slot repeated over a grid of patches, with Fourier features of their places, and one MLP for all of them.

    As in Dittadi et al., 2022, and DINOSAUR (Seitzer et al., 2023, appendix D); far cheaper than convolutions.

    Attributes:
      resolution: height and width of the picture.
      hidden: widths of the hidden layers.
      patch: every position predicts patch x patch pixels.
      frequencies: octaves of the position features.
      hyper: every slot has a first layer of its own, see `Places`.
      relative: see `positions`.
      remat: see `rematerialised`.
    """

    resolution: tuple[int, int] = (32, 32)
    hidden: tuple[int, ...] = (128, 128)
    patch: int = 2
    frequencies: int = 4
    hyper: bool = False
    relative: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, slots: jax.Array) -> jax.Array:
        """slots [m, d], or [m, d + 4] if relative -> [m, h, w, 4]: components and mask logits."""
        if self.remat and not self.is_initializing():
            return rematerialised(self, slots)
        # Glorot's kernels would halve the signal at each ReLU; slots that hardly show stay alike for long.
        he = nn.initializers.he_uniform()
        height, width = (size // self.patch for size in self.resolution)
        sizes = jnp.log(slots[:, -FRAME // 2 :]) if self.relative else slots[:, :0]
        slots, grid = positions(self, slots, height, width)
        grid = fourier(grid, self.frequencies)
        # The first layer is linear in (slot, position), so each is projected once and their sum is what is repeated.
        place = Places(self.hidden[0], self.hyper, self.dtype, name="position")(grid, slots, sizes)
        slot = Dense(self.hidden[0], kernel_init=he, dtype=self.dtype, name="dense0")(slots)
        x = nn.relu(slot[:, None, None, :] + place)
        for i, width_ in enumerate(self.hidden[1:], start=1):
            x = nn.relu(Dense(width_, kernel_init=he, dtype=self.dtype, name=f"dense{i}")(x))
        last = Dense(4 * self.patch**2, kernel_init=he, dtype=self.dtype, name=f"dense{len(self.hidden)}")
        return depth_to_space(last(x), self.patch)

    def check(self) -> None:
        """Raises a `UserError` if no grid gives `resolution`, or its features would not be worth their memory."""
        _check_multiple(self.resolution, self.patch, f"the decoder's patch {self.patch}")
        if not self.hidden:
            raise UserError("model.decoder.hidden=(): give at least one width")
        if math.prod(self.resolution) // self.patch**2 * self.frequencies > MOST_FEATURES:
            raise UserError(
                f"model.decoder.frequencies={self.frequencies}: too many for {self.resolution} in patches of "
                f"{self.patch}; take fewer, or larger patches"
            )


class Places(nn.Module):
    """What the first layer of an MLP makes of places: a linear map, the same for all slots or each slot's own.

    Where it is the same, slot and place only add up, and the shape of an object is left to the layers behind. A slot's
    own map (Ha et al., 2017, HyperNetworks) costs little: it is made once for all places.

    Attributes:
      features: how many it makes of a place.
      hyper: the kernel is the shared one plus a linear function of the (normalised) slot and of `sizes`, which begins
        at zero: trained weights of a decoder without it draw the same at first.
    """

    features: int
    hyper: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, grid: jax.Array, slots: jax.Array, sizes: jax.Array) -> jax.Array:
        """grid [h, w, c] or [m, h, w, c], slots [m, d], sizes [m, s] -> [h, w, f] or [m, h, w, f]."""
        kernel = self.param("kernel", nn.initializers.he_uniform(), (grid.shape[-1], self.features))
        grid = grid.astype(self.dtype)
        if not self.hyper:
            return product(grid, kernel.astype(self.dtype))
        slots = jnp.concatenate([nn.LayerNorm(name="norm")(slots), sizes], axis=-1)
        own = Dense(kernel.size, kernel_init=nn.initializers.zeros, name="own")(slots).reshape(-1, *kernel.shape)
        kernels = (kernel + own).astype(self.dtype)
        return jnp.einsum("hwc,mcf->mhwf" if grid.ndim == 3 else "mhwc,mcf->mhwf", grid, kernels)


def positions(decoder: nn.Module, slots: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """What a decoder draws, and where its height x width places are: slots [m, d], and centres [h, w, 2].

    If `decoder.relative`, slots [m, d + 4] end in their frames, and the places are relative to these, [m, h, w, 2]: a
    slot then need not say where its object is, and an object is drawn alike wherever it is. This is the decoder's half
    of slot-centric reference frames (Biza et al., 2023); attention goes by the picture's positions.
    """
    grid = jnp.asarray(centres(height, width))
    if not decoder.relative:
        return slots, grid
    return slots[:, :-FRAME], relative(grid, slots[:, -FRAME:])


def rematerialised(decoder: nn.Module, slots: jax.Array) -> jax.Array:
    """What the decoder draws, in up to `PARTS` parts one after another, whose activations the backward pass recomputes.

    The same outputs and gradients for a fraction of the memory, and one more forward pass of the decoder (Chen et al.,
    2016). Recomputing alone would not lower the peak, since the backward pass would hold all activations again.
    """
    count = slots.shape[0]
    parts = max(n for n in range(1, PARTS + 1) if count % n == 0)
    plain, variables = decoder.clone(parent=None, remat=False), decoder.variables
    draw = jax.checkpoint(plain.apply)
    pictures = jax.lax.map(lambda part: draw(variables, part), slots.reshape(parts, count // parts, -1))
    return pictures.reshape(count, *pictures.shape[2:])


def _check_multiple(resolution: tuple[int, int], factor: int, why: str) -> None:
    if any(size < 1 or size % factor for size in resolution):
        nearest = tuple(max(factor, round(size / factor) * factor) for size in resolution)
        raise UserError(
            f"model.resolution={resolution}: {why} can only reach multiples of {factor}; take {nearest}, "
            "or other strides"
        )


DECODERS = {"spatial_broadcast": SpatialBroadcastDecoder, "mlp": MLPBroadcastDecoder}
