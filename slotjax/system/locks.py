"""One run at a time in a workdir."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from slotjax.errors import UserError

NAME = ".lock"


@contextmanager
def hold(workdir: Path) -> Generator[None]:
    """Makes the workdir, and keeps other runs out of it until the block ends, or the process, however it ends.

    Raises:
      UserError: another run is at work there, or nothing can be written there.
    """
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"--workdir {workdir}: another run is at work there ({_owner(path)}); wait for it, or use another --workdir"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--workdir {workdir}: cannot be written ({reason}); use another --workdir") from None
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    try:
        return path.read_text().strip() or "its process is not known"
    except OSError:
        return "its process is not known"
