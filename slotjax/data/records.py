"""The records of one split of a TFDS data set by random access, without TensorFlow: TFRecord or ArrayRecord shards.

Files are called NAME-SPLIT.tfrecord-00000-of-00008, or .array_record-..., as TFDS calls them. Of TFRecord files, which
TFDS does not compress, the places of the records are found by their lengths, at the start.
"""

import re
from pathlib import Path
from typing import Any

from slotjax.data.tfrecords import places, read_at
from slotjax.errors import UserError, first_line

_AGAIN = "copy or download it again"
_DEPTH = 3  # folders below the one given: NAME/CONFIG/VERSION
_SHARD = re.compile(r"\.(?P<kind>tfrecord|array_record)-(?P<number>\d{5})-of-(?P<count>\d{5})$")


class Records:
    """The serialized records of a split: `records[i]` is where the record is ("FILE: record 3") and its bytes.

    Args:
      path: the folder of the files, or one above it.
      split: "train", "validation", ...

    Raises:
      UserError: there are no such files, or a shard is missing, or they belong to several data sets.
    """

    def __init__(self, path: Path, split: str):
        files = find(path, split)
        self.directory = files[0].parent
        self._places = [(file, number, place) for file in files for number, place in enumerate(_places(file))]
        self._shards = _array_records(files) if files[0].suffix.startswith(".array_record") else None

    def __len__(self) -> int:
        return len(self._places) if self._shards is None else len(self._shards)

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        if self._shards is None:
            file, number, place = self._places[index]
            return f"{file}: record {number}", read_at(file, place, f"{file}: record {number}")
        where = f"{self.directory}: record {index} of the split"
        try:
            return where, self._shards[index]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"{where} is damaged ({_reason(error)}): {_AGAIN}") from None


def _places(file: Path) -> list[int]:
    return [] if file.suffix.startswith(".array_record") else places(file)


def _array_records(files: list[Path]) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    try:
        return ArrayRecordDataSource(files)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{files[0].parent} is damaged ({_reason(error)}): {_AGAIN}") from None


def _reason(error: Exception) -> str:
    return first_line(error).split(";")[0]


def splits(path: Path) -> list[str]:
    """The splits of which there are TFRecord files in or below a folder."""
    try:
        below = [file.name for depth in range(_DEPTH + 1) for file in path.glob("*/" * depth + "*.tfrecord-*-of-*")]
    except OSError:
        return []  # `find` will say what is wrong
    return sorted({_SHARD.sub("", name).rpartition("-")[2] for name in below})


def find(path: Path, split: str) -> list[Path]:
    """The shards of a split in or below a folder, in order."""
    if not path.is_dir():
        raise UserError(f"data.path: {path} is no folder: give the one of a TFDS data set")
    try:
        below = [file for depth in range(_DEPTH + 1) for file in path.glob("*/" * depth + f"*-{split}.*-of-*")]
    except OSError as error:
        raise UserError(f"data.path: {path} cannot be read ({error.strerror}): check its permissions") from None
    found = sorted((file, match) for file in below if (match := _SHARD.search(file.name)))
    if not found:
        raise UserError(
            f"data.path: {path} holds no files of the split {split!r} (NAME-{split}.tfrecord-00000-of-00001, "
            "or .array_record-...): give the folder of a TFDS data set"
        )
    sets = sorted({(file.parent, _SHARD.sub("", file.name), match["kind"]) for file, match in found})
    if len(sets) > 1:
        names = " and ".join(str(folder / f"{name}.{kind}") for folder, name, kind in sets[:2])
        raise UserError(f"data.path: {path} holds several data sets ({names}): give the folder of one")
    missing = set(range(int(found[0][1]["count"]))) - {int(match["number"]) for _, match in found}
    if missing:
        name = _SHARD.sub("", found[0][0].name)
        raise UserError(f"data.path: {found[0][0].parent}: shard {min(missing):05d} of {name} is missing: copy it")
    return [file for file, _ in found]
