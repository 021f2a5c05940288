"""Convolutions of 5 x 5 taps and stride 1 by a sixth of the multiplications: minimal filtering.

Lavin and Gray, 2016 (Fast Algorithms for Convolutional Neural Networks), sec. 4, after Winograd: the 4 x 4 outputs of a
tile of 8 x 8 inputs come from products of polynomials, evaluated at 8 points along each axis. So 64 multiplications for
each pair of channels do, where 400 are the definition's. Transforms are products with small matrices, and the middle is
one product of matrices for each pair of points. Rounding is some ten times that of the plain form: in float32 1e-5 of
the largest output, or of the largest number in a gradient.

All of it is linear in inputs and in the kernel, so that JAX finds gradients of the same form. Pictures are taken a few
at a time, so that their tiles stay in the cache, and the backward pass transforms them again instead of keeping them.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

SIZE = 5  # taps; of 3 x 3 the transforms cost as much as is saved
TILE = 4  # outputs along an axis; a tile's inputs are its own places and those of the next, 2 to the left
POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)  # and infinity
CHUNK = 2**20  # numbers in the tiles of the pictures that are taken at a time
ENOUGH = 16  # channels in, channels out, and pixels in a row or column

Counts = tuple[int, int]


def applies(inputs: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether a convolution is of this kind, and large enough to gain by it; bfloat16 would not bear the rounding."""
    large = min(*inputs.shape[1:], kernel.shape[-1]) >= ENOUGH
    return kernel.shape[0] == SIZE and stride == 1 and large and inputs.dtype == jnp.float32


def convolve(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """SAME convolution: [b, h, w, c_in] and a kernel [5, 5, c_in, c_out] -> [b, h, w, c_out]."""
    batch, height, width, channels = inputs.shape
    kernel = jnp.einsum("pi,qj,ijxy->qpxy", TAPS, TAPS, kernel)
    counts = -(-height // TILE), -(-width // TILE)

    def few(pictures: jax.Array) -> jax.Array:
        x = jnp.einsum("qptx,qpxy->qpty", tiled(pictures, counts), kernel)
        return untiled(x, counts)[:, :height, :width]

    numbers = math.prod(counts) * math.prod(kernel.shape[:2]) * max(kernel.shape[2:])
    images = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max(1, CHUNK // numbers))
    if images == batch:
        return few(inputs)
    chunks = inputs.reshape(-1, images, height, width, channels)
    return jax.lax.map(jax.checkpoint(few, prevent_cse=False), chunks).reshape(batch, height, width, -1)


def tiled(pictures: jax.Array, counts: Counts) -> jax.Array:
    """Pictures [b, h, w, c] -> transformed tiles, so many rows and columns of them: [8, 8, b * tiles, c]."""
    (rows, columns), (batch, height, width, channels) = counts, pictures.shape
    ends = (rows + 1) * TILE - 2 - height, (columns + 1) * TILE - 2 - width
    x = jnp.pad(pictures, [(0, 0), (2, ends[0]), (2, ends[1]), (0, 0)])
    x = x.reshape(batch, rows + 1, TILE, -1).transpose(2, 0, 1, 3)
    x = jnp.tensordot(TILES, with_next(x, 2), 1)
    x = x.reshape(-1, batch, rows, columns + 1, TILE, channels).transpose(4, 0, 1, 2, 3, 5)
    x = jnp.tensordot(TILES, with_next(x, 4), 1)
    return x.reshape(*x.shape[:2], -1, channels)


def with_next(blocks: jax.Array, axis: int) -> jax.Array:
    """Blocks [4, ...], one after another along `axis`, each with the next below it: [8, ...]."""
    count = blocks.shape[axis]
    return jnp.concatenate([jax.lax.slice_in_dim(blocks, i, i + count - 1, axis=axis) for i in (0, 1)])


def untiled(x: jax.Array, counts: Counts) -> jax.Array:
    """Transformed outputs [8, 8, b * tiles, c] -> pictures [b, h, w, c] of whole tiles."""
    (rows, columns), channels = counts, x.shape[-1]
    x = jnp.tensordot(OUTPUTS, x.reshape(*x.shape[:2], -1), 1)
    x = jnp.einsum("ip,jpx->jix", OUTPUTS, x)
    x = x.reshape(TILE, TILE, -1, rows, columns, channels).transpose(2, 3, 1, 4, 0, 5)
    return x.reshape(-1, rows * TILE, columns * TILE, channels)


def transforms() -> list[np.ndarray]:
    """Of outputs [4, 8], taps [8, 5] and tiles [8, 8].

    With V_k [8, k] giving a polynomial of k coefficients at the points, that of two is V_8^-1 (V_4 a * V_5 b). What
    networks call a convolution is its transpose in a: outputs = V_4^T (V_5 taps * V_8^-T tile).
    """
    powers = np.power.outer(np.array(POINTS, np.float64), np.arange(len(POINTS) + 1))
    outputs, taps, tiles = (
        np.concatenate([powers[:, :count], np.eye(count)[-1:]]) for count in (TILE, SIZE, len(POINTS) + 1)
    )
    tiles = np.linalg.inv(tiles).T
    # Both factors of a product are brought to the same size, by powers of 2: so it rounds least.
    scale = 2 ** np.round(np.log2(np.abs(tiles).sum(1) / np.abs(taps).sum(1)) / 2)[:, None]
    return [x.astype(np.float32) for x in (outputs.T, taps * scale, tiles / scale)]


OUTPUTS, TAPS, TILES = transforms()
