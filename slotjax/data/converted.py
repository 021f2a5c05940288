"""The converted form of a multi-object data set: records by random access.

It is a folder of ArrayRecord shards and an `index.json` (slotjax/data/convert.py writes it). A record is the bytes of
one numpy structured scalar: the uint8 picture, the number of the entity that owns each pixel in place of the bulky
masks, and every attribute of every entity.
"""

from pathlib import Path

import numpy as np

from slotjax.data.schemas import Schema, schema_from_json
from slotjax.errors import UserError, shown
from slotjax.system.derived import MAX_BYTES, whole_numbers
from slotjax.system.reading import read_json

INDEX = "index.json"
FORMAT = 1


class Converted:
    """A converted data set as a sequence of raw records, read by random access.

    Attributes:
      schema: what the records hold.
      counts: int [len]: the number of objects in each record.
      source: the fingerprint of the TFRecord files it was made from.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory)
        path = self.directory / INDEX
        try:
            index = read_json(path, MAX_BYTES)
            if index["format"] != FORMAT:
                found = shown(index["format"])
                raise UserError(f"{path} has format {found}, known is {FORMAT}: convert the data set again")
            self.schema = schema_from_json(index)
            self.source: dict = index["source"]
            shards = [(str(shard["file"]), check_counts(shard["counts"], self.schema)) for shard in index["shards"]]
            self.counts = np.concatenate([counts for _, counts in shards])
        except PermissionError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is missing or damaged ({error}): convert the data set again") from None
        self._open(shards)

    def _open(self, shards: list[tuple[str, np.ndarray]]) -> None:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        for name, _ in shards:
            if Path(name).name != name or not (self.directory / name).is_file():
                raise UserError(f"{self.directory / name} is missing: convert the data set again")
        paths = [f"{self.directory / name}[0:{len(counts)}]" for name, counts in shards]
        self._records = ArrayRecordDataSource(paths)

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> np.ndarray:
        """The record as a 0-d structured array. Raises UserError where it is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            record = self._records[index]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"{self.directory}: record {index} is damaged ({error}): convert it again") from None
        if len(record) != self.schema.dtype.itemsize:
            raise UserError(f"{self.directory}: record {index} has a wrong size: convert the data set again")
        return np.frombuffer(record, self.schema.dtype)[0]


def check_counts(counts: object, schema: Schema) -> np.ndarray:
    """The numbers of objects of a shard's records. Raises TypeError or ValueError for anything else."""
    if not isinstance(counts, list) or whole_numbers(counts, len(counts), schema.entities) is None:
        raise ValueError("the counts of a shard are no numbers of objects")
    return np.asarray(counts, np.int64)
