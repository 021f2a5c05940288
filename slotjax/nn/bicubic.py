"""Bicubic interpolation as PyTorch has it, which decides what positions of pretrained networks become elsewhere."""

import numpy as np

SHARP, SOFT = -0.75, -0.5  # the cubic kernel's free number (Keys, 1981): of plain interpolation, of antialiased


def bicubic(have: int, size: int, antialias: bool) -> np.ndarray:
    """The matrix that takes `have` values along an axis to `size`: float32 [size, have], its rows sum to 1.

    Equal to `torch.nn.functional.interpolate(mode="bicubic", align_corners=False, antialias=antialias)`: plain, the
    four neighbours with the border repeated; antialiased, the kernel is widened by the factor of a reduction, and what
    lies outside is left out.
    """
    if have == size:
        return np.eye(size, dtype=np.float32)
    scale = have / size
    place = (np.arange(size) + 0.5) * scale
    if antialias:
        width = max(scale, 1.0)
        weights = _kernel((np.arange(have) + 0.5 - place[:, None]) / width, SOFT)
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    first = np.floor(place - 0.5).astype(int)
    weights = np.zeros((size, have))
    for offset in range(-1, 3):
        taps = _kernel(place - 0.5 - (first + offset), SHARP)
        np.add.at(weights, (np.arange(size), np.clip(first + offset, 0, have - 1)), taps)
    return weights.astype(np.float32)


def _kernel(distance: np.ndarray, a: float) -> np.ndarray:
    """The cubic convolution kernel (Keys, 1981), zero from 2 on."""
    x = np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
