"""Scenes as one GZIP TFRecord file in the layout of the multi-object data sets of Kabra et al. (2019)."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from slotjax.data.clevr_properties import NAMES, RECORD_NAMES
from slotjax.data.scenes import Scene
from slotjax.data.tf_example import example
from slotjax.data.tfrecords import frame
from slotjax.errors import UserError
from slotjax.system.writing import whole

FRAME = (240, 320)  # of CLEVR-with-masks: rows and columns
_ENTITIES = 11  # with the background


class TFRecords:
    """One GZIP file; its parts are joined, and removed, at the end."""

    def __init__(self, name: str, shapes: Scene, out: Path, split: str):
        if name == "clevr" and shapes.image.shape[:2] != FRAME:
            raise UserError(f"resolution={shapes.image.shape[:2]}: the schema of CLEVR-with-masks has {FRAME}")
        self._name = name
        self._final = out / f"{name}_{split}.tfrecords"

    def part(self, index: int, count: int) -> Path:
        """Where a part is kept until it is done with."""
        return self._final.with_name(f".{self._final.name}.part-{index:05d}-of-{count:05d}")

    def has(self, index: int, count: int) -> bool:
        """Whether a part need not be written any more."""
        return self._final.is_file() or self.part(index, count).is_file()

    def write(self, path: Path, scenes: Iterator[Scene]) -> None:
        """Writes scenes of numpy arrays, image and segments uint8, to a new file."""
        with gzip.open(path, "wb", compresslevel=6) as file:
            for scene in scenes:
                file.write(frame(example(features(self._name, scene))))

    def finish(self, sizes: list[int]) -> Path:
        """Joins the parts, of these numbers of scenes; returns the file."""
        parts = [self.part(index, len(sizes)) for index in range(len(sizes))]
        if not self._final.is_file():
            with whole(self._final) as joined:  # gzip files put one after another are one
                for part in parts:
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, joined)
        for part in parts:
            part.unlink(missing_ok=True)
        return self._final


def features(name: str, scene: Scene) -> dict[str, np.ndarray]:
    """The features of one scene in the layout of the multi-object data sets; entity 0 is the background.

    Args:
      scene: numpy arrays, image and segments uint8.
    """
    attributes = {key: np.asarray(value) for key, value in scene.objects.items()}
    present = attributes.pop("present")
    entities = _ENTITIES if name == "clevr" else len(present) + 1
    if name == "clevr":
        attributes = _masks_attributes(attributes, present)
    masks = np.where(np.asarray(scene.segments)[None] == np.arange(entities)[:, None, None], 255, 0).astype(np.uint8)
    stored = {"image": np.asarray(scene.image), "mask": np.moveaxis(masks, 0, 2 if name == "multi_dsprites" else 0)}
    for key, values in (attributes | {"visibility": present}).items():
        values = values if values.dtype == np.uint8 else values.astype(np.float32)
        stored[key] = np.zeros((entities, *values.shape[1:]), values.dtype)
        stored[key][1 : 1 + len(values)] = values
    stored["visibility"][0] = 1
    return stored


def _masks_attributes(objects: dict[str, np.ndarray], present: np.ndarray) -> dict[str, np.ndarray]:
    """CLEVR's attributes under the names and codes of CLEVR-with-masks."""
    attributes = dict(zip("xyz", objects["3d_coords"].T, strict=True))
    attributes |= {key: objects[key] for key in ("pixel_coords", "rotation")}
    for key, names in NAMES.items():
        codes = np.array([1 + RECORD_NAMES[key].index(word) for word in names])[objects[key]]
        attributes[key] = np.where(present, codes, 0).astype(np.uint8)
    return attributes
