"""The multi-object data sets of Kabra et al. (2019): CLEVR-with-masks, Tetrominoes, multi-dSprites, Objects Room."""

import hashlib
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import preprocess, tfrecords
from slotjax.data.convert import convert, fingerprint
from slotjax.data.converted import INDEX, Converted
from slotjax.data.stored.base import Key, Stored, crop_of, of_split, path_of
from slotjax.errors import UserError
from slotjax.system.console import say
from slotjax.system.derived import derived_path

# Larger files take more than a few minutes to convert: that is a step of its own, not a surprise of the first run.
_MAX_UNASKED_BYTES = 2**30


def open_split(config: Any, resolution: tuple[int, int], split: str, name: str) -> "MultiObject":
    path = path_of(config)
    records = Converted(_converted(path, name))
    if records.schema.name != name:
        raise UserError(f"data.path: {path} holds {records.schema.name}, not {name}: mend data.path or data.name")
    is_clevr = name == "clevr_with_masks"
    crop = crop_of(config, default=is_clevr)
    if crop and not is_clevr:
        raise UserError(f"data.crop is {crop!r}, but {name} is not cropped: leave data.crop at its default")
    window = preprocess.clevr_window(*records.schema.image[:2], crop)
    return MultiObject(records, of_split(records.counts, config, split, path), resolution, window)


def _converted(path: Path, name: str) -> Path:
    """The converted form of what data.path names: itself, or made on first use where the files are small."""
    if os.path.isfile(path / INDEX):
        return path
    files = tfrecords.find(path, "data.path")
    destination = derived_path(files[0] if len(files) == 1 else path, ".converted")
    if destination is None or not (destination / INDEX).is_file():
        if destination is None or sum(file.stat().st_size for file in files) > _MAX_UNASKED_BYTES:
            command = f"python -m slotjax.data.convert {shlex.quote(str(path))} DESTINATION --dataset {name}"
            raise UserError(f"data.path: {path} must be converted first: {command}")
        say(f"Converting {path} into {destination} (once).")
    elif Converted(destination).source == fingerprint(files):
        return destination
    return convert(path, destination, name)


class MultiObject(Stored):
    """Records chosen from a converted data set, as examples.

    An example has `image` float32 [r, r, 3] in [-1, 1], `segments` int32 [r, r] (0 background, id i is object i - 1)
    and `objects`, the stored attributes with leading length `max_objects`; where pixels are among them also
    `picture_coords` [n, 2], column and row as parts of the picture's width and height. `present` is what is visible
    *in the crop at this resolution*: in CLEVR's crop about 3% of the objects are not. Ids are kept; entries not present
    hold zeros.
    """

    has_segments = True

    def __init__(self, records: Converted, indices: np.ndarray, resolution: tuple[int, int], window: preprocess.Window):
        self.schema = records.schema
        self.max_objects = records.schema.max_objects
        self._records = records
        self._indices = indices
        self._resolution = resolution
        self._window = window

    def __len__(self) -> int:
        return len(self._indices)

    def fingerprint(self) -> str:
        said = repr((self._records.source, self._indices.tolist(), self._resolution, self._window))
        return hashlib.sha256(said.encode()).hexdigest()

    def example(self, index: int, key: Key | None) -> dict:
        record, schema = self._records[int(self._indices[index])], self.schema
        entity = preprocess.to_segments(record["entity"], self._window, self._resolution)
        segments = np.maximum(entity - (schema.backgrounds - 1), 0)
        present = np.isin(np.arange(1, schema.max_objects + 1), segments)
        stored = {name: record[name][schema.backgrounds :] for name in (*schema.numbers, *schema.codes)}
        stored |= {name: stored[name].astype(np.int32) for name in schema.codes}
        if "pixel_coords" in stored:
            stored["picture_coords"] = preprocess.in_window(stored["pixel_coords"], self._window)
        objects = {"present": present}
        for name, values in stored.items():
            objects[name] = np.where(present.reshape((-1,) + (1,) * (values.ndim - 1)), values, 0)
        image = preprocess.to_input(record["image"], self._window, self._resolution)
        return {"image": image, "segments": segments, "objects": objects}
