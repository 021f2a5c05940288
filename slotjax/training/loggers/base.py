"""What a logger is to training, and how those of a run are told."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ml_collections import ConfigDict

from slotjax.errors import UserError, first_line
from slotjax.system.reading import read_json
from slotjax.system.writing import write_json

FILE = "loggers.json"  # in a run's directory


class Logger(Protocol):
    """Follows a run. Nothing that it does changes what is learned, and where it fails the run goes on without it.

    Attributes:
      name: what people call it.
    """

    name: str

    def start(self, config: ConfigDict, workdir: Path, step: int) -> str | None:
        """Before the step after `step`, which is 0 or a checkpoint's: what was logged beyond comes again.

        Returns a line for the reader.
        """
        ...

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        """What training or an evaluation found: numbers, or None for what is not known."""
        ...

    def picture(self, step: int, path: Path) -> None:
        """The held-out examples as the model sees them, which have been drawn into a file; also before step 1."""
        ...

    def checkpoint(self, step: int, folder: Path) -> None:
        """The best checkpoint so far is being written into this folder."""
        ...

    def close(self, finished: bool) -> None:
        """The run ends; `finished` is whether it has made all of its steps."""
        ...


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """The figures that are known; the time is the service's own."""
    return {name: float(x) for name, x in figures.items() if isinstance(x, int | float) and name != "time"}


def kept_id(workdir: Path, name: str) -> str | None:
    """By what name a service knows the run, if it does: after a kill it goes on under that."""
    return _kept(workdir).get(name)


def keep_id(workdir: Path, name: str, value: str) -> None:
    """Keeps it beside those of other services."""
    write_json(workdir / FILE, _kept(workdir) | {name: value})


def _kept(workdir: Path) -> dict[str, str]:
    try:
        known = read_json(workdir / FILE)
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}


class Loggers:
    """Several loggers told as one; one that fails is named, once, and told no more."""

    def __init__(self, loggers: Sequence[Logger], say: Callable[[str], None]):
        self._loggers, self._say = list(loggers), say

    def start(self, config: ConfigDict, workdir: Path, step: int) -> None:
        """Raises a `UserError` of a logger that cannot begin, for a reason that its user can mend."""

        def start(logger: Logger) -> None:
            if line := logger.start(config, workdir, step):
                self._say(line)

        self._tell(start, beginning=True)

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        self._tell(lambda logger: logger.figures(step, figures))

    def picture(self, step: int, path: Path) -> None:
        self._tell(lambda logger: logger.picture(step, path))

    def checkpoint(self, step: int, folder: Path) -> None:
        self._tell(lambda logger: logger.checkpoint(step, folder))

    def close(self, finished: bool) -> None:
        self._tell(lambda logger: logger.close(finished))

    def _tell(self, what: Callable[[Logger], None], beginning: bool = False) -> None:
        for logger in tuple(self._loggers):
            try:
                what(logger)
            except Exception as error:  # a service that is away, a full disk: the run is worth more than its log
                if beginning and isinstance(error, UserError):
                    raise
                self._loggers.remove(logger)
                kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
                self._say(f"note: {logger.name} is not told of the rest of the run ({kind}{first_line(error)})")
