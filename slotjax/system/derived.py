"""What is made from a user's data once and kept for the next time: files that may be lost, and are not believed."""

import functools
import hashlib
import os
from pathlib import Path

from slotjax.system.console import say
from slotjax.system.paths import user_cache
from slotjax.system.reading import read_json
from slotjax.system.writing import write_json

MAX_BYTES = 2**28  # of one file: some 70 bytes for each of some millions of pictures
_LONGEST_NAME = 200  # bytes; file systems have 255, and writing and locking add to a name


def derived_path(source: Path, suffix: str) -> Path | None:
    """Where something made from `source` is kept: beside it, or in the user's cache where that folder is read-only.

    None, after a note, where neither can be written.
    """
    source = Path(os.path.abspath(source))
    name = source.name + suffix
    if source.name and len(os.fsencode(name)) <= _LONGEST_NAME:
        beside = source.with_name(name)
        if beside.exists() or os.access(source.parent, os.W_OK):
            return beside
    cache = user_cache()
    if cache is None:
        _note(f"{source.parent} cannot be written, and there is no home directory for a cache")
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _note(f"neither {source.parent} nor {cache} can be written ({error.strerror})")
        return None
    return cache / f"{source.name[:40]}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:12]}{suffix}"


@functools.cache  # once
def _note(why: str) -> None:
    say(f"note: what is found out about the data is not kept for the next time: {why}")


def read(path: Path | None) -> dict:
    """The JSON object in a derived file; empty where there is none that can be read."""
    try:
        value = {} if path is None else read_json(path, MAX_BYTES)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def keep(path: Path | None, value: dict) -> None:
    """Writes a derived file where it can be written, and says so where it cannot."""
    try:
        if path is not None:
            write_json(path, value, indent=None)
    except OSError as error:
        _note(f"{path} cannot be written ({error.strerror})")


def whole_numbers(value: object, length: int, most: int) -> list[int] | None:
    """`value` if it is a list of so many whole numbers from 0 to `most`, as a derived file should hold, else None."""
    if not isinstance(value, list) or len(value) != length:
        return None
    return value if all(type(number) is int and 0 <= number <= most for number in value) else None
