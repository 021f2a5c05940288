"""TFRecord files of `tf.train.Example` messages, read without TensorFlow.

A record is framed as: length (uint64), masked CRC32C of the length (uint32), payload, masked CRC32C of the payload. The
multi-object data sets store a uint8 array as one *one-byte string per element*, hundreds of thousands in a record, so
those are parsed through a single strided numpy view instead of element by element.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from slotjax.errors import UserError

# The largest record of the known data sets has 3.3 MB; a longer one is damage, and nothing is allocated for it.
MAX_RECORD_BYTES = 64 * 2**20
_MAX_FIELDS = 1000  # of one message; the known data sets have up to 12
_CHUNK = 2**16  # what follows a gzip member is copied: small, so that many tiny ones do not take for ever
_GZIP_MAGIC = b"\x1f\x8b"
_COPY_AGAIN = "copy or download the file again"


def read_records(path: Path, *, skip: int = 0, progress: Callable[[int], object] | None = None) -> Iterator[bytes]:
    """Yield the payloads of a TFRecord file, compressed with gzip or not, one at a time.

    Args:
      skip: how many records to leave out at the start. They are unpacked (gzip has no random access), not checked.
      progress: called after each record with the number of bytes of the file read so far.

    Raises:
      UserError: the file is truncated or damaged; names the file and the record.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            stream = _Stream(file)
            index = 0
            while (payload := _read_record(stream, f"{path}: record {index}", check=index >= skip)) is not None:
                if progress is not None:
                    progress(stream.bytes_read)
                if index >= skip:
                    yield payload
                index += 1
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}): check the path and its permissions"
        ) from None


def _read_record(stream: "_Stream", where: str, check: bool) -> bytes | None:
    try:
        header = stream.read(12)
        if not header:
            return None
        _require(len(header) == 12, where, "is truncated")
        length, length_crc = struct.unpack("<QI", header)
        _require(
            masked_crc32c(header[:8]) == length_crc, where, "has a wrong checksum of its length, or is no TFRecord"
        )
        _require(length <= MAX_RECORD_BYTES, where, f"claims {length} bytes (at most {MAX_RECORD_BYTES} are read)")
        payload = stream.read(length)
        footer = stream.read(4)
    except zlib.error as error:
        raise UserError(f"{where}: the gzip stream is damaged ({error}): {_COPY_AGAIN}") from None
    except EOFError:
        raise UserError(f"{where}: the gzip stream ends too early: {_COPY_AGAIN}") from None
    _require(len(payload) == length and len(footer) == 4, where, "is truncated")
    if check:
        _require(masked_crc32c(payload) == struct.unpack("<I", footer)[0], where, "has a wrong checksum")
    return payload


def masked_crc32c(data: bytes) -> int:
    """CRC32C, rotated and offset as TFRecord files hold it."""
    import google_crc32c

    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """The payload as one TFRecord."""
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked_crc32c(length)) + payload + struct.pack("<I", masked_crc32c(payload))


class _Stream:
    """The bytes of a file, unpacked on the way when it is gzip (one member or several). Memory stays bounded.

    `gzip.open` does the same three times slower, as it reads in small pieces.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._pending = file.read(_CHUNK)
        self._gzip = self._pending.startswith(_GZIP_MAGIC)
        self._member = zlib.decompressobj(wbits=31)

    @property
    def bytes_read(self) -> int:
        return self._file.tell() - len(self._pending)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end. Raises zlib.error or EOFError where the gzip stream is broken."""
        parts = []
        while size > 0 and (part := self._some(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        while True:
            self._pending = self._pending or self._file.read(_CHUNK)
            if not self._gzip:
                part, self._pending = self._pending[:size], self._pending[size:]
                return part
            if self._member.eof:
                if not self._pending:
                    return b""
                self._member = zlib.decompressobj(wbits=31)
            at_end = not self._pending
            part = self._member.decompress(self._pending, size)
            self._pending = self._member.unused_data or self._member.unconsumed_tail
            if part:
                return part
            if at_end and not self._member.eof:
                raise EOFError


def parse_example(record: bytes, where: str) -> dict[str, np.ndarray]:
    """The features of a `tf.train.Example`: uint8 [n] for lists of one-byte strings, float32 [n] for lists of floats.

    Args:
      record: the serialized message.
      where: what to call the record in errors ("FILE: record 3").

    Raises:
      UserError: the bytes are no Example, or hold another kind of feature.
    """
    features = {}
    try:
        for number, start, end in _fields(record, 0, len(record)):
            if number == 1:
                for _, entry_start, entry_end in _fields(record, start, end):
                    name, values = _parse_entry(record, entry_start, entry_end)
                    features[name] = values
    except _Malformed as error:
        raise UserError(f"{where} is no tf.train.Example of a known data set ({error}): check data.path") from None
    return features


class _Malformed(Exception):
    pass


def _parse_entry(buffer: bytes, start: int, end: int) -> tuple[str, np.ndarray]:
    """One entry of the map from names to features."""
    parts = {number: (begin, stop) for number, begin, stop in _fields(buffer, start, end)}
    if set(parts) != {1, 2}:
        raise _Malformed("an entry is not a name and a feature")
    name = buffer[slice(*parts[1])].decode(errors="replace")
    kinds = list(_fields(buffer, *parts[2]))
    if len(kinds) != 1 or kinds[0][0] not in (1, 2):
        raise _Malformed(f"feature {name[:40]!r} is neither one list of bytes nor one of floats")
    kind, begin, stop = kinds[0]
    return name, (_byte_list if kind == 1 else _float_list)(buffer, begin, stop, name)


def _byte_list(buffer: bytes, start: int, end: int, name: str) -> np.ndarray:
    """One-byte strings: groups of tag 0x0A, length 1, value."""
    if (end - start) % 3 == 0:
        groups = np.frombuffer(buffer, np.uint8, end - start, start).reshape(-1, 3)
        if (groups[:, 0] == 0x0A).all() and (groups[:, 1] == 1).all():
            return groups[:, 2].copy()
    raise _Malformed(f"feature {name[:40]!r} is not made of one-byte strings")


def _float_list(buffer: bytes, start: int, end: int, name: str) -> np.ndarray:
    """Packed floats, as every usual writer stores them."""
    fields = list(_fields(buffer, start, end))
    if [number for number, *_ in fields] != [1] or (fields[0][2] - fields[0][1]) % 4:
        raise _Malformed(f"feature {name[:40]!r} is not one packed list of floats")
    _, begin, stop = fields[0]
    return np.frombuffer(buffer, "<f4", (stop - begin) // 4, begin).copy()


def _fields(buffer: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The (number, start, end) of the length-delimited fields of a message; no other kind occurs in an Example."""
    for _ in range(_MAX_FIELDS):
        if start >= end:
            return
        tag, start = _varint(buffer, start, end)
        if tag & 7 != 2:
            raise _Malformed(f"unexpected wire type {tag & 7}")
        length, start = _varint(buffer, start, end)
        if length > end - start:
            raise _Malformed("a length points beyond the end")
        yield tag >> 3, start, start + length
        start += length
    raise _Malformed("too many fields")


def _varint(buffer: bytes, start: int, end: int) -> tuple[int, int]:
    value = 0
    for position in range(start, min(end, start + 10)):
        byte = buffer[position]
        value |= (byte & 0x7F) << (7 * (position - start))
        if byte < 0x80:
            return value, position + 1
    raise _Malformed("a number does not end")


def _require(condition: bool, where: str, complaint: str) -> None:
    if not condition:
        raise UserError(f"{where} {complaint}: {_COPY_AGAIN}")
