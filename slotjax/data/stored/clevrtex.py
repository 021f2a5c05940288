"""ClevrTex (Karazija et al., 2021) as it is unpacked: folders of pictures CLEVRTEX_*_NUMBER.png, masks NUMBER_flat.png.

Of the pictures in the order of their numbers the first tenth is held out, and those after the second tenth are trained
on, as in the authors' reader; the centre, four fifths of the height, is kept.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import pictures
from slotjax.data.stored.base import Key, Stored, fingerprint_of, path_of, refuse_max_objects
from slotjax.errors import UserError

PICTURE = re.compile(r"CLEVRTEX_\w+_(\d{6})\.png")
TEST, TRAIN = 0.1, 0.2  # the first part is held out; from here on is trained on
CENTER = 0.8  # of the height
MOST_OBJECTS = 10


def open_split(config: Any, resolution: tuple[int, int], split: str) -> Stored:
    directory = path_of(config)
    refuse_max_objects(config)
    found = sorted(
        (match[1], path) for path in directory.rglob("CLEVRTEX_*.png") if (match := PICTURE.fullmatch(path.name))
    )
    paths = [path for _, path in found]
    if len(paths) < 2:
        raise UserError(f"data.path: {directory} holds no CLEVRTEX_*_NUMBER.png: give ClevrTex's folder")
    missing = [path for path in paths if not mask_of(path).is_file()]
    if missing:
        raise UserError(f"data.path: {mask_of(missing[0])} is not there: unpack the whole set again")
    held_out = max(1, int(TEST * len(paths)))
    chosen = paths[:held_out][: config.get("eval_images") or None]
    return ClevrTex(chosen if split == "eval" else paths[max(held_out, int(TRAIN * len(paths))) :], resolution)


def mask_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_flat.png")


class ClevrTex(Stored):
    """Pictures with `segments` and `objects` (`present` alone)."""

    has_segments = True
    max_objects = MOST_OBJECTS

    def __init__(self, paths: list[Path], resolution: tuple[int, int]):
        self.paths, self.resolution = paths, resolution

    def __len__(self) -> int:
        return len(self.paths)

    def fingerprint(self) -> str:
        return fingerprint_of(self.paths, self.resolution, CENTER)

    def example(self, index: int, key: Key | None) -> dict:
        picture, _ = pictures.read_rgb(self.paths[index])
        box = center(picture.size, self.resolution)
        ids = pictures.read_mask(mask_of(self.paths[index])).astype(np.int32)
        if ids.shape != picture.size[::-1] or ids.max() > MOST_OBJECTS:
            raise UserError(f"{mask_of(self.paths[index])} is no mask of its picture: unpack the set again")
        segments = pictures.cut_ids(ids, self.resolution, box)
        present = np.isin(np.arange(1, MOST_OBJECTS + 1), segments)
        return {
            "image": pictures.cut(picture, self.resolution, box), "segments": segments, "objects": {"present": present}
        }  # fmt: skip


def center(size: tuple[int, int], resolution: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part that is kept of a picture of this width and height."""
    left, top, right, bottom = pictures.kept_box(size, resolution[::-1], crop=True)
    inset = (1 - CENTER) / 2
    return (
        left + inset * (right - left), top + inset * (bottom - top),
        right - inset * (right - left), bottom - inset * (bottom - top),
    )  # fmt: skip
