"""Sorted tables of bytes as LevelDB keeps them, and TensorFlow the index of a checkpoint.

A table is blocks, then a footer that says where two of them are: the meta block, of no use here, and the index block,
whose values say where the others are. A block is entries, of whose keys only what differs from the key before is
stored, and the places from which on keys are whole again, which only searching needs. A byte of compression and a
checksum follow it.
"""

from collections.abc import Iterator

from slotjax.system.checksum import masked_crc32c
from slotjax.system.protobuf import Malformed, varint

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5
_COMPRESSIONS = {1: "snappy", 2: "zstd"}
# Keys that share their beginnings may need much more room than the table has bytes.
_MAX_ENTRIES, _MAX_KEY = 10_000, 1_000


def read_table(table: bytes) -> dict[bytes, bytes]:
    """All entries. Raises `Malformed` for anything but a whole table with its checksums and its keys in order."""
    footer = table[-_FOOTER:]
    if len(table) < _FOOTER or not footer.endswith(_MAGIC):
        raise Malformed("it does not end in the footer of one")
    meta, at = _handle(footer, 0)
    index, at = _handle(footer, at)
    if any(footer[at : -len(_MAGIC)]):
        raise Malformed("its footer is damaged")
    _block(table, *meta)
    entries: dict[bytes, bytes] = {}
    last, end = b"", 0
    for _, value in _entries(_block(table, *index)):
        (offset, size), _ = _handle(value, 0)
        if offset < end:
            raise Malformed("blocks overlap")
        end = offset + size
        for key, content in _entries(_block(table, offset, size)):
            if entries and key <= last:
                raise Malformed("keys are out of order")
            if len(entries) == _MAX_ENTRIES:
                raise Malformed(f"more than {_MAX_ENTRIES} entries")
            entries[key] = content
            last = key
    return entries


def _handle(buffer: bytes, start: int) -> tuple[tuple[int, int], int]:
    """The (offset, size) of a block, and where what says so ends."""
    offset, start = varint(buffer, start, len(buffer))
    size, start = varint(buffer, start, len(buffer))
    return (offset, size), start


def _block(table: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER > len(table):
        raise Malformed("a block lies beyond the end")
    if masked_crc32c(table[offset : end + 1]) != int.from_bytes(table[end + 1 : end + _TRAILER], "little"):
        raise Malformed("a wrong checksum")
    if compression := table[end]:
        raise Malformed(f"{_COMPRESSIONS.get(compression, 'unknown')} compression, which is not read")
    return table[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block."""
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    if end < 0:
        raise Malformed("a block is too short")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at, end)
        new, at = varint(block, at, end)
        length, at = varint(block, at, end)
        if shared > len(key) or shared + new > _MAX_KEY or new + length > end - at:
            raise Malformed("an entry points beyond its block")
        key = key[:shared] + block[at : at + new]
        at += new + length
        yield key, block[at - length : at]
