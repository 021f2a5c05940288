"""ArrayRecord files, written whole or not at all; they are read by `array_record` and `grain` as they are."""

import os
from collections.abc import Iterable
from pathlib import Path

from slotjax.errors import first_line


def write(path: Path, records: Iterable[bytes], compression: str = "zstd:1") -> None:
    """Writes a file of records, each by itself; under another name until it is complete, and on the disk.

    Args:
      compression: "zstd:LEVEL", or "uncompressed" for what would not shrink.

    Raises:
      OSError: where the file cannot be written; what `records` raises comes through.
    """
    from array_record.python.array_record_module import ArrayRecordWriter  # ty: ignore[import-not-found]

    partial = path.with_name(f"{path.name}.partial")
    try:
        writer = ArrayRecordWriter(str(partial), f"group_size:1,{compression}")
        try:
            for record in records:
                writer.write(record)
        finally:
            writer.close()
    except RuntimeError as error:  # ArrayRecord's own
        raise OSError(None, first_line(error).split(";")[0]) from None
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
