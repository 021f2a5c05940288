"""COCO as people have it: a folder with `annotations/instances_*.json`, and the folders of pictures beside it.

`data.path` is that folder, whose lists of train and val are the splits; or one annotation file, of which the first
pictures are held out. Masks come from polygons and run lengths by pycocotools. Crowds are dropped, their pixels are
background; pixels of two or more instances do not count (the most common protocol; docs/features.md).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slotjax.data.stored.base import Stored, of_split, path_of
from slotjax.data.stored.photographs import Photographs, label_map, view_of
from slotjax.errors import UserError, first_line, shown
from slotjax.system.extras import extra

LISTS = {"train": "instances_train*.json", "eval": "instances_val*.json"}


def open_split(config: Any, resolution: tuple[int, int], split: str) -> Stored:
    path, view = path_of(config), view_of(config, resolution)
    file, own = annotation_file(path, split)
    instances = Instances(file)
    counts = np.array([len(some) for some in instances.instances], np.int64)
    chosen = of_split(counts, config, split, file) if not own else of_own_list(counts, config, split)
    paths = pictures_of(file, [instances.pictures[i].name for i in chosen])
    most = config.get("max_objects") or int(counts.max(initial=1))
    return Photographs(paths, lambda index: instances.labels(int(chosen[index])), most, view)


def of_own_list(counts: np.ndarray, config: Any, split: str) -> np.ndarray:
    """Indices of a split that has a list of its own: all, but for `max_objects`; of "eval" the first `eval_images`."""
    passing = np.flatnonzero(counts <= (config.get("max_objects") or counts.max(initial=0)))
    return passing[: config.get("eval_images") or None] if split == "eval" else passing


def annotation_file(path: Path, split: str) -> tuple[Path, bool]:
    """The annotations of a split, and whether they are of this split alone."""
    if path.is_file():
        return path, False
    folder = path / "annotations"
    found = {name: sorted(folder.glob(pattern)) for name, pattern in LISTS.items()}
    if found[split] and all(found.values()):
        return found[split][0], True
    for files in found.values():
        if files:
            return files[0], False
    raise UserError(
        f"data.path: {path} holds no annotations/instances_train*.json or instances_val*.json: give COCO's folder, or "
        "one such file"
    )


def pictures_of(file: Path, names: Sequence[str]) -> list[Path]:
    """The files of the pictures that an annotation file lists; a `UserError` if some are not there."""
    root, kind = file.parent.parent, file.stem.removeprefix("instances_")
    folders = [root / kind, *sorted(path for path in root.iterdir() if path.is_dir()), root, file.parent]
    inside = {folder: {path.name for path in folder.iterdir()} for folder in folders if folder.is_dir()}
    folder = max(inside, key=lambda folder: sum(name in inside[folder] for name in names))
    missing = [name for name in names if name not in inside[folder]]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"data.path: {file} lists pictures that are not there, {folder / missing[0]}{more}: copy them, or leave "
            "them out of the list"
        )
    return [folder / name for name in names]


class Picture(NamedTuple):
    """A picture of the list: its file's name, and its height and width as it is shown."""

    name: str
    size: tuple[int, int]


class Instance(NamedTuple):
    """One annotation that is no crowd: its id, its class as a number from 1 on, and its mask as the file has it."""

    id: Any
    kind: int
    mask: Any


class Instances:
    """What an `instances_*.json` says of its pictures, in the order of their ids."""

    def __init__(self, file: Path):
        self.file = file
        try:
            content = json.loads(file.read_bytes())
            listed = sorted(content["images"], key=lambda image: image["id"])
            self.pictures = [Picture(Path(x["file_name"]).name, (int(x["height"]), int(x["width"]))) for x in listed]
            kinds = {number: i for i, number in enumerate(sorted(x["id"] for x in content["categories"]), 1)}
            of_image: dict[int, list[Instance]] = {image["id"]: [] for image in listed}
            for x in content["annotations"]:
                if not x.get("iscrowd") and x["image_id"] in of_image:
                    of_image[x["image_id"]].append(Instance(x.get("id"), kinds[x["category_id"]], x["segmentation"]))
            self.instances = list(of_image.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else first_line(error)
            raise UserError(f"data.path: {file} is no list of COCO's instances ({reason}): give another") from None
        if not self.pictures:
            raise UserError(f"data.path: {file} lists no pictures: give another")

    def labels(self, index: int) -> dict[str, np.ndarray]:
        """Instances and classes of a picture at its own size, int32 [h, w] each; empty masks are left out."""
        size = self.pictures[index].size
        masks = [self._mask(instance, size) for instance in self.instances[index]]
        kinds = [instance.kind for instance, mask in zip(self.instances[index], masks, strict=True) if mask.any()]
        there = np.array([mask for mask in masks if mask.any()], bool).reshape(-1, *size)
        return {"segments": label_map(there, range(1, len(kinds) + 1)), "classes": label_map(there, kinds)}

    def _mask(self, instance: Instance, size: tuple[int, int]) -> np.ndarray:
        """bool [h, w] of polygons, or of run lengths as a list or packed."""
        with extra("coco"):
            from pycocotools import mask as codec
        what, where = instance.mask, f"{self.file}: annotation {shown(instance.id)}"
        try:
            if isinstance(what, list):
                polygons = [polygon for polygon in what if len(polygon) >= 6]  # pycocotools takes 4 for a box
                runs = codec.merge(codec.frPyObjects(polygons, *size)) if polygons else None
            else:
                runs = what if isinstance(what["counts"], str) else codec.frPyObjects(what, *what["size"])
            mask = np.zeros(size, bool) if runs is None else codec.decode(runs).astype(bool)
        except Exception as error:  # pycocotools' C code and its wrapper raise bare exceptions
            raise UserError(f"{where} holds no mask ({first_line(error)}): mend or remove it") from None
        if mask.shape != size:
            raise UserError(f"{where} is of another size than its picture: mend or remove it")
        return mask
