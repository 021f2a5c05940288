"""Convolutional and dense layers: the plain ones, or on a CPU the equal forms of `slotjax.nn.cpu`."""

import math
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn import cpu
from slotjax.nn.cpu import convolution, dense


class _Layer(nn.Module):
    """A square kernel and a bias, and what is made of them in `dtype`."""

    features: int
    kernel_size: int
    stride: int = 1
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

    plain: ClassVar[Any] = staticmethod(convolution.plain_convolve)
    fast: ClassVar[Any] = staticmethod(convolution.convolve)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        inputs, kernel, bias = (x.astype(self.dtype) for x in (inputs, kernel, bias))
        operation = self.fast if cpu.fast() else self.plain
        return operation(inputs, kernel, self.stride) + bias


class Conv(_Layer):
    """A SAME convolution: [b, h, w, c] -> [b, h / stride, w / stride, features], rounded up."""


class ConvTranspose(_Layer):
    """A SAME transposed convolution: [b, h, w, c] -> [b, h * stride, w * stride, features]."""

    plain: ClassVar[Any] = staticmethod(convolution.plain_conv_transpose)
    fast: ClassVar[Any] = staticmethod(convolution.conv_transpose)


def product(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., c_in] and [c_in, c_out] -> [..., c_out]."""
    return dense.product(inputs, kernel) if cpu.fast() else inputs @ kernel


def _dot_general(inputs: jax.Array, kernel: jax.Array, dimensions: Any, precision: Any = None) -> jax.Array:
    """`product` as `nn.Dense` asks for it."""
    return product(inputs, kernel)


Dense = partial(nn.Dense, dot_general=_dot_general)


class PatchDense(nn.Module):
    """A dense layer that gives `channels` numbers for each pixel of a patch, channel after channel, row by row.

    Its parameters' outputs run (row in patch, column in patch, channel): it is they that are turned around, as they are
    few.
    """

    channels: int
    patch: int
    kernel_init: nn.initializers.Initializer
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[..., d] -> [..., channels * patch * patch]."""
        size = self.channels * self.patch**2
        kernel = self.param("kernel", self.kernel_init, (inputs.shape[-1], size), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (size,), jnp.float32)
        kernel, bias = (self._by_channel(x).astype(self.dtype) for x in (kernel, bias))
        return product(inputs.astype(self.dtype), kernel) + bias

    def _by_channel(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.patch**2, self.channels).swapaxes(-1, -2).reshape(x.shape)


def pixels(patches: jax.Array) -> jax.Array:
    """Square patches of q pixels, row by row, [*b, h, w, c, q] -> the pictures [*b, h * side, w * side, c]."""
    *batch, height, width, channels, size = patches.shape
    side = math.isqrt(size)
    x = patches.reshape(-1, height, width, channels, side, side).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(*batch, height * side, width * side, channels)


def patches(pictures: jax.Array, side: int) -> jax.Array:
    """[*b, h, w, c] -> square patches, row by row, [*b, h / side, w / side, c, q]: `pixels` the other way."""
    *batch, height, width, channels = pictures.shape
    x = pictures.reshape(-1, height // side, side, width // side, side, channels).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(*batch, height // side, width // side, channels, side**2)
