"""What people are told while they wait: lines, bars, times and sizes."""

import os
import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn

from slotjax.system import writing

CONSOLE = "slotjax "  # begins a command's name, `sys.argv[0]`, where the console command runs it: "slotjax train"


def say(text: str) -> None:
    """One line for the user, on standard error."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(text, markup=False)


@contextmanager
def progress(description: str, total: int, *, in_bytes: bool = False) -> Generator[Callable[[int], object]]:
    """A progress bar on standard error, as a context; yields a function that sets how much is done."""
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.DownloadColumn() if in_bytes else bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True, emoji=False)) as display:
        task = display.add_task(description, total=total)
        yield lambda done: display.update(task, completed=done)


def leave(text: str, code: int) -> NoReturn:
    """Ends the process at once, with one line: a progress bar's hidden cursor comes back, half-written files go."""
    writing.abandon()
    cursor = "\x1b[?25h" if os.isatty(2) else ""
    os.write(2, f"{cursor}{text}\n".encode())
    os._exit(code)


def duration(seconds: float) -> str:
    """Seconds for people: "42 s", "2.4 min", "17 min", "3.5 h", "12 days"."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            fine = name == "h" or (name == "min" and value < 9.95)
            return f"{value:.1f} {name}" if fine else f"{value:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def readable(count: int) -> str:
    """A byte count for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def command(text: str, **values: object) -> str:
    """A command to copy and paste, as the user has called this one: `slotjax TEXT` or `python -m slotjax.TEXT`.

    The {places} of TEXT hold `values`, quoted for a shell.
    """
    begin = CONSOLE if sys.argv[0].startswith(CONSOLE) else "python -m slotjax."
    return begin + text.format(**{name: shlex.quote(str(value)) for name, value in values.items()})


def number(count: int, noun: str) -> str:
    """A count for people: "1 picture", "2 pictures"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
