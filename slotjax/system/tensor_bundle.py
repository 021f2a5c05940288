"""TensorFlow's checkpoints, read without TensorFlow: PREFIX.index, a table that says which tensor lies where, and
PREFIX.data-00000-of-00001 and so on, in which they lie."""

import math
import os
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError, shown
from slotjax.system.checksum import masked_crc32c
from slotjax.system.protobuf import Malformed, Message, varint
from slotjax.system.reading import read_bytes
from slotjax.system.sstable import read_table

_STRING = 7
_DTYPES: dict[int, Any] = {  # by the numbers of TensorFlow's types.proto
    **{1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2", 22: "<u4"},
    **{14: jnp.bfloat16, 23: "<u8"},
}
_MAX_INDEX_BYTES = 2**22
_AGAIN = "copy or download it again"


def read_bundle(prefix: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by their keys, as stored. Strings are checked and left out.

    Raises:
      UserError: a file is missing, damaged or of another kind.
    """
    path = Path(f"{prefix}.index")
    try:
        shards, entries = _parse_index(read_table(read_bytes(path, _MAX_INDEX_BYTES)))
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise UserError(
            f"{path}: not the index of a TensorFlow checkpoint, or damaged ({error}); {_AGAIN}, or save it anew with "
            "TensorFlow"
        ) from None
    tensors = {}
    for shard, held in groupby(sorted(entries, key=lambda entry: entry.place), key=lambda entry: entry.shard):
        path = Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}")
        if not os.path.isfile(path):
            raise UserError(f"{path}: no such file, and the checkpoint {prefix.name} is not whole without; {_AGAIN}")
        try:
            with path.open("rb") as file:
                tensors |= _read_shard(file, path.stat().st_size, list(held))
        except OSError as error:
            raise _unreadable(path, error) from None
        except Malformed as error:
            raise UserError(f"{path}: damaged, or of another checkpoint than its index ({error}); {_AGAIN}") from None
    return tensors


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies, and what it is (BundleEntryProto)."""

    key: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int

    @property
    def place(self) -> tuple[int, int, int]:
        return self.shard, self.offset, self.size


def _parse_index(table: dict[bytes, bytes]) -> tuple[int, list[_Entry]]:
    """The number of shards, which the entry without a name says (BundleHeaderProto), and where the tensors are."""
    if b"" not in table:
        raise Malformed("it has no header")
    header = Message(table.pop(b""))
    shards = header.number(1)
    if header.number(2) != 0:
        raise Malformed("big-endian numbers, which are not read")
    entries = [_parse_entry(key.decode(), Message(value)) for key, value in table.items()]
    if any(entry.shard >= shards for entry in entries):
        raise Malformed("a tensor lies in a shard that there is not")
    return shards, entries


def _parse_entry(key: str, fields: Message) -> _Entry:
    if not key.isprintable():
        raise Malformed(f"a tensor of the name {shown(key)}")
    if 7 in fields:
        raise Malformed(f"{shown(key)} is stored in slices, which are not read")
    shape = tuple(dim.number(1) for shape in fields.messages(2)[-1:] for dim in shape.messages(2))
    return _Entry(key, fields.number(1), shape, *(fields.number(field) for field in (3, 4, 5, 6)))


def _read_shard(file: BinaryIO, length: int, entries: list[_Entry]) -> dict[str, np.ndarray]:
    """The tensors of one file of `length` bytes, of entries in their order in it."""
    tensors, end = {}, 0
    for entry in entries:
        if entry.offset < end:
            raise Malformed("tensors overlap")
        end = entry.offset + entry.size
        if end > length:
            raise Malformed(f"{shown(entry.key)} lies beyond its end")
        file.seek(entry.offset)
        content = file.read(entry.size)
        if masked_crc32c(_summed(entry, content)) != entry.checksum:
            raise Malformed(f"a wrong checksum of {shown(entry.key)}")
        if entry.dtype != _STRING:
            tensors[entry.key] = _array(entry, content)
    return tensors


def _summed(entry: _Entry, content: bytes) -> bytes:
    """What the checksum of a tensor is of: its bytes, but that of strings has their lengths as four bytes each."""
    if entry.dtype != _STRING:
        return content
    lengths, at = bytearray(), 0
    for _ in range(min(math.prod(entry.shape), len(content) + 1)):
        length, at = varint(content, at, len(content))
        lengths += (length % 2**32).to_bytes(4, "little")
    return bytes(lengths) + content[at:]


def _array(entry: _Entry, content: bytes) -> np.ndarray:
    if entry.dtype not in _DTYPES:
        raise Malformed(f"{shown(entry.key)} is of a type that is not read (number {entry.dtype})")
    try:
        return np.frombuffer(content, np.dtype(_DTYPES[entry.dtype])).reshape(entry.shape).copy()
    except (ValueError, OverflowError):
        raise Malformed(f"{shown(entry.key)} has not the size of its shape") from None
