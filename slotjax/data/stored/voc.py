"""PASCAL VOC's segmentation set as people have it: JPEGImages, SegmentationObject, SegmentationClass, ImageSets.

`data.path` is the folder that holds these (VOC2012), or one above it. The splits are the set's own lists: of train
`trainaug.txt` where it is there (Hariharan et al., 2011), which needs pictures alone, and `val.txt`. Void pixels, 255,
do not count.
"""

from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import pictures
from slotjax.data.stored.base import Stored, path_of, refuse_max_objects
from slotjax.data.stored.photographs import VOID, Photographs, view_of
from slotjax.errors import UserError

LISTS = {"train": ("trainaug.txt", "train.txt"), "eval": ("val.txt",)}
MASKS = {"segments": "SegmentationObject", "classes": "SegmentationClass"}
LIST_FOLDER = "ImageSets/Segmentation"
VOID_INDEX = 255
MOST_OBJECTS = 56  # of a picture in VOC 2012


def open_split(config: Any, resolution: tuple[int, int], split: str) -> Stored:
    root, view = root_of(path_of(config)), view_of(config, resolution)
    refuse_max_objects(config)
    names = names_of(root, split)
    if split == "eval":
        names = names[: config.get("eval_images") or None]
    paths = [root / "JPEGImages" / f"{name}.jpg" for name in names]
    needed = [*paths, *(mask_path(root, kind, name) for kind in MASKS for name in names if split == "eval")]
    there = {
        folder: {path.name for path in folder.iterdir()}
        for folder in {path.parent for path in needed}
        if folder.is_dir()
    }
    if missing := [path for path in needed if path.name not in there.get(path.parent, ())]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"data.path: {missing[0]}{more}, which its lists name, is not there: unpack the whole set again"
        )

    def labels(index: int) -> dict[str, np.ndarray]:
        return {kind: read_indices(mask_path(root, kind, names[index])) for kind in MASKS}

    return Photographs(paths, labels, MOST_OBJECTS, view)


def root_of(path: Path) -> Path:
    """The folder that holds the lists: the path itself, or one below it."""
    for candidate in (path, path / "VOC2012", path / "VOCdevkit" / "VOC2012"):
        if (candidate / LIST_FOLDER).is_dir():
            return candidate
    raise UserError(f"data.path: {path} holds no {LIST_FOLDER}: give the folder VOC2012 of PASCAL VOC")


def names_of(root: Path, split: str) -> list[str]:
    """The pictures of a split."""
    for name in LISTS[split]:
        path = root / LIST_FOLDER / name
        if path.is_file():
            if names := path.read_text().split():
                return names
            raise UserError(f"data.path: {path} names no picture: unpack the set again")
    raise UserError(f"data.path: {root / LIST_FOLDER} has no {' or '.join(LISTS[split])}: unpack the set again")


def mask_path(root: Path, kind: str, name: str) -> Path:
    return root / MASKS[kind] / f"{name}.png"


def read_indices(path: Path) -> np.ndarray:
    """The palette's indices, int32 [h, w], void as -1; a `UserError` where there is no palette."""
    picture = pictures.read_upright(path)
    if picture.mode not in ("P", "L"):
        raise UserError(f"{path} holds colours and no palette (mode {picture.mode}): unpack the set's own file again")
    indices = np.asarray(picture).astype(np.int32)
    return np.where(indices == VOID_INDEX, VOID, indices)
