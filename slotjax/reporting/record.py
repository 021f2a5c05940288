"""What a run wrote down: its config and its metrics."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from slotjax import configuration
from slotjax.errors import UserError
from slotjax.reporting import figures
from slotjax.tasks import TASKS
from slotjax.training.logging import duration, read_metrics

Row = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A workdir, read.

    Attributes:
      rows: the lines of metrics.jsonl; empty where there is no such file.
      broken_lines: how many lines of it could not be read.
    """

    workdir: Path
    config: ConfigDict
    rows: list[Row]
    broken_lines: int

    @property
    def task(self) -> ModuleType:
        return TASKS[self.config.model.name]

    @property
    def training(self) -> list[Row]:
        """What was logged while training."""
        return [row for row in self.rows if "loss" in row]

    @property
    def evaluations(self) -> list[Row]:
        """What the held-out images scored, oldest first."""
        return [row for row in self.rows if "num_images" in row]

    @property
    def best(self) -> Row | None:
        """The evaluation that the best checkpoint comes from."""
        best = None
        for row in self.evaluations:
            if self.task.is_better(row, best):
                best = row
        return best

    @property
    def last_step(self) -> int:
        return max((row["step"] for row in self.rows), default=0)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a figure wherever it is a finite number."""
        pairs = ((row["step"], figures.number(row.get(name))) for row in self.rows)
        return [(step, value) for step, value in pairs if value is not None]

    @property
    def took(self) -> str | None:
        """The time between the first and the last line, for people; pauses between sessions count."""
        times = [time for row in self.rows if (time := figures.number(row.get("time"))) is not None]
        return duration(max(times) - min(times)) if len(times) > 1 else None


def read(workdir: Path) -> Record:
    """Reads what is there.

    Raises:
      UserError: no such directory, not a run's, or a run that has written neither metrics nor a checkpoint.
    """
    if not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: no such directory; give the --workdir of a training run")
    config = configuration.load(workdir / "config.json")
    check(config, workdir)
    path = workdir / "metrics.jsonl"
    try:
        rows = read_metrics(path)
        lines = [line for line in path.read_text().splitlines() if line.strip()] if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it, or delete it for a report without") from None
    if not rows and not any((workdir / "checkpoints").glob("[0-9]*")):
        raise UserError(
            f"{workdir}: neither metrics nor a checkpoint in it yet; train with --workdir {workdir} until its first log"
        )
    return Record(workdir, config, rows, len(lines) - len(rows))


def check(config: ConfigDict, workdir: Path) -> None:
    """A `UserError` for a config that no run of this version can have had."""
    try:
        configuration.validate(config)
    except UserError as error:
        raise UserError(f"{workdir / 'config.json'}: {error}") from None
    except (AttributeError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{workdir / 'config.json'}: not the config of a run ({reason}); restore the file") from None


def labels(workdirs: Sequence[Path]) -> list[str]:
    """Short names that differ: the last parts of the paths, without what all of them share."""
    paths = [workdir.absolute() for workdir in workdirs]
    if len(paths) == 1:
        return [paths[0].name]
    common = os.path.commonpath([path.parent for path in paths])
    return [os.path.relpath(path, common) for path in paths]
