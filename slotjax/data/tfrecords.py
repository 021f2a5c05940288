"""TFRecord files, read without TensorFlow.

A record is framed as: length (uint64), masked CRC32C of the length (uint32), payload, masked CRC32C of the payload.
"""

import glob
import gzip
import io
import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from slotjax.errors import UserError
from slotjax.system.checksum import masked_crc32c

# The largest record of the known data sets has 3.3 MB; a much longer one is damage, and not allocated.
MAX_RECORD_BYTES = 64 * 2**20
_NAME = re.compile(r"^[^.].*\.tfrecords?(\.(gz|zlib))?(-\d{5}-of-\d{5})?(\.(gz|zlib))?$", re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")
_COPY_AGAIN = "copy or download the file again"


def find(path: Path, what: str) -> list[Path]:
    """The TFRecord files that a person means: a file, a pattern as for a shell, or a folder of one data set's shards.

    Args:
      what: the field or option that names them, with which the error begins.

    Raises:
      UserError: there is none, a shard is missing, or the folder holds several data sets.
    """
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            files = [file for file in path.iterdir() if _NAME.search(file.name) and file.is_file()]
        else:
            matches = glob.glob(str(path)) if glob.has_magic(str(path)) else []
            files = [file for file in map(Path, matches) if file.is_file()]
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read ({error.strerror}): check its permissions") from None
    if not files:
        why = "holds no TFRecord files (*.tfrecords, *.tfrecord-00000-of-00008)" if path.is_dir() else "does not exist"
        raise UserError(f"{what}: {path} {why}: give a file, a pattern or a folder")
    shards = _shards(files)
    if path.is_dir() and len(shards) > 1:
        names = ", ".join(sorted(file.name for file in files)[:4])
        raise UserError(f"{what}: {path} holds several data sets ({names}, ...): give a file or a pattern")
    for name, (there, count) in shards.items() if path.is_dir() else ():
        if missing := sorted(set(range(count)) - there):
            raise UserError(
                f"{what}: {path}: shard {missing[0]:05d} of {count} of {name} is missing: copy or download it"
            )
    return sorted(files)


def _shards(files: list[Path]) -> dict[str, tuple[set[int], int]]:
    """The data sets that files belong to by their names: the numbers of the shards that are there, and of all."""
    shards: dict[str, tuple[set[int], int]] = {}
    for file in files:
        found = _SHARD.search(file.name)
        if found is None:
            shards[file.name] = set(), 0
        else:
            name = _SHARD.sub(f"-of-{found[2]}", file.name)
            shards.setdefault(name, (set(), int(found[2])))[0].add(int(found[1]))
    return shards


def read_records(path: Path) -> Iterator[bytes]:
    """The payloads of a TFRecord file, one at a time; see `read_shards`."""
    for _, payload in read_shards([Path(path)]):
        yield payload


def read_shards(
    paths: Sequence[Path], *, skip: int = 0, progress: Callable[[int], object] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Where a record is ("FILE: record 3") and its payload, for every record of these files, one file after another.

    A file may be compressed with gzip or zlib, whatever its name.

    Args:
      skip: how many records to leave out at the start. They are unpacked (gzip has no random access), not checked.
      progress: called after each record with the number of bytes of the files read so far.

    Raises:
      UserError: a file is truncated or damaged; names it and the record.
    """
    before = index = 0
    for path in paths:
        try:
            with path.open("rb") as file:
                stream = _unpacked(file)
                for number in itertools.count():
                    where = f"{path}: record {number}"
                    payload = _read_record(stream, where, check=index >= skip)
                    if payload is None:
                        break
                    if progress is not None:
                        progress(before + file.tell())
                    if index >= skip:
                        yield where, payload
                    index += 1
                before += file.tell()
        except OSError as error:
            raise _unreadable(path, error) from None


def _read_record(stream: BinaryIO | gzip.GzipFile, where: str, check: bool) -> bytes | None:
    try:
        header = stream.read(12)
        if not header:
            return None
        length = _length(header, where)
        payload = stream.read(length)
        footer = stream.read(4)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{where}: the compressed stream is damaged ({error}): {_COPY_AGAIN}") from None
    except EOFError:
        raise UserError(f"{where}: the compressed stream ends too early: {_COPY_AGAIN}") from None
    _require(len(payload) == length and len(footer) == 4, where, "is truncated")
    if check:
        _require(masked_crc32c(payload) == struct.unpack("<I", footer)[0], where, "has a wrong checksum")
    return payload


def _length(header: bytes, where: str) -> int:
    """The length of a record's payload, from the 12 bytes before it."""
    _require(len(header) == 12, where, "is truncated")
    length, checksum = struct.unpack("<QI", header)
    _require(masked_crc32c(header[:8]) == checksum, where, "has a wrong checksum of its length, or is no TFRecord")
    _require(length <= MAX_RECORD_BYTES, where, f"claims {length} bytes (at most {MAX_RECORD_BYTES} are read)")
    return length


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror or error}): check the path and its permissions")


def places(path: Path) -> list[int]:
    """Where each record of a TFRecord file that is not compressed begins, in bytes: found by lengths alone.

    Raises:
      UserError: the file is truncated or damaged; names it and the record.
    """
    found, place = [], 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while place < size:
                file.seek(place)
                length = _length(file.read(12), f"{path}: record {len(found)}")
                found.append(place)
                place += 12 + length + 4
        _require(place == size, f"{path}: record {len(found) - 1}", "is truncated")
    except OSError as error:
        raise _unreadable(path, error) from None
    return found


def read_at(path: Path, place: int, where: str) -> bytes:
    """The payload of the record that begins there, its checksum verified; `where` names it in errors."""
    try:
        with path.open("rb") as file:
            file.seek(place)
            payload = _read_record(file, where, check=True)
    except OSError as error:
        raise _unreadable(path, error) from None
    return b"" if payload is None else payload


def frame(payload: bytes) -> bytes:
    """The payload as one TFRecord."""
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked_crc32c(length)) + payload + struct.pack("<I", masked_crc32c(payload))


def _unpacked(file: io.BufferedReader) -> BinaryIO | gzip.GzipFile:
    """The bytes of a file, unpacked on the way where it begins as gzip or zlib does. Memory stays bounded."""
    start = file.peek(12)[:12]
    if len(start) == 12 and struct.pack("<I", masked_crc32c(start[:8])) == start[8:]:
        return file  # the length of a record may begin as gzip does, but not its checksum
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    return io.BufferedReader(_Inflated(file)) if start[:1] == b"\x78" and not int.from_bytes(start[:2]) % 31 else file


class _Inflated(io.RawIOBase):
    """The bytes of a zlib stream. Raises zlib.error or EOFError where it is broken."""

    def __init__(self, file: BinaryIO):
        self._file, self._stream = file, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._file.read(io.DEFAULT_BUFFER_SIZE)
            if part := self._stream.decompress(packed, len(buffer)):
                buffer[: len(part)] = part
                return len(part)
            if not packed:
                raise EOFError
        return 0


def _require(condition: bool, where: str, complaint: str) -> None:
    if not condition:
        raise UserError(f"{where} {complaint}: {_COPY_AGAIN}")
