"""One process at a time: in the workdir of a run, and at what is made once from data."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from slotjax.errors import UserError
from slotjax.system.console import say

NAME = ".lock"


@contextmanager
def hold(workdir: Path) -> Generator[None]:
    """Makes the workdir, and keeps other runs out of it until the block ends, or the process, however it ends.

    Raises:
      UserError: another run is at work there, or nothing can be written there.
    """
    path = workdir / NAME
    lock = _lock(path, f"--workdir {workdir}", "use another --workdir")
    if not lock.is_locked:
        raise UserError(
            f"--workdir {workdir}: another run is at work there ({_owner(path)}); wait for it, or use another --workdir"
        )
    try:
        with suppress(OSError):  # a full disk: whoever waits is not told of whom
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Lets one process at a time make `path`, in a folder made for it; the others wait.

    The lock's file is removed on success only: whoever got hold of a removed one finds `path` made.

    Raises:
      UserError: nothing can be written there.
    """
    file = path.with_name(f".{path.name}.lock")
    lock = _lock(file, str(path), "choose another folder")
    if not lock.is_locked:
        say(f"Waiting for another process that is making {path} ...")
        lock.acquire()
    try:
        yield
        file.unlink(missing_ok=True)
    finally:
        lock.release()


def _lock(path: Path, what: str, remedy: str) -> FileLock:
    """The lock of this file, in a folder made for it, taken if it is free."""
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        pass
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what}: cannot be written ({reason}); {remedy}") from None
    return lock


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or "its process is not known"
    except OSError:
        return "its process is not known"
