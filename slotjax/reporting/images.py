"""Arrays into data URIs, small enough to mail."""

import base64
import io

import numpy as np
from PIL import Image

LOSSLESS_SIDE = 48  # up to here pictures are tiny, and every pixel is looked at
QUALITY = 82
MAX_WEBP_SIDE = 16383


def bounded(height: int, width: int, side: int) -> tuple[int, int]:
    """The size with the longer side cut down to `side`, shape kept."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: np.ndarray, size: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """uint8 [h, w] or [h, w, c] to [*size] or [*size, c]; ids are not to be smoothed."""
    if image.shape[:2] == size:
        return image
    how = Image.Resampling.BOX if smooth and size[0] <= image.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize(size[::-1], how if smooth else Image.Resampling.NEAREST))


def to_levels(weights: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] to 0..255."""
    return np.clip(np.asarray(weights, np.float32) * 255 + 0.5, 0, 255).astype(np.uint8)


def sheet(tiles: np.ndarray) -> np.ndarray:
    """Equal tiles [rows, columns, h, w(, c)] as one picture: a file of its own for each would cost more."""
    rows, columns, height, width, *channels = tiles.shape
    return np.moveaxis(tiles, 2, 1).reshape(rows * height, columns * width, *channels)


def data_uri(image: np.ndarray, lossless: bool) -> str:
    """uint8 [h, w], [h, w, 3] or [h, w, 4] as `data:image/webp;base64,...`."""
    buffer = io.BytesIO()
    # Without loss, quality means effort.
    Image.fromarray(image).save(buffer, "webp", lossless=lossless, quality=100 if lossless else QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
