"""What every command shares: how its flags are read, and how it ends.

Nothing heavy is imported here. A command imports the rest inside its `main`, where Ctrl-C is heeded already.
"""

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from slotjax.errors import EXIT_STOPPED, RunFailed, RunStopped, UserError, nearest
from slotjax.system.compilation import keep_compiled_programs
from slotjax.system.console import CONSOLE, leave
from slotjax.system.pages import ask_for_large_pages
from slotjax.system.paths import given

EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141


def run(main: Callable[[], int | None], *, large_pages: bool = False) -> None:
    """Runs `main` and exits: with its code, with one line and 2 for a `UserError` or 1 for a `RunFailed`, with 75 for a
    run that was asked to stop and saved (`RunStopped`), with 130 when interrupted elsewhere, and with 141, as a shell
    has it, when nobody reads what it prints any more.

    Args:
      large_pages: whether it computes for long enough to begin anew for them (`slotjax.system.pages`).
    """
    if large_pages:
        ask_for_large_pages()
    heed_interrupts()
    try:
        set_streams()
        keep_compiled_programs()
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
        leave("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # whoever reads, `| head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_BROKEN_PIPE
    except ModuleNotFoundError as error:  # the usual first mistake: another Python than it was installed for
        if str(error.name).startswith("slotjax"):
            raise
        print(f"error: {error}; run `pip install -e .` first, with the Python that runs this", file=sys.stderr)
        code = 1
    except (AssertionError, RuntimeError):
        if not (missing := missing_platform()):
            raise
        print(f"error: {missing}", file=sys.stderr)
        code = EXIT_USER_ERROR
    sys.stdout.flush()
    sys.exit(code)


def heed_interrupts() -> None:
    """From now on Ctrl-C ends the process with one line; unless whoever started it had it ignored, as `nohup` does.

    Python's own way, an exception in the main thread, is lost where it meets a callback, waits for a program that is
    being compiled, and can crash an extension that is being imported. A thread sees the signal at once. Training takes
    the signal over as long as there is something to save.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # there must be one for the signal to reach the thread
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="interrupts").start()


def _watch(reader: int) -> None:
    while received := os.read(reader, 1):
        if received[0] == signal.SIGINT:
            leave("interrupted", EXIT_INTERRUPTED)


def set_streams() -> None:
    """What is printed is seen at once, also through a pipe; where the locale lacks a letter, its number is printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def missing_platform() -> str | None:
    """What is wrong where JAX_PLATFORMS asks for a device that is not there, of which JAX says nothing; else None."""
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked or "jax" not in sys.modules:
        return None
    try:
        sys.modules["jax"].devices()
    except (AssertionError, RuntimeError):
        return f"JAX_PLATFORMS={asked}: no such device can be used here; unset it, or set JAX_PLATFORMS=cpu"
    return None


class Parser(argparse.ArgumentParser):
    """The flags of `slotjax COMMAND` or `python -m slotjax.MODULE`, whose mistakes are a `UserError` like any other."""

    def __init__(self, module: str, description: str | None, **options: Any):
        super().__init__(
            prog=sys.argv[0] if sys.argv[0].startswith(CONSOLE) else f"python -m slotjax.{module}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it; where a shell asks how its line may go on, that is answered instead."""
        if args is None and "_ARGCOMPLETE" in os.environ:
            from slotjax.cli.completion import complete

            complete(self)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self.refuse(rest[0])
        return found

    def refuse(self, argument: str) -> NoReturn:
        """Raises the `UserError` for what is none of the flags."""
        if argument.startswith("-"):
            self.error(f"{argument}: no such flag{nearest(argument.partition('=')[0], self._flags())}")
        meant = f"; did you mean --workdir {argument}?" if "--workdir" in self._flags() else ""
        self.error(f"{argument}: belongs to no flag{meant}")

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += nearest(value, [*(action.choices or ()), *self._flags()])  # as in `slotjax help`
            raise

    def error(self, message: str) -> NoReturn:
        then = " " if message.endswith("?") else "; "
        raise UserError(f"{message.removeprefix('argument ')}{then}{self.prog} --help lists the flags")


def path(text: str) -> Path:
    """For argparse: a path as people write it, with `~`; there need not be anything yet.

    Raises:
      ArgumentTypeError: no path can be made of it, or what is there cannot be read.
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty path; give the name of a file or folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: only files and folders; mount the bucket and give its path")
    try:
        given(os.path.abspath(text), "path")  # the folder that one is in, too
        full = given(text, "path")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("path: ")) from None
    if full.is_dir() and not os.access(full, os.R_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text}: Permission denied; make it readable, or use another path")
    return full


def integer(least: int, most: int) -> Callable[[str], int]:
    """For argparse: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text}")
        return value

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """For argparse: a number from `least` to `most`; never NaN."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}, not {text}")
        return value

    return parse
