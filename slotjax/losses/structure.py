"""How like the reconstruction is to its target in structure."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.models import Output

WINDOW, SPREAD = 11, 1.5  # of the window in which pixels are compared, in pixels
STABLE = (0.01, 0.03)  # shares of the range of values, squared, that keep divisions from blowing up
RANGE = 2.0  # of pictures in [-1, 1]


def ssim(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """1 - SSIM, the structural similarity of each image (Wang et al., 2004, sec. III.B), in [0, 2]: [b].

    Means, variances and covariance of both pictures are compared in Gaussian windows, of which those count that lie
    within the picture; the mean over windows and channels. Outlines then weigh as much as large flat areas. A side of
    less than 11 pixels has a window as long as itself.
    """
    del batch, step
    x, y = (picture.astype(jnp.float32) for picture in out.need("reconstruction", "target"))
    size = (x.shape[-3], x.shape[-2])
    mean_x, mean_y = blurred(x, size), blurred(y, size)
    var_x, var_y = blurred(x * x, size) - mean_x**2, blurred(y * y, size) - mean_y**2
    covariance = blurred(x * y, size) - mean_x * mean_y
    first, second = ((share * RANGE) ** 2 for share in STABLE)
    of_means = (2 * mean_x * mean_y + first) / (mean_x**2 + mean_y**2 + first)
    of_spreads = (2 * covariance + second) / (var_x + var_y + second)
    return 1 - (of_means * of_spreads).reshape(len(x), -1).mean(1)


def blurred(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The mean of each window that lies within pictures [..., h, w, c], as two products with banded matrices."""
    rows, columns = (jnp.asarray(windows(side)) for side in size)
    precise = jax.lax.Precision.HIGHEST  # variances are small differences of what this makes
    return jnp.einsum("ph,qw,...hwc->...pqc", rows, columns, x, precision=precise)


def windows(side: int) -> np.ndarray:
    """The weights of each window over the pixels of a side: [windows, side], each of which sums to 1."""
    width = min(WINDOW, side)
    weights = np.exp(-(((np.arange(width) - (width - 1) / 2) / SPREAD) ** 2) / 2)
    weights = weights / weights.sum()
    return np.stack([np.pad(weights, (i, side - width - i)) for i in range(side - width + 1)]).astype(np.float32)
