"""What sets of photographs have in common: how a picture is cut, and its instances and classes with it.

Instances and classes are whole numbers for each pixel: 0 is background, -1 what does not count at all: void, or more
than one instance at once, as the field has it (docs/features.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import pictures
from slotjax.data.stored.base import Key, Stored, centered_of, fingerprint_of
from slotjax.errors import UserError
from slotjax.nn.fields import choose

VOID = -1
Labels = Callable[[int], dict[str, np.ndarray]]  # number of a picture -> "segments" and "classes", at its own size


@dataclass(frozen=True)
class View:
    """Which part of a picture is seen, and at which size.

    Attributes:
      resolution: rows and columns.
      crop: keep the largest part of these proportions; else the whole is squashed.
      augment: "none"; "flip" mirrors every other picture in training; "crop" moves the part at random as well.
    """

    resolution: tuple[int, int]
    crop: bool
    augment: str = "none"

    def place(self, size: tuple[int, int], key: Key | None) -> tuple[tuple[float, float, float, float], bool]:
        """The part (left, top, right, bottom) of a picture of this width and height, and whether it is mirrored."""
        box = pictures.kept_box(size, self.resolution[::-1], self.crop)
        if key is None or self.augment == "none":
            return box, False
        rng = key.generator()
        mirrored = bool(rng.random() < 0.5)
        if self.augment == "crop":
            left, top = (
                -start + rng.random() * (start + whole - end)
                for start, end, whole in zip(box[:2], box[2:], size, strict=True)
            )
            box = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
        return box, mirrored


def view_of(config: Any, resolution: tuple[int, int]) -> View:
    """What `config.data` says of it."""
    augment = config.get("augment") or "none"
    choose("data.augment", dict.fromkeys(("none", "flip", "crop")), augment)
    return View(resolution, centered_of(config), augment)


class Photographs(Stored):
    """Pictures as examples: `image`, and without a key `segments`, `classes` and `objects` (`present` alone).

    Args:
      paths: the pictures.
      labels: what is known of each; training does without, so it is not asked there.
      max_objects: the most instances a picture has.
    """

    has_segments = True

    def __init__(self, paths: Sequence[Path], labels: Labels, max_objects: int, view: View):
        self.paths, self.labels, self.view = list(paths), labels, view
        self.max_objects = max(1, max_objects)

    def __len__(self) -> int:
        return len(self.paths)

    def fingerprint(self) -> str:
        return fingerprint_of(self.paths, self.view)

    def example(self, index: int, key: Key | None) -> dict:
        picture, _ = pictures.read_rgb(self.paths[index])
        box, mirrored = self.view.place(picture.size, key)
        image = pictures.cut(picture, self.view.resolution, box)
        if key is not None:
            return {"image": image[:, ::-1] if mirrored else image}
        example = {"image": image}
        for name, ids in self.labels(index).items():
            if ids.shape != picture.size[::-1]:
                raise UserError(
                    f"{self.paths[index]} is {picture.width}x{picture.height}, but its annotation "
                    f"{ids.shape[1]}x{ids.shape[0]}: the two are not of one set"
                )
            example[name] = pictures.cut_ids(ids, self.view.resolution, box)
        present = np.isin(1 + np.arange(self.max_objects or 0), example["segments"])
        return example | {"objects": {"present": present}}


def label_map(masks: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Masks bool [n, h, w] as one map int32 [h, w] of their numbers; pixels of two or more masks are void."""
    covered = masks.sum(0, dtype=np.int32)
    ids = np.zeros(masks.shape[1:], np.int32)
    for mask, number in zip(masks, numbers, strict=True):
        ids[mask] = number
    ids[covered > 1] = VOID
    return ids
