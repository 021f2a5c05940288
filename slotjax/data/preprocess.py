"""From stored pixels to a model's input: the crop, the resize and the scale of the original, in numpy."""

import math
from functools import lru_cache

import numpy as np

from slotjax.errors import UserError

# The original's window (first row, last row, first column, last column) for the 240x320 pictures of CLEVR.
REFERENCE_WINDOW = (29, 221, 64, 256)
_REFERENCE_SIZE = (240, 320)

Window = tuple[int, int, int, int]


def clevr_window(height: int, width: int, crop: bool | str) -> Window:
    """The part of a CLEVR picture that is kept, as (top, bottom, left, right) in pixels.

    The generator's lens spans the picture's *width*, so other sizes see the same scene when the window is scaled by
    width and kept at the same place about the centre row.

    Args:
      crop: False keeps everything; True the field of view of `REFERENCE_WINDOW`; "reference" those very numbers
        whatever the size, as the original does (on 320x480 pictures that is off centre).

    Raises:
      UserError: the window does not fit the picture.
    """
    if not crop:
        return 0, height, 0, width
    window = REFERENCE_WINDOW
    if crop is True:
        scale = width / _REFERENCE_SIZE[1]
        side = _round((window[1] - window[0]) * scale)
        top = _round(height / 2 + (window[0] - _REFERENCE_SIZE[0] / 2) * scale)
        left = _round(window[2] * scale)
        window = (top, top + side, left, left + side)
    if window[0] < 0 or window[1] > height or window[3] > width:
        raise UserError(
            f"data.crop={crop!r} needs rows {window[0]}:{window[1]}, columns {window[2]}:{window[3]}, "
            f"but a picture is {height}x{width}: set data.crop=False"
        )
    return window


def in_window(pixel_coords: np.ndarray, window: Window) -> np.ndarray:
    """Columns and rows [..., 2 or more] in pixels as parts of the window's width and height: float32 [..., 2]."""
    top, bottom, left, right = window
    sides = np.array([right - left, bottom - top], np.float32)
    return (pixel_coords[..., :2].astype(np.float32) - np.array([left, top], np.float32)) / sides


def resize_bilinear(image: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """Bilinear resize without antialiasing, as TF2's `tf.image.resize` (half-pixel centres): float32 [h, w, c]."""
    image = np.asarray(image, np.float32)
    for axis, size in enumerate(resolution):
        lower, upper, weight = _linear_taps(image.shape[axis], size)
        if len(lower) == image.shape[axis] and not weight.any():
            continue  # the same size
        first, second = image.take(lower, axis), image.take(upper, axis)
        image = first + (second - first) * weight.reshape((-1,) + (1,) * (image.ndim - 1 - axis))
    return image


def resize_nearest(segments: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """Nearest resize [h, w] under the same rule of pixel centres, so that masks line up with `resize_bilinear`.

    Output pixel i looks at the input coordinate (i + 1/2) * in / out, whichever input pixel that falls in.
    """
    rows, columns = (
        np.minimum(((np.arange(size) + 0.5) * (have / size)).astype(np.int64), have - 1)
        for have, size in zip(segments.shape, resolution, strict=True)
    )
    return segments[np.ix_(rows, columns)]


def to_input(image: np.ndarray, window: Window, resolution: tuple[int, int]) -> np.ndarray:
    """Cut the window out of a uint8 picture [h, w, 1 or 3]; resize; scale to [-1, 1]: float32 [*resolution, 3]."""
    top, bottom, left, right = window
    scaled = (image[top:bottom, left:right].astype(np.float32) / np.float32(255) - np.float32(0.5)) * np.float32(2)
    resized = np.clip(resize_bilinear(scaled, resolution), -1, 1)
    return np.repeat(resized, 3, axis=-1) if resized.shape[-1] == 1 else resized


def to_segments(segments: np.ndarray, window: Window, resolution: tuple[int, int]) -> np.ndarray:
    """The same cut and size for a map of segment ids [h, w]: int32 [*resolution]; ids stay as they are."""
    top, bottom, left, right = window
    return resize_nearest(segments[top:bottom, left:right], resolution).astype(np.int32)


def _round(value: float) -> int:
    return math.floor(value + 0.5)


@lru_cache(maxsize=16)
def _linear_taps(have: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every output pixel its two neighbours (clamped at the border) and the weight of the second."""
    position = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(have / size) - np.float32(0.5)
    floor = np.floor(position)
    lower = np.maximum(floor, 0).astype(np.int64)
    upper = np.minimum(np.ceil(position), have - 1).astype(np.int64)
    return lower, upper, position - floor
