"""A run of many processes: how they find each other, what they must agree on, and who writes.

Every process runs the same program on its share of each batch (JAX's multi-controller way). Process 0 alone writes.
"""

import zlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slotjax.errors import RunFailed, UserError, first_line
from slotjax.system import locks

HEARTBEAT_SECONDS = 30  # a process that was silent for so long is taken for dead, and the job ends
SHUTDOWN_SECONDS = 30


def join(asked: str) -> None:
    """Joins the other processes of this job. Must precede any computing.

    Args:
      asked: "auto" has JAX find out, which knows Open MPI, SLURM, Kubernetes and TPU pods; "HOST:PORT,INDEX,COUNT" says
        where process 0 listens, which process this is, and how many there are.

    Raises:
      UserError: `asked` reads otherwise, or the others cannot be reached.
    """
    options = {} if asked == "auto" else parse(asked)
    try:
        jax.distributed.initialize(
            **options, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, shutdown_timeout_seconds=SHUTDOWN_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--distributed: the processes cannot find each other ({first_line(error)}); say "
            "--distributed=HOST:PORT,INDEX,COUNT"
        ) from None


def parse(asked: str) -> dict[str, Any]:
    """ "HOST:PORT,INDEX,COUNT" as arguments of `jax.distributed.initialize`."""
    address, *numbers = asked.split(",")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers) or not address.rpartition(":")[2].isdigit():
        raise UserError(f"--distributed={asked}: write HOST:PORT,INDEX,COUNT, such as 10.0.0.1:1234,0,2; or auto")
    index, count = map(int, numbers)
    if index >= count:
        raise UserError(f"--distributed={asked}: processes count from 0, so the last of {count} is {count - 1}")
    return {"coordinator_address": address, "process_id": index, "num_processes": count}


def many() -> bool:
    return jax.process_count() > 1


def first() -> bool:
    """Whether this process writes."""
    return jax.process_index() == 0


def everyones(value: int | float) -> np.ndarray:
    """What each process passes, [processes]; they wait for each other here."""
    if not many():
        return np.asarray([value])
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(value))).reshape(-1)


@contextmanager
def hold_together(workdir: Path) -> Generator[None]:
    """`locks.hold` by process 0 for all of them; a `UserError` in every process where that fails."""
    with ExitStack() as stack:
        failed = None
        if first():
            try:
                stack.enter_context(locks.hold(workdir))
            except UserError as error:
                failed = error
        if everyones(failed is not None).any():
            raise failed or UserError(f"--workdir {workdir}: process 0 cannot use it")
        check_shared(workdir)
        yield


def check_shared(workdir: Path) -> None:
    """Raises a `UserError` in every process if one does not see the workdir of process 0, which holds its lock."""
    seen = everyones(_fingerprint(workdir / locks.NAME))
    blind = [str(i) for i, value in enumerate(seen) if value != seen[0]]
    if blind:
        raise UserError(
            f"--workdir {workdir}: process {', '.join(blind)} of {len(seen)} does not see the one of process 0; "
            "name a directory that all of them share"
        )


def _fingerprint(path: Path) -> int:
    try:
        return zlib.crc32(path.read_bytes()) & 0x7FFFFFFF
    except OSError:
        return -1


def lost(error: Exception) -> RunFailed:
    """What to say when the work of several processes broke off."""
    failed = RunFailed(
        f"process {jax.process_index()} of {jax.process_count()}: another process is gone, or cannot be reached "
        f"({first_line(error)}); start all of them again: the run goes on from its newest checkpoint"
    )
    failed.at_once = True
    return failed
