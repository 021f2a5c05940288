"""A folder of the user's own pictures, with or without masks.

Every file below the folder that is not hidden must be a picture (see `slotjax.system.reading.FORMATS`). Pictures of any
size and mode are converted (`load_picture` says how): EXIF orientation applied, transparency laid over white, 16-bit
greys scaled down, everything else turned into RGB; then the largest centred part of the target's proportions is kept
(crop=True) or the whole is squashed (crop=False), and resized with Pillow's antialiased bilinear filter, which
photographs need.

The mask of `DIR/NAME.jpg` is `DIR/masks/NAME.png` or `DIR/NAME_mask.png`, of the same size: grey values, palette
indices or colours, where 0 (black) is background and every other value one object. Either all pictures have one or
none.
"""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slotjax.data import cache
from slotjax.errors import UserError
from slotjax.system.reading import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_MASK_IDS = 255
_PIECE = 2**20  # pixels
_ORIENTATION = 0x0112  # the EXIF tag
_LITTER = ("Thumbs.db", "desktop.ini")  # left by file managers; those of others are hidden


def load_picture(path: Path, resolution: tuple[int, int], crop: bool = True) -> tuple[np.ndarray, str]:
    """A picture as a model's input.

    Returns:
      float32 [*resolution, 3] in [-1, 1], and what was done to the picture in words ("" if nothing was).

    Raises:
      UserError: the file is missing, no picture, damaged, or larger than `slotjax.system.reading.MAX_PIXELS`.
    """
    picture, notes = _read_rgb(path)
    box, shape = _box(picture.size, resolution, crop), resolution[::-1]
    if picture.size != shape:
        notes.append(f"{'cropped and ' if box != (0, 0, *picture.size) else ''}resized from {_size(picture)}")
        from PIL import Image

        picture = picture.resize(shape, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return np.asarray(picture, np.float32) / np.float32(127.5) - np.float32(1), ", ".join(notes)


class Folder:
    """The pictures of a folder as examples: `image`, and with masks `segments` and `objects` (`present` alone).

    Args:
      paths: the pictures.
      masks: their masks, in the same order; or empty.
      max_objects: the most objects a mask shows (see `scan`); None without masks.
    """

    def __init__(
        self, paths: list[Path], masks: list[Path], resolution: tuple[int, int], *, crop: bool, max_objects: int | None
    ):
        self.has_segments = bool(masks)
        self.max_objects = max_objects
        self._paths, self._masks = paths, masks
        self._resolution, self._crop = resolution, crop

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict:
        image, _ = load_picture(self._paths[index], self._resolution, self._crop)
        if self.max_objects is None:
            return {"image": image}
        from PIL import Image

        ids, _ = _read_mask(self._masks[index])
        box = _box(ids.shape[::-1], self._resolution, self._crop)
        resized = Image.fromarray(ids).resize(self._resolution[::-1], Image.Resampling.NEAREST, box=box)
        segments = np.asarray(resized, np.int32)
        present = np.isin(np.arange(1, self.max_objects + 1), segments)
        return {"image": image, "segments": segments, "objects": {"present": present}}


def scan(directory: Path) -> tuple[list[Path], list[Path], np.ndarray]:
    """Find and check the pictures and masks of a folder, by their headers; count each mask's objects (kept for later).

    Returns:
      the pictures in the order of their names; their masks, or []; the number of objects of each mask, int [len].

    Raises:
      UserError: the folder is missing or empty, a file is no picture, a mask is missing or of another size.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"data.path: {directory} is no folder: give the folder that holds the pictures")
    files = sorted(path for path in directory.rglob("*") if path.is_file() and not _hidden(path, directory))
    stems = {path.with_suffix("") for path in files}
    pictures = [path for path in files if path.parent.name != "masks" and not _is_mask(path, stems)]
    if not pictures:
        raise UserError(f"data.path: {directory} holds no pictures: give a folder with PNG or JPEG files")
    sizes = [_oriented_size(path) for path in pictures]
    masks = [mask for path in pictures if (mask := _mask_of(path)) is not None]
    if not masks:
        return pictures, [], np.zeros(0, np.int64)
    if len(masks) < len(pictures):
        lonely = next(path for path in pictures if _mask_of(path) is None)
        raise UserError(f"{lonely} has no mask, though others have: add masks/{lonely.stem}.png or remove all masks")
    return pictures, masks, _count_objects(directory, pictures, masks, sizes)


def _hidden(path: Path, directory: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(directory).parts) or path.name in _LITTER


def _is_mask(path: Path, stems: set[Path]) -> bool:
    return path.stem.endswith("_mask") and path.with_name(path.stem.removesuffix("_mask")) in stems


def _mask_of(picture: Path) -> Path | None:
    candidates = picture.parent / "masks" / f"{picture.stem}.png", picture.with_name(f"{picture.stem}_mask.png")
    return next((path for path in candidates if path.is_file()), None)


def _count_objects(
    directory: Path, pictures: list[Path], masks: list[Path], sizes: list[tuple[int, int]]
) -> np.ndarray:
    listing = [(str(mask), mask.stat().st_size, mask.stat().st_mtime_ns) for mask in masks]
    key = hashlib.sha256(repr((listing, sizes)).encode()).hexdigest()
    path = cache.derived_path(directory.absolute(), ".object_counts.json")
    kept = cache.read_json(path) or {}
    counts = cache.whole_numbers(kept.get("counts"), len(masks), MAX_MASK_IDS)
    if kept.get("key") != key or counts is None:
        counts = []
        with cache.progress("Reading masks (once)", len(masks)) as advance:
            for picture, mask, size in zip(pictures, masks, sizes, strict=True):
                ids, count = _read_mask(mask)
                if ids.shape[::-1] != size:
                    raise UserError(
                        f"{mask} is {ids.shape[1]}x{ids.shape[0]}, but {picture} {size[0]}x{size[1]}: resize it"
                    )
                counts.append(count)
                advance(len(counts))
        cache.write_json(path, {"key": key, "counts": counts})
    return np.asarray(counts, np.int64)


def _read_mask(path: Path) -> tuple[np.ndarray, int]:
    """Ids uint8 [h, w]: 0 for value 0 or black, then 1, 2, ... in the order of the values; and how many there are."""
    picture, _ = _upright(path)
    if picture.mode in ("1", "L", "P"):
        values = np.asarray(picture).astype(np.uint8)
        found = np.flatnonzero(np.bincount(values.ravel(), minlength=256)[1:]) + 1
        table = np.zeros(256, np.uint8)
        table[found] = np.arange(1, len(found) + 1)
        return table[values], len(found)
    values = _colour_numbers(picture)
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
    return ids.reshape(values.shape), len(found)


def _colour_numbers(picture: "Image") -> np.ndarray:
    """One number for each pixel, int32 [h, w]: a grey's value, or red, green and blue as bytes of the number."""
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int32)
    colours = np.asarray(picture.convert("RGB"))
    numbers = np.zeros(colours.shape[:2], np.int32)
    for band in range(3):
        numbers <<= 8
        numbers |= colours[..., band]
    return numbers


