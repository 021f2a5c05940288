"""From an image to tokens."""

from typing import Any, Literal, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError, shown
from slotjax.nn.fields import Annotated, Count, Counts, Range, Smalls
from slotjax.nn.layers import Conv, Dense
from slotjax.nn.positions import SoftPositionEmbedding, placed_tokens, position_grid, tokens_grid
from slotjax.nn.refinement import NORM_EPSILON
from slotjax.nn.resnet import ResNetEncoder
from slotjax.nn.unet import UNetEncoder

KERNELS = {"glorot": nn.initializers.glorot_uniform(), "he": nn.initializers.he_normal()}


@runtime_checkable
class Encoder(Protocol):
    """A linen module; one more is a class here and a line in `ENCODERS`."""

    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, c] -> tokens [b, n, d], row by row of `grid`."""
        ...

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this height and width."""
        ...

    def check(self) -> None:
        """Raises a `UserError` for attributes that do not go together."""
        ...


class CNNEncoder(nn.Module):
    """Convolutions, a soft position embedding, then LayerNorm and an MLP for every token.

    As in Locatello et al., 2020, appendix E.2.

    Attributes:
      channels, kernels, strides: one entry for each SAME convolution, each followed by a ReLU.
      mlp_dim: width of both layers of the per-token MLP.
      kernel_init: how the convolutions start. "glorot", the original's, lets the picture fade from layer to layer, so
        that at first tokens tell of their place more than of what is there; "he" (He et al., 2015) keeps its strength.
      groups: GroupNorm in so many groups of channels (Wu and He, 2018) between every convolution and its ReLU, as in
        the encoder of SAVi (Kipf et al., 2022); 0, the original's, is none. It measures what is there against the
        rest of the same picture: where backgrounds may be dark or light, objects are what differs from theirs.
      position_scale: of the position embedding; 1 is the original's. 0 leaves places out of tokens, for attention that
        has them from frames of its own.
    """

    channels: Counts = (64, 64, 64, 64)
    kernels: Smalls = (5, 5, 5, 5)
    strides: Smalls = (1, 1, 1, 1)
    mlp_dim: Count = 64
    kernel_init: Literal["glorot", "he"] = "glorot"
    groups: Annotated[int, Range(0, 2**14)] = 0
    position_scale: Annotated[float, Range(0, 1000)] = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, 3] -> tokens [b, n, d], row by row."""
        glorot = nn.initializers.glorot_uniform()
        x = images.astype(self.dtype)
        for i, (channels, size, stride) in enumerate(zip(self.channels, self.kernels, self.strides, strict=True)):
            x = Conv(channels, size, stride, self.dtype, KERNELS[self.kernel_init], name=f"conv{i}")(x)
            if self.groups:
                x = nn.GroupNorm(self.groups, epsilon=NORM_EPSILON, dtype=self.dtype, name=f"group_norm{i}")(x)
            x = nn.relu(x)
        x = SoftPositionEmbedding(self.position_scale, name="position")(x, jnp.asarray(position_grid(*x.shape[-3:-1])))
        x = x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[-1])
        x = nn.LayerNorm(NORM_EPSILON, name="norm")(x).astype(self.dtype)
        x = nn.relu(Dense(self.mlp_dim, kernel_init=glorot, dtype=self.dtype, name="dense0")(x))
        return Dense(self.mlp_dim, kernel_init=glorot, dtype=self.dtype, name="dense1")(x)

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this height and width."""
        return tokens_grid(resolution, self.strides)

    def check(self) -> None:
        """Raises a `UserError` for lists of different lengths, or groups that channels cannot be split into."""
        check_layers("model.encoder", self)
        if self.groups and any(channels % self.groups for channels in self.channels):
            wanted = f"must divide each of model.encoder.channels={shown(self.channels)}; 0 for none"
            raise UserError(f"model.encoder.groups={shown(self.groups)}: {wanted}")


class MLPEncoder(nn.Module):
    """LayerNorm, then an MLP of one hidden layer, for every place of a map of features on its own.

    As in DINOSAUR (Seitzer et al., 2023, appendix E), whose backbone has said already where a token is.
    """

    hidden: Count = 768
    mlp_dim: Count = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[b, h, w, c] -> tokens [b, h * w, mlp_dim], row by row."""
        he = nn.initializers.he_uniform()
        x = features.reshape(features.shape[0], -1, features.shape[-1])
        x = nn.LayerNorm(name="norm")(x).astype(self.dtype)
        x = nn.relu(Dense(self.hidden, kernel_init=he, dtype=self.dtype, name="dense0")(x))
        return Dense(self.mlp_dim, kernel_init=he, dtype=self.dtype, name="dense1")(x)

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens: as many as there are places."""
        return resolution

    def check(self) -> None:
        """Any widths go together."""


class SAViEncoder(nn.Module):
    """Convolutions and positions, then an MLP behind a LayerNorm, as the program of SAVi computes them.

    As in Kipf et al., 2022, app. A.2; it differs from `CNNEncoder` in its pictures, which it takes in [0, 1], its grid
    of positions, its norm's epsilon, its initial kernels and its MLP, which gives back as many channels as it is given.

    Attributes:
      channels, kernels, strides: one entry for each SAME convolution, each followed by a ReLU.
      mlp_dim: width of the hidden layer of the per-token MLP.
    """

    channels: Counts = (32, 32, 32, 32)
    kernels: Smalls = (5, 5, 5, 5)
    strides: Smalls = (1, 1, 1, 1)
    mlp_dim: Count = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, 3] -> tokens [b, n, d], row by row."""
        lecun = nn.initializers.lecun_normal()
        x = ((images + 1) / 2).astype(self.dtype)
        for i, (channels, size, stride) in enumerate(zip(self.channels, self.kernels, self.strides, strict=True)):
            x = nn.relu(Conv(channels, size, stride, self.dtype, lecun, name=f"conv{i}")(x))
        return placed_tokens(x, self.mlp_dim, self.dtype)

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for an image of this height and width."""
        return tokens_grid(resolution, self.strides)

    def check(self) -> None:
        """Raises a `UserError` for lists of different lengths."""
        check_layers("model.encoder", self)


def check_layers(where: str, part: Any) -> None:
    """Raises a `UserError` where a part's channels, kernels and strides are not as many each."""
    lengths = {name: len(getattr(part, name)) for name in ("channels", "kernels", "strides")}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: {lengths} are the numbers of layers; give each as many entries")


ENCODERS: dict[str, Any] = {
    "cnn": CNNEncoder,
    "mlp": MLPEncoder,
    "savi": SAViEncoder,
    "resnet": ResNetEncoder,
    "unet": UNetEncoder,
}
