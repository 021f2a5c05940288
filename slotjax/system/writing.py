"""Files that are whole or not there, whenever the program is killed."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from slotjax.errors import UserError

_unfinished: set[Path] = set()


@contextmanager
def whole(path: Path, *, durable: bool = False) -> Generator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends, and goes away if it fails.

    What is no regular file, such as /dev/null, is written to as it is; of a link, what it points to is replaced.

    Args:
      durable: wait until the disk has it, so that not even a power cut leaves half of it.

    Raises:
      OSError: it cannot be written; `filename` is `path`.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    target = path.resolve()
    name = os.fsdecode(os.fsencode(target.name)[:100])  # file systems limit the bytes of a name
    partial = target.with_name(f".{name}.{os.getpid()}.partial")
    _unfinished.add(partial)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    finally:
        _unfinished.discard(partial)


def check_file(path: Path, what: str) -> None:
    """Refuses what cannot become a file, before work is done for it.

    Args:
      what: the flag that names it, with which the error begins.

    Raises:
      UserError: a directory, or a file where nothing can be written.
    """
    if path.is_dir():
        raise UserError(f"{what} {path}: is a directory; name a file")
    if not path.exists() or path.is_file():
        check_folder(path.resolve().parent, f"{what} {path}")


def check_folder(path: Path, what: str) -> None:
    """Refuses a folder where nothing can be written, before work is done for it; one that is missing is made later."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise UserError(f"{what}: {there} is no folder; name another place")
    if not os.access(there, os.W_OK):
        raise UserError(f"{what}: {there} cannot be written to; name another place")


def abandon() -> None:
    """Removes what is being written, for a process that ends at once."""
    for partial in tuple(_unfinished):
        with suppress(OSError):
            partial.unlink(missing_ok=True)


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
