"""Files that are whole or not there, whenever the program is killed."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def whole(path: Path, *, durable: bool = False) -> Generator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends, and goes away if it fails.

    Args:
      durable: wait until the disk has it, so that not even a power cut leaves half of it.

    Raises:
      OSError: it cannot be written; `filename` is `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Writes a file, whole or not at all."""
    with whole(path, durable=durable) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8, whatever the locale, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, *, indent: int | None = 2, durable: bool = False) -> None:
    """Writes readable JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=indent) + "\n").encode(), durable=durable)
