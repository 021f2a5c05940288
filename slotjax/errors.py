"""The one kind of error that is the user's to mend, and how a run may end before its last step."""

from collections.abc import Iterable
from difflib import get_close_matches

EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, come again


class UserError(ValueError):
    """A mistake in what the user asked for: one line that names the field or file, the value and the remedy.

    Commands print it without a traceback and exit with code 2; in a program it is an ordinary `ValueError`.
    """


class RunFailed(RuntimeError):
    """A run that started and could not go on, such as a loss that is not finite. Commands exit with code 1.

    Attributes:
      at_once: the command shall not wait for anything on its way out, such as for processes that are gone.
    """

    at_once = False


class RunStopped(RuntimeError):
    """A run that was asked to stop, and saved what it had: the same command goes on.

    Commands exit with `EXIT_STOPPED`.
    """


def shown(value: object) -> str:
    """A value of unknown origin for a message: on one line, and shortened."""
    text = " ".join(repr(value).split("\n"))
    return text if len(text) <= 80 else f"{text[:60]}...{text[-16:]}"


def first_line(error: object) -> str:
    """What another library's error says, for a message: its first line, shortened; its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def nearest(name: object, known: Iterable[str]) -> str:
    """For the end of a message about a name that there is not: "; did you mean quick?", or nothing if none is near."""
    found = get_close_matches(str(name), list(known), n=1, cutoff=0.7)
    return f"; did you mean {found[0]}?" if found else ""
