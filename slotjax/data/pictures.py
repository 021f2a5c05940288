"""Pictures and masks from files of any kind and origin, made into arrays.

A picture of any size and mode is turned by its EXIF orientation, laid over white where it is transparent, scaled down
from 16-bit grey and turned into RGB; then the largest centred part of the target's proportions is kept (crop=True) or
the whole is squashed (crop=False), and resized with Pillow's antialiased bilinear filter, which photographs need.

A mask holds grey values, palette indices or colours: 0, black or transparent is background, every other value one
object. Objects are numbered 1, 2, ... in the order of their values, in each mask for itself.
"""

import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from slotjax.errors import UserError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 2**26  # 8192 x 8192; a larger picture is refused before it is unpacked
# What Pillow itself decodes; among its other formats are some that start external programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
LOSSY = ("JPEG", "WEBP")
MAX_MASK_IDS = 255
_DARK, _BRIGHT, _CERTAIN = 64, 191, 0.95  # a mask that was saved with losses: two values, and few pixels in between
_PIECE = 2**20  # pixels
_ORIENTATION = 0x0112  # the EXIF tag
_opening = threading.Lock()  # warnings filters are global to the process


def load_picture(path: str | Path, resolution: tuple[int, int] | None = None, crop: bool = True) -> np.ndarray:
    """A picture as a model's input, float32 [h, w, 3] in [-1, 1].

    Args:
      resolution: height and width; None for the picture's own.
      crop: see the module.

    Raises:
      UserError: the file is missing, no picture, damaged, or larger than `MAX_PIXELS`.
    """
    picture, _ = read_rgb(Path(path))
    return as_input(picture, resolution or picture.size[::-1], crop)


def as_input(picture: "Image", resolution: tuple[int, int], crop: bool) -> np.ndarray:
    """An RGB picture, cut and resized, as float32 [*resolution, 3] in [-1, 1]."""
    return cut(picture, resolution, kept_box(picture.size, resolution[::-1], crop))


