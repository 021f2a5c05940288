"""JSON that others may have made, read as data and with a bound on what it costs.

What is wrong with it is a `ValueError`, to which the callers, who know what the file is for, add the remedy.
"""

import json
import re
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 2**22
MAX_JSON_DEPTH = 32  # a config has 4; what reads one level after another must not run out of stack
# End a line, steer a terminal, or cannot be written as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


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
