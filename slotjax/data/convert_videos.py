"""Videos converted, once, into ArrayRecord files in MOVi's form, which `data.name=movi` reads.

The source is a folder of MOVi's TFRecord files, whose records are taken as they are, or a folder of one's own videos,
whose frames are kept as PNG, so that any clip is read without those before it; a tenth of them, 320 at most, becomes
the split `validation`. A conversion that was stopped goes on with the first unfinished file.
"""

import io
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slotjax.data import array_records, pictures, records, tfrecords
from slotjax.data.destination import fill
from slotjax.data.stored.base import DEFAULT_EVAL_IMAGES
from slotjax.data.stored.videos import Checked, check, stamp
from slotjax.data.tf_example import lists
from slotjax.data.videos import find
from slotjax.errors import UserError
from slotjax.system import derived
from slotjax.system.console import number, progress, say
from slotjax.system.paths import given
from slotjax.system.writing import write_json

if TYPE_CHECKING:
    from PIL.Image import Image

VIDEOS_A_FILE = 16
SOURCE = "source.json"  # in the destination: what it was made from
Files = dict[str, Callable[[], Iterator[bytes]]]  # name -> the records of the file, read when it is written


def convert(source: str | Path, destination: str | Path) -> Path:
    """Convert the videos of `source` into the folder `destination`, which appears only when it is complete.

    Raises:
      UserError: there are no videos, or some are damaged; the destination holds something else.
    """
    origin, folder = given(source, "source"), given(destination, "destination").resolve()
    files, identity = _plan(origin)

    def write(work: Path) -> None:
        if (work / SOURCE).is_file() and derived.read(work / SOURCE) != identity:
            raise UserError(f"{work} holds the unfinished conversion of other videos: delete it")
        write_json(work / SOURCE, identity, indent=None)
        _write(files, work, origin)

    return fill(folder, SOURCE, lambda: derived.read(folder / SOURCE) == identity, write, origin)


def _plan(source: Path) -> tuple[Files, dict]:
    """The files to write, and what identifies what they are made from."""
    shards = [file for split in records.splits(source) for file in records.find(source, split)]
    if shards:
        names = [file.name.replace(".tfrecord-", ".array_record-") for file in shards]
        files: Files = {name: partial(_copied, file) for name, file in zip(names, shards, strict=True)}
        return files, {"files": {file.name: file.stat().st_size for file in shards}}
    checked = check(source, find(source))
    held_out = min(DEFAULT_EVAL_IMAGES, max(1, len(checked) // 10))
    if len(checked) <= held_out:
        raise UserError(f"{source} holds a single video, which would be held out: add others")
    files, masked = {}, all(each.video.masks for each in checked)
    for split, videos in {"validation": checked[:held_out], "train": checked[held_out:]}.items():
        count = math.ceil(len(videos) / VIDEOS_A_FILE)
        for i in range(count):
            part = videos[i * VIDEOS_A_FILE : (i + 1) * VIDEOS_A_FILE]
            files[f"videos-{split}.array_record-{i:05d}-of-{count:05d}"] = partial(
                map, partial(encode, masked=masked), part
            )
    return files, {"files": {str(each.video.path): stamp(each.video) for each in checked}}


def encode(checked: Checked, masked: bool) -> bytes:
    """A video as a record in MOVi's form: its frames and, where all have masks, its segments and number of objects."""
    video, _, values = checked
    features: dict[str, list[bytes] | np.ndarray] = {
        "video": [_png(frame) for frame in video.frames()],
        "metadata/video_name": [str(video.path.name).encode(errors="replace")],
    }
    if masked:
        from PIL import Image

        ids = (np.searchsorted([0, *values], pictures.mask_values(mask)) for mask in video.masks)
        features["segmentations"] = [_png(Image.fromarray(each.astype(np.uint8))) for each in ids]
        features["metadata/num_instances"] = np.array([len(values)])
    return lists(features)


def _copied(file: Path) -> Iterator[bytes]:
    return (payload for _, payload in tfrecords.read_shards([file]))


def _png(picture: "Image") -> bytes:
    picture.save(file := io.BytesIO(), "PNG", compress_level=3)
    return file.getvalue()


def _write(files: Files, work: Path, source: Path) -> None:
    """Writes the files that are not there yet, each whole or not at all."""
    there = sum((work / name).is_file() for name in files)
    if there:
        say(f"Going on after {number(there, 'file')} already there.")
    with progress(f"Converting {source.name}", len(files)) as advance:
        for done, (name, payloads) in enumerate(files.items(), 1):
            if not (work / name).is_file():
                array_records.write(work / name, payloads())
            advance(done)