def cut(picture: "Image", resolution: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """A part (left, top, right, bottom) of an RGB picture, resized, as float32 [*resolution, 3] in [-1, 1]."""
    if (picture.size, box) != (resolution[::-1], (0, 0, *picture.size)):
        from PIL import Image

        picture = picture.resize(resolution[::-1], Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return np.asarray(picture, np.float32) / np.float32(127.5) - np.float32(1)


def cut_ids(ids: np.ndarray, resolution: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """The same part of whole numbers [h, w], resized to the nearest pixel: int32 [*resolution]."""
    if (ids.shape, box) != (resolution, (0, 0, *ids.shape[::-1])):
        from PIL import Image

        resized = Image.fromarray(ids.astype(np.int32)).resize(resolution[::-1], Image.Resampling.NEAREST, box=box)
        ids = np.asarray(resized)
    return ids.astype(np.int32)


def load_mask(path: str | Path, resolution: tuple[int, int] | None = None, crop: bool = True) -> np.ndarray:
    """The ids of a mask, int32 [h, w], cut and resized (to the nearest pixel) as `load_picture` does with its picture.

    Raises:
      UserError: as in `load_picture`, and for more than `MAX_MASK_IDS` objects.
    """
    ids = read_mask(Path(path))
    return as_segments(ids, resolution or ids.shape, crop)


def as_segments(ids: np.ndarray, resolution: tuple[int, ...], crop: bool) -> np.ndarray:
    """Ids uint8 [h, w], cut and resized as `as_input` does with their picture: int32 [*resolution]."""
    shape = resolution[0], resolution[1]
    return cut_ids(ids, shape, kept_box(ids.shape[::-1], shape[::-1], crop))


def kept_box(size: tuple[int, int], shape: tuple[int, int], crop: bool) -> tuple[float, float, float, float]:
    """The part that is kept, as (left, top, right, bottom): centred, of the target's proportions.

    Args:
      size, shape: width and height, of the picture and of the target.
    """
    width, height = size
    if not crop:
        return 0, 0, width, height
    scale = min(width / shape[0], height / shape[1])
    left, top = (width - scale * shape[0]) / 2, (height - scale * shape[1]) / 2
    return max(left, 0), max(top, 0), min(width - left, width), min(height - top, height)


def read_rgb(path: Path) -> tuple["Image", list[str]]:
    """The whole picture upright in RGB, and what was changed."""
    picture, turned = _upright(path)
    rgb, notes = to_rgb(picture, path)
    return rgb, ["turned by its EXIF orientation"] * turned + notes


def to_rgb(picture: "Image", name: object) -> tuple["Image", list[str]]:
    """An unpacked picture of any mode in RGB, and what was changed; `name` begins the error of one that cannot be."""
    from PIL import Image

    notes: list[str] = []
    if picture.mode == "F":
        raise UserError(f"{name} holds floating-point pixels, whose range is unknown: save it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        grey = (np.asarray(picture).clip(0, 65535).astype(np.float32) / 257).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB"), [*notes, "16-bit grey scaled to 8 bits"]
    if picture.has_transparency_data:
        opaque = Image.new("RGBA", picture.size, "white")
        opaque.alpha_composite(picture.convert("RGBA"))
        return opaque.convert("RGB"), [*notes, "transparency laid over white"]
    if picture.mode != "RGB":
        notes.append(f"converted from mode {picture.mode} to RGB")
    return picture.convert("RGB"), notes


def read_mask(path: Path) -> np.ndarray:
    """The whole mask upright: ids uint8 [h, w], 1, 2, ... in the order of the values, of which 0 is no object."""
    values = mask_values(path)
    if values.dtype == np.uint8:
        found = np.flatnonzero(np.bincount(values.ravel(), minlength=256)[1:]) + 1
        table = np.zeros(256, np.uint8)
        table[found] = np.arange(1, len(found) + 1)
        return table[values]
    found = np.unique(values)
    found = found[found != 0]
    if len(found) > MAX_MASK_IDS:
        raise UserError(
            f"{path} holds {len(found) + 1} different values: a mask has one for each of up to {MAX_MASK_IDS} objects"
        )
    ids = np.zeros(values.size, np.uint8)
    for start in range(0, values.size, _PIECE):  # in pieces: the places that numpy finds take 8 bytes each
        numbers = values.ravel()[start : start + _PIECE]
        ids[start : start + _PIECE] = np.where(numbers == 0, 0, np.searchsorted(found, numbers) + 1)
    return ids.reshape(values.shape)


def mask_values(path: Path) -> np.ndarray:
    """What the whole mask holds, upright: one number for each pixel [h, w], 0 where there is no object."""
    picture, _ = _upright(path)
    return _lossy_mask(picture, path) if picture.format in LOSSY else _values(picture)


def read_upright(path: Path) -> "Image":
    """The whole picture upright, in the mode that its file has."""
    return _upright(path)[0]


def _values(picture: "Image") -> np.ndarray:
    """One number for each pixel [h, w]: a grey's value, a palette's index, or red, green and blue as bytes of it."""
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int32)
    if picture.mode in ("1", "L", "P"):
        values = np.array(picture, np.uint8)
    else:
        colours = np.asarray(picture.convert("RGB"))
        values = np.zeros(colours.shape[:2], np.int32)
        for band in range(3):
            values <<= 8
            values |= colours[..., band]
    if picture.has_transparency_data:
        values[np.asarray(picture.convert("RGBA").getchannel("A")) < 128] = 0
    return values


def _lossy_mask(picture: "Image", path: Path) -> np.ndarray:
    """Black and white, which survive losses; of more values nobody knows what they were."""
    colours = np.asarray(picture.convert("RGB"))
    dark, bright = (colours <= _DARK).all(-1), (colours > _BRIGHT).all(-1)
    if (dark | bright).mean() < _CERTAIN or (colours.any() and not bright.any()):
        raise UserError(f"{path} is a mask of several values as {picture.format}, which changes them: save it as PNG")
    return (colours.mean(-1) >= 128).astype(np.uint8)


def _upright(path: Path) -> tuple["Image", bool]:
    """The picture unpacked, and whether its EXIF data made it turn."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file: give a picture")
        with path.open("rb") as file:
            picture, orientation = unpack(file, path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): check or replace it") from None
    return picture, orientation != 1


def opened(file: BinaryIO, formats: tuple[str, ...] = FORMATS) -> "Image":
    """A picture that is not unpacked yet. Raises whatever Pillow does; warns of nothing."""
    from PIL import Image

    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(file, formats=formats)


def unpack(file: BinaryIO, name: object, formats: tuple[str, ...] = FORMATS) -> tuple["Image", int]:
    """A picture, unpacked if its size is within bounds, and turned upright; and the orientation that it had.

    Raises:
      UserError: the file is at fault; begins with `name`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        picture = opened(file, formats)
        if picture.width * picture.height <= MAX_PIXELS:
            orientation = picture.getexif().get(_ORIENTATION, 1)
            kind = picture.format
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            picture.format = kind
            return picture, orientation
    except UnidentifiedImageError:
        raise UserError(f"{name} is no picture ({', '.join(formats)}): leave it out, or convert it to PNG") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name} has more than {MAX_PIXELS} pixels: make it smaller") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders, and nothing else, run above: on damaged files they raise many kinds
        raise UserError(f"{name} cannot be read ({first_line(error)}): check or replace it") from None
    size = f"{picture.width}x{picture.height}"
    raise UserError(f"{name} has {size} pixels, more than {MAX_PIXELS}: make it smaller")
