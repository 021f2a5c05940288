"""Convolutional and dense layers: the plain ones, or on a CPU the equal forms of `slotjax.nn.cpu`."""

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


def depth_to_space(inputs: jax.Array, block: int) -> jax.Array:
    """[b, h, w, block * block * c] -> [b, h * block, w * block, c]; channels run (row in block, column in block, c)."""
    batch, height, width, channels = inputs.shape
    x = inputs.reshape(batch, height, width, block, block, channels // block**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * block, width * block, channels // block**2)
