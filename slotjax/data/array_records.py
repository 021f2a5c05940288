"""ArrayRecord files: records by random access."""

from collections.abc import Sequence
from pathlib import Path

from slotjax.errors import UserError


class Records:
    """The records of some files of one folder, one file after another, as bytes.

    Args:
      shards: the files, and how many records each has.
      remedy: what to do about missing or damaged ones.

    Raises:
      UserError: a file is missing.
    """

    def __init__(self, shards: Sequence[tuple[Path, int]], remedy: str):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        for path, _ in shards:
            if not path.is_file():
                raise UserError(f"{path} is missing: {remedy}")
        self._folder, self._remedy = shards[0][0].parent, remedy
        self._source = ArrayRecordDataSource([f"{path}[0:{count}]" for path, count in shards])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> bytes:
        """Raises UserError where the record is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return self._source[index]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"{self._folder}: record {index} is damaged ({error}): {self._remedy}") from None
