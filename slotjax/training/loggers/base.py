"""What a logger is to training, and how those of a run are told."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ml_collections import ConfigDict

from slotjax.errors import UserError


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
        """The best checkpoint so far is in this folder."""
        ...

    def close(self, finished: bool) -> None:
        """The run ends; `finished` is whether it has made all of its steps."""
        ...


class Loggers:
    """Several loggers told as one; one that fails is named, once, and told no more."""

    def __init__(self, loggers: Sequence[Logger], say: Callable[[str], None]):
        self._loggers, self._say = list(loggers), say

    def start(self, config: ConfigDict, workdir: Path, step: int) -> None:
        def start(logger: Logger) -> None:
            if line := logger.start(config, workdir, step):
                self._say(line)

        self._tell(start)

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        self._tell(lambda logger: logger.figures(step, figures))

    def picture(self, step: int, path: Path) -> None:
        self._tell(lambda logger: logger.picture(step, path))

    def checkpoint(self, step: int, folder: Path) -> None:
        self._tell(lambda logger: logger.checkpoint(step, folder))

    def close(self, finished: bool) -> None:
        self._tell(lambda logger: logger.close(finished))

    def _tell(self, what: Callable[[Logger], None]) -> None:
        for logger in tuple(self._loggers):
            try:
                what(logger)
            except Exception as error:  # a service that is away, a full disk: the run is worth more than its log
                self._loggers.remove(logger)
                kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
                reason = str(error).splitlines()[0] if str(error) else "no reason given"
                self._say(f"note: {logger.name} is not told of the rest of the run ({kind}{reason})")
