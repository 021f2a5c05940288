"""Small shared habits of the readers: where derived files go, how they are written, and how progress is shown."""

import hashlib
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from slotjax.errors import UserError
from slotjax.system import reading as untrusted

MAX_BYTES = 2**26  # of a derived file: numbers for each of some millions of pictures


def say(text: str) -> None:
    """One line for the user, on standard error."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True, highlight=False).print(text, markup=False)


def progress(description: str, total: int, *, in_bytes: bool = False):
    """A rich progress bar on standard error, as a context; yields a function that sets how much is done."""
    from rich import progress as bars
    from rich.console import Console

    amount = bars.DownloadColumn() if in_bytes else bars.MofNCompleteColumn()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), amount, bars.TimeRemainingColumn())
    display = bars.Progress(*columns, console=Console(stderr=True))

    @contextmanager
    def shown():
        with display:
            task = display.add_task(description, total=total)
            yield lambda done: display.update(task, completed=done)

    return shown()


def derived_path(source: Path, suffix: str) -> Path:
    """Where something made from `source` is kept: beside it, or in the user's cache where that folder is read-only."""
    source = source.absolute()
    beside = source.with_name(source.name + suffix)
    if beside.exists() or os.access(source.parent, os.W_OK):
        return beside
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slotjax"
    cache.mkdir(parents=True, exist_ok=True)
    return cache / f"{source.name}-{hashlib.sha256(str(source).encode()).hexdigest()[:12]}{suffix}"


def write_json(path: Path, value: object) -> None:
    """Write so that the file is whole or not there, whenever the program is killed."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict | None:
    """The JSON object in a derived file, or None where there is none that can be read."""
    try:
        value = untrusted.read_json(path, MAX_BYTES)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def whole_numbers(value: object, length: int, most: int) -> list[int] | None:
    """`value` if it is a list of so many whole numbers from 0 to `most`, as a derived file should hold, else None."""
    if not isinstance(value, list) or len(value) != length:
        return None
    return value if all(type(number) is int and 0 <= number <= most for number in value) else None


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Let one process at a time make `path`; the others wait. The lock dies with its process.

    Its file is removed on success only: whoever got hold of a removed one finds `path` made.
    """
    import fcntl

    lock = path.with_name(f".{path.name}.lock")
    try:
        file = lock.open("w")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another folder") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another process that is making {path} ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)