@contextmanager
def _opened(path: Path) -> Generator["Image"]:
    """The picture with only its header read; see `open_picture`."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file: give a picture")
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check or replace it") from None
    with file, open_picture(file, path) as picture:
        yield picture


def _upright(path: Path) -> tuple["Image", bool]:
    """The picture unpacked, and whether its EXIF data made it turn."""
    from PIL import ImageOps

    with _opened(path) as picture:
        turned = picture.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(picture), turned


def _oriented_size(path: Path) -> tuple[int, int]:
    with _opened(path) as picture:
        width, height = picture.size
        sideways = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if sideways else (width, height)


def _read_rgb(path: Path) -> tuple["Image", list[str]]:
    """The picture upright in RGB, and what was changed."""
    from PIL import Image

    picture, turned = _upright(path)
    notes = ["turned by its EXIF orientation"] if turned else []
    if picture.mode == "F":
        raise UserError(f"{path} holds floating-point pixels, whose range is unknown: save it with 8 or 16 bits")
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


def _box(size: tuple[int, int], resolution: tuple[int, int], crop: bool) -> tuple[float, float, float, float]:
    """The part that is kept, as (left, top, right, bottom): centred, of the target's proportions."""
    width, height = size
    if not crop:
        return 0, 0, width, height
    scale = min(width / resolution[1], height / resolution[0])
    kept_width, kept_height = scale * resolution[1], scale * resolution[0]
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return max(left, 0), max(top, 0), min(left + kept_width, width), min(top + kept_height, height)


def _size(picture: "Image") -> str:
    return f"{picture.width}x{picture.height}"
