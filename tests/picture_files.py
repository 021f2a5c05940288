"""Writing small pictures for the tests."""

import numpy as np
from PIL import Image


def gradient(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, rows * 0 + 60], -1).astype(np.uint8)


def save(path, array: np.ndarray, mode: str | None = None):
    path.parent.mkdir(exist_ok=True, parents=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path
