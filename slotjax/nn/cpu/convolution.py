"""Convolutions and transposed convolutions, fast under XLA's CPU compiler.

A convolution is linear in its inputs and in its kernel, so there are three operations to be fast at:

    convolve          out[o] = sum_t inputs[stride * o + t - low] kernel[t]
    its transpose     in the inputs: a transposed convolution, or the gradient that flows through a convolution
    kernel gradient   dkernel[t] = sum_o inputs[stride * o + t - low]^T gradient[o]

On CPU XLA is only fast at the first with stride 1 (some 80% of what a core can multiply): a convolution over a dilated
input takes 3 to 10 times as long, and so does a kernel's gradient. Here the transpose is one ordinary convolution for
each output phase, and the kernel's gradient a matrix product. The price is that these functions have a reverse-mode
derivative only. `plain_convolve` and `plain_conv_transpose` are what they equal (`tests/test_convolution.py`). Those of
5 x 5 taps and stride 1 that are large take fewer multiplications instead (`slotjax/nn/cpu/winograd.py`).
"""

from functools import partial

import jax
import jax.numpy as jnp

from slotjax.nn.cpu import winograd

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
CHUNK = 2**22  # numbers that a kernel's gradient lays out at a time: they should stay in the cache
FEW = 4  # channels, as of pictures: XLA:CPU convolves so few at a fifth of its rate

Pair = tuple[int, int]


