"""Writing TensorFlow 2 checkpoints of any content for the tests, independent of the reader."""

import struct
from pathlib import Path

from tfrecord_files import message, varint

from slotjax.system.checksum import masked_crc32c

FOLDER = Path(__file__).parent / "data" / "tf2"
VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def sealed(content: bytes, compression: int = 0) -> bytes:
    """A block with its trailer."""
    content += bytes([compression])
    return content + struct.pack("<I", masked_crc32c(content))


def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Entries whose keys are stored as what differs from the key before."""
    out, last = b"", b""
    for key, value in pairs:
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + struct.pack("<II", 0, 1)


def handle(offset: int, size: int) -> bytes:
    return varint(offset) + varint(size)


def table(*blocks: bytes, compression: int = 0, handles: list[bytes] | None = None) -> bytes:
    """A table of blocks, each with its checksum; `handles` in place of those that say where they are."""
    out, places = b"", []
    for content in blocks:
        places.append(handle(len(out), len(content)))
        out += sealed(content, compression)
    empty = block([])
    meta = handle(len(out), len(empty))
    out += sealed(empty)
    index = block([(b"%06d" % i, place) for i, place in enumerate(handles or places)])
    footer = meta + handle(len(out), len(index))
    return out + sealed(index) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def header(shards: int = 1, order: int = 0) -> tuple[bytes, bytes]:
    return b"", number(1, shards) + number(2, order) + message(3, number(1, 1))


def entry(
    name: str, data: bytes, shape: tuple[int, ...], *, dtype: int = 1, shard: int = 0, offset: int = 0, size: int = -1
) -> tuple[bytes, bytes]:
    """A tensor that lies at `offset`, where `data` is, as far as the checksum knows."""
    dims = b"".join(message(2, number(1, dim)) for dim in shape)
    size = len(data) if size < 0 else size
    places = number(3, shard) + number(4, offset) + number(5, size)
    checksum = b"\x35" + struct.pack("<I", masked_crc32c(data))
    return name.encode(), number(1, dtype) + message(2, dims) + places + checksum


def write(prefix: Path, index: bytes, data: bytes = b"") -> Path:
    Path(f"{prefix}.index").write_bytes(index)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    return prefix
