"""Files that others may have made: JSON and arrays, read as data and with a bound on what they cost.

What is wrong with a JSON file or an archive of arrays is a `ValueError`, to which the callers, who know what the file
is for, add the remedy.
"""

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAX_JSON_BYTES = 2**22
MAX_JSON_DEPTH = 32  # a config has 4; what reads one level after another must not run out of stack
# End a line, steer a terminal, or cannot be written as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

MAX_ARRAYS = 10_000
# As numpy writes it, but for objects, structures and foreign byte orders; numpy itself would evaluate it as Python.
_HEADER = re.compile(
    rb"\{'descr': '((?:<[fiu][248])|(?:\|[biu]1)|(?:<U[1-9]\d{0,8}))', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?){0,8}\d{0,18})\), \} *\n"
)


def read_bytes(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes. Raises OSError or ValueError."""
    if path.exists() and not path.is_file():
        raise ValueError("no regular file")  # one might wait for a pipe, or read a device, for ever
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit} bytes")
    return content


def read_json(path: Path, limit: int = MAX_JSON_BYTES, *, printable: bool = True) -> Any:
    """The JSON of a small file. Raises OSError or ValueError."""
    return parse_json(read_bytes(path, limit), limit, printable=printable)


def parse_json(text: str | bytes, limit: int = MAX_JSON_BYTES, *, printable: bool = True) -> Any:
    """`json.loads` for which everything that code would stumble over later is a ValueError too.

    Args:
      printable: no text may hold line breaks or other control characters, since messages will show it.
    """
    if len(text) > limit:
        raise ValueError(f"more than {limit} bytes")
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_json(value, MAX_JSON_DEPTH, printable)
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"the number {digits[:20]}... is too large")
    return int(digits)


def _check_json(value: Any, depth: int, printable: bool) -> None:
    if printable and isinstance(value, str) and _UNPRINTABLE.search(value):
        raise ValueError("a text holds control characters")
    if isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("nested too deeply")
        for item in value if isinstance(value, list) else (*value, *value.values()):
            _check_json(item, depth - 1, printable)


def read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. Unlike `np.load` it believes no header: all together are no larger than the file.

    Raises:
      OSError, ValueError: no archive, damaged, or with anything else in it than `np.savez` makes of floats and texts.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(members) > MAX_ARRAYS or len(set(names)) < len(names):
                raise ValueError(f"two arrays of one name, or more than {MAX_ARRAYS}")
            if sum(member.file_size for member in members) > file.seek(0, io.SEEK_END):
                raise ValueError("its arrays claim to be larger than the file")
            return {name: _read_array(archive, one) for name, one in zip(names, members, strict=True)}
    except OSError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged files
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from None


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    with archive.open(member) as stream:
        start = stream.read(10)
        header = _HEADER.fullmatch(stream.read(int.from_bytes(start[8:], "little")))
        if start[:8] != b"\x93NUMPY\1\0" or header is None:
            raise ValueError("something in it is no array of numbers or a text")
        dtype, shape = np.dtype(header[1].decode()), [int(size) for size in header[3].split(b",") if size.strip()]
        left = member.file_size - stream.tell()
        if math.prod(shape) * dtype.itemsize != left:
            raise ValueError(f"{dtype} {shape} in {left} bytes")
        content = stream.read(left)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if header[2] == b"True" else "C").copy()
