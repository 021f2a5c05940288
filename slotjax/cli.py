"""What every command shares: the user's mistakes become one line and exit code 2."""

import ctypes
import os
import sys
from collections.abc import Callable

from slotjax.errors import EXIT_STOPPED, RunFailed, RunStopped, UserError
from slotjax.system.compilation import keep_compiled_programs

EXIT_USER_ERROR, EXIT_BROKEN_PIPE = 2, 141
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for them, in malloc.h


def run(main: Callable[[], int | None]) -> None:
    """Runs `main` and exits: with its code, with one line and 2 for a `UserError` or 1 for a `RunFailed`, with 75 for a
    run that was asked to stop and saved (`RunStopped`), with 130 when interrupted elsewhere, and with 141, as a shell
    has it, when nobody reads what it prints any more."""
    keep_freed_memory()
    keep_compiled_programs()
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except RunFailed as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if error.at_once:
            sys.stdout.flush()
            os._exit(1)
        code = 1
    except RunStopped as stopped:
        print(stopped, file=sys.stderr)
        code = EXIT_STOPPED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # whoever reads, `| head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_BROKEN_PIPE
    sys.stdout.flush()
    sys.exit(code)


def keep_freed_memory() -> None:
    """Has this process keep the memory that it frees, where its C library is glibc; elsewhere does nothing.

    XLA:CPU takes its work space anew for every call, and glibc hands blocks of more than 32 MiB back to the kernel, so
    that each step would start with a page fault for every 4 KiB of it (docs/performance.md).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
