"""Stored data sets by name, one file a format.

A data set is a line in `STORED` and a function `open_split(config, resolution, split, *argument) -> Stored` in the
module that the line names, which is imported when the data set is opened. What an example holds, what `config` may
say, and what a data set draws at random in training, stand in `slotjax.data.stored.base`.
"""

import importlib
from typing import Any

from slotjax.data.stored.base import Key, Stored
from slotjax.nn.fields import choose

STORED = {  # name -> module, or module:argument of its `open_split`
    "clevr_tfds": "slotjax.data.stored.clevr_tfds",
    "clevr_with_masks": "slotjax.data.stored.multi_object:clevr_with_masks",
    "tetrominoes_tfrecords": "slotjax.data.stored.multi_object:tetrominoes",
    "multi_dsprites_tfrecords": "slotjax.data.stored.multi_object:multi_dsprites",
    "objects_room_tfrecords": "slotjax.data.stored.multi_object:objects_room",
    "folder": "slotjax.data.stored.folder",
    "coco": "slotjax.data.stored.coco",
    "voc": "slotjax.data.stored.voc",
    "clevrtex": "slotjax.data.stored.clevrtex",
    "movi": "slotjax.data.stored.movi",
    "videos": "slotjax.data.stored.videos",
}

__all__ = ["STORED", "Key", "Stored", "open_stored"]


def open_stored(data_config: Any, resolution: tuple[int, int], split: str) -> Stored:
    """Open one split of the stored data set that `data_config.name` names.

    Args:
      data_config: a ConfigDict or dict with the fields of `config.data`, of which all but `name` may be missing.
        name: a key of `STORED`.
        path: the file or folder; for clevr_tfds the TFDS data directory (default ~/tensorflow_datasets).
        eval_images: how many images the split "eval" has; 0 or None: 320, or a tenth of a small set.
        max_objects: keep scenes with at most so many objects; 0 or None: all.
        crop: "default", "reference" or "none" (see `preprocess.clevr_window` and `slotjax.data.pictures`).
        augment: photographs: "none", "flip" or "crop" (see `photographs.View`); movi: "none" or "crop" (see `crops`).
        num_frames: sets of videos: how many frames an example of the split "train" has.
        eval_frames: the same of the split "eval"; 0 or None: as many as num_frames.
      resolution: height and width of the images.
      split: "train" or "eval".

    Raises:
      UserError: data that is missing, damaged, of another kind, or too small for the split.
    """
    if split not in ("train", "eval"):
        raise ValueError(f'split is {split!r}: choose "train" or "eval"')
    module, _, argument = choose("data.name", STORED, data_config.get("name")).partition(":")
    open_split = importlib.import_module(module).open_split
    return open_split(data_config, (int(resolution[0]), int(resolution[1])), split, *filter(None, [argument]))