def plain_convolve(inputs: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """SAME convolution: [b, h, w, c_in] and a kernel [s, s, c_in, c_out] -> [b, h / stride, w / stride, c_out]."""
    return _convolution(inputs, kernel, stride, "SAME")


def plain_conv_transpose(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """SAME transposed convolution: [b, h, w, c_in] and [s, s, c_in, c_out] -> [b, h * stride, w * stride, c_out]."""
    return jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)


def convolve(inputs: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Equals `plain_convolve`."""
    if winograd.applies(inputs, kernel, stride):
        return winograd.convolve(inputs, kernel)
    return direct_convolve(inputs, kernel, stride)


def conv_transpose(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Equals `plain_conv_transpose`; the kernel is square."""
    if winograd.applies(inputs, kernel, stride):  # with stride 1 it is a convolution
        return winograd.convolve(inputs, kernel)
    return direct_conv_transpose(inputs, kernel, stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def direct_convolve(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`convolve` by all multiplications."""
    if stride > 1 and inputs.shape[-1] <= FEW:
        return by_patches(inputs, kernel, stride)
    return plain_convolve(inputs, kernel, stride)


def _convolve_forward(inputs, kernel, stride):
    return direct_convolve(inputs, kernel, stride), (inputs, kernel)


def _convolve_backward(stride, residuals, gradient):
    inputs, kernel = residuals
    lows = same_padding(inputs.shape, kernel.shape[0], stride)
    flow = by_phase(gradient, turn(kernel), stride, lows, inputs.shape[1:3])
    return flow, kernel_gradient(inputs, gradient, kernel.shape[0], stride, lows).astype(kernel.dtype)


direct_convolve.defvjp(_convolve_forward, _convolve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def direct_conv_transpose(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`conv_transpose` by all multiplications."""
    _, height, width, _ = inputs.shape
    low = transposed_padding(kernel.shape[0], stride)
    return by_phase(inputs, kernel, stride, (low, low), (height * stride, width * stride))


def _conv_transpose_forward(inputs, kernel, stride):
    return direct_conv_transpose(inputs, kernel, stride), (inputs, kernel)


def _conv_transpose_backward(stride, residuals, gradient):
    inputs, kernel = residuals
    size, low = kernel.shape[0], transposed_padding(kernel.shape[0], stride)
    flow = _convolution(gradient, turn(kernel), stride, ((low, size - stride - low),) * 2)
    turned = kernel_gradient(gradient, inputs, size, stride, (low, low))
    return flow, turn(turned).astype(kernel.dtype)


direct_conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


def by_phase(inputs: jax.Array, kernel: jax.Array, stride: int, lows: Pair, size: Pair) -> jax.Array:
    """The transpose of a convolution: every output phase by a convolution of its own, with just the taps that it meets.

    Args:
      inputs: [b, h, w, c_in].
      kernel: [s, s, c_in, c_out], turned (see `turn`).
      lows: rows and columns by which that convolution pads in front.
      size: height and width of the result, at most stride times those of the inputs.
    """

    def taps(phase, low):  # those that meet this phase; the first reaches `front` inputs back
        before = kernel.shape[0] - 1 - low - phase
        first = before % stride
        return slice(first, None, stride), (before - first) // stride

    def picture(row, column):
        (rows, up), (columns, left) = taps(row, lows[0]), taps(column, lows[1])
        part = kernel[rows, columns]
        if not part.size:
            return jnp.zeros((*inputs.shape[:3], kernel.shape[-1]), inputs.dtype)
        padding = ((up, part.shape[0] - 1 - up), (left, part.shape[1] - 1 - left))
        return _convolution(inputs, part, 1, padding)

    phases = range(stride)
    if stride == 1:
        return picture(0, 0)[:, : size[0], : size[1]]
    out = jnp.stack([jnp.stack([picture(row, column) for column in phases], 3) for row in phases], 2)
    batch, height, _, width, _, channels = out.shape
    return out.reshape(batch, height * stride, width * stride, channels)[:, : size[0], : size[1]]


def kernel_gradient(inputs: jax.Array, gradient: jax.Array, size: int, stride: int, lows: Pair) -> jax.Array:
    """The gradient of a convolution's kernel, as matrix products over some images at a time.

    Args:
      inputs: [b, h, w, c_in], the convolution's.
      gradient: [b, h', w', c_out], of its outputs.
      size: s, the kernel's.
      lows: rows and columns by which the convolution pads in front.

    Returns:
      [s, s, c_in, c_out], float32.
    """
    few = partial(_kernel_gradient, size=size, stride=stride, lows=lows)
    batch, pixels = inputs.shape[0], gradient.shape[1] * gradient.shape[2]
    laid_out = inputs.shape[-1] + gradient.shape[-1] if stride == 1 else size * inputs.shape[-1]
    fit = max(1, CHUNK // (pixels * size * laid_out))
    images = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fit)
    if images == batch:
        return few(inputs, gradient)
    chunks = [x.reshape(-1, images, *x.shape[1:]) for x in (inputs, gradient)]
    zeros = jnp.zeros((size, size, inputs.shape[-1], gradient.shape[-1]), jnp.float32)
    return jax.lax.scan(lambda total, chunk: (total + few(*chunk), None), zeros, chunks)[0]


def _kernel_gradient(inputs, gradient, size, stride, lows):
    c_in, c_out = inputs.shape[-1], gradient.shape[-1]
    if stride == 1:  # shifting the gradient up instead of the inputs down leaves less to lay out
        # Channels go to the front while they are few: the product would lay the whole out anew.
        columns = shifted(jnp.moveaxis(inputs, -1, 0), 3, size, stride, lows[1], gradient.shape[2], 0)
        rows = shifted(gradient, 1, size, 1, size - 1 - lows[0], inputs.shape[1])
        product = jnp.einsum("xbhw,bhwy->xy", columns, rows, preferred_element_type=jnp.float32)
        return product.reshape(size, c_in, size, c_out)[:, :, ::-1].transpose(2, 0, 1, 3)
    patches = patches_of(inputs, size, stride, lows, gradient.shape[1:3])
    product = jnp.einsum("bhwy,bhwx->yx", gradient, patches, preferred_element_type=jnp.float32)
    return product.reshape(c_out, size, size, c_in).transpose(1, 2, 3, 0)


def patches_of(inputs: jax.Array, size: int, stride: int, lows: Pair, places: Pair) -> jax.Array:
    """What a kernel sees at each of height x width places: [b, h, w, c] -> [b, height, width, s * s * c]."""
    columns = shifted(inputs, 2, size, stride, lows[1], places[1])
    return shifted(columns, 1, size, stride, lows[0], places[0])


def shifted(x: jax.Array, axis: int, size: int, stride: int, low: int, count: int, to: int = -1) -> jax.Array:
    """What `size` taps see along `axis`, one after another along `to`: [..., n, ..., c] -> [..., count, ..., size * c].

    Place o holds x at stride * o + tap - low for every tap, zeros outside.
    """
    last = stride * (count - 1) + 1
    pad = [(0, 0)] * x.ndim
    pad[axis] = (low, max(0, last - 1 + size - low - x.shape[axis]))
    x = jnp.pad(x, pad)
    return jnp.concatenate([jax.lax.slice_in_dim(x, t, t + last, stride, axis) for t in range(size)], to)


def turn(kernel: jax.Array) -> jax.Array:
    """The kernel of a convolution's transpose: taps turned around, channels in and out exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def same_padding(shape: tuple[int, ...], size: int, stride: int) -> Pair:
    """Rows and columns in front of the pictures [b, h, w, c] of a SAME convolution."""
    height, width = jax.lax.padtype_to_pads(shape[1:3], (size, size), (stride, stride), "SAME")
    return height[0], width[0]


def transposed_padding(size: int, stride: int) -> int:
    """Rows in front of the pictures of the convolution whose transpose is `lax.conv_transpose` with SAME."""
    return 0 if stride > size - 1 else size - 1 - -(-(size + stride - 2) // 2)


def by_patches(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A SAME convolution as one matrix product."""
    (_, height, width, _), size = inputs.shape, kernel.shape[0]
    places = (-(-height // stride), -(-width // stride))
    patches = patches_of(inputs, size, stride, same_padding(inputs.shape, size, stride), places)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _convolution(inputs, kernel, stride, padding):
    return jax.lax.conv_general_dilated(inputs, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
