"""Features of stored pictures, computed once and kept on disk: records of one size, by random access.

A cache is a folder of ArrayRecord shards and, when it is complete, an `index.json`. Shards are written whole or not at
all, so that what was stopped goes on with the first that is missing.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import array_records
from slotjax.errors import UserError
from slotjax.system.console import progress, readable
from slotjax.system.derived import read as read_derived
from slotjax.system.locks import locked
from slotjax.system.writing import write_json

SHARD_BYTES = 2**28  # the most that a kill can lose
BATCH = 16  # pictures that are computed at once
INDEX = "index.json"
FORMAT = 1


class FeatureCache:
    """float32 arrays of one shape, one for each example of a split.

    Args:
      folder: where it is, or will be.
      count: how many there are; shape: of each.
    """

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...]):
        self.folder, self.count, self.shape = folder, count, shape
        self.bytes = 4 * math.prod(shape)  # of one record
        self.per_shard = max(1, SHARD_BYTES // self.bytes)
        self._records: Any = None

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        index = read_derived(self.folder / INDEX)
        return index == self._index() and all(path.is_file() for path in self._shards())

    @property
    def missing_bytes(self) -> int:
        """How much room the rest of it will take, about."""
        return self.bytes * sum(
            len(rows) for rows, path in zip(self._rows(), self._shards(), strict=True) if not path.is_file()
        )

    def fill(self, compute: Callable[[np.ndarray], np.ndarray], what: str) -> None:
        """Makes what is missing.

        Args:
          compute: numbers of examples, int [n] -> their features [n, *shape].
          what: whose features they are, for people.

        Raises:
          UserError: it cannot be written.
        """
        if self.complete:
            return
        try:
            with locked(self.folder), progress(f"Features of {what} (once)", self.count) as advance:
                self.folder.mkdir(parents=True, exist_ok=True)
                for rows, path in zip(self._rows(), self._shards(), strict=True):
                    if not path.is_file():
                        array_records.write(path, self._encoded(rows, compute, advance), "uncompressed")
                    advance(rows.stop)
                write_json(self.folder / INDEX, self._index(), indent=None, durable=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror}); make room, then go on") from None

    def __getitem__(self, index: int) -> np.ndarray:
        """One example's features. Raises a `UserError` where they are damaged."""
        if self._records is None:
            from array_record.python.array_record_data_source import ArrayRecordDataSource

            self._records = ArrayRecordDataSource(
                [f"{path}[0:{len(rows)}]" for rows, path in zip(self._rows(), self._shards(), strict=True)]
            )
        try:
            record = self._records[index]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"{self.folder}: record {index} is damaged ({error}); delete the folder") from None
        if len(record) != self.bytes:
            raise UserError(f"{self.folder}: record {index} has a wrong size; delete the folder")
        return np.frombuffer(record, np.float32).reshape(self.shape)

    def _index(self) -> dict[str, Any]:
        return {"format": FORMAT, "count": self.count, "shape": list(self.shape)}

    def _rows(self) -> list[range]:
        """The examples of each shard."""
        starts = range(0, self.count, self.per_shard)
        return [range(start, min(start + self.per_shard, self.count)) for start in starts]

    def _shards(self) -> list[Path]:
        return [self.folder / f"shard-{i:05d}.array_record" for i in range(len(self._rows()))]

    def _encoded(
        self, rows: range, compute: Callable[[np.ndarray], np.ndarray], advance: Callable[[int], object]
    ) -> Iterator[bytes]:
        for start in range(rows.start, rows.stop, BATCH):
            numbers = np.arange(start, min(start + BATCH, rows.stop))
            for features in np.asarray(compute(numbers), np.float32):
                yield features.tobytes()
            advance(int(numbers[-1]) + 1)


def check_room(caches: list[FeatureCache], gigabytes: float) -> None:
    """Raises a `UserError` where caches would take more than they may, or than there is.

    Args:
      gigabytes: how much they may take together.
    """
    needed, missing = sum(cache.count * cache.bytes for cache in caches), sum(cache.missing_bytes for cache in caches)
    what = f"the features of {sum(cache.count for cache in caches):,} pictures take {readable(needed)}"
    if needed > gigabytes * 2**30:
        raise UserError(
            f"data.feature_cache={gigabytes:g}: {what}; raise it to {math.ceil(needed / 2**30)}, or set it to 0, which "
            "computes them as they are needed"
        )
    folder = next(parent for parent in caches[0].folder.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise UserError(
            f"data.feature_cache={gigabytes:g}: {what}, and {readable(free)} are free at {folder}; make room, or 0"
        )
