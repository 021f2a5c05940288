"""What a run wrote down: its config and its metrics."""

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.config import disk
from slotjax.errors import UserError
from slotjax.models.build import noun_of
from slotjax.reporting.titles import number
from slotjax.system.console import duration
from slotjax.system.reading import read_bytes
from slotjax.tasks import TASKS, Task
from slotjax.training.metrics_log import read_metrics

Row = dict[str, Any]
MAX_METRICS_BYTES = 2**28
MAX_FIGURES = 200  # each is a chart


@dataclass(frozen=True)
class History:
    """A run's directory, read; or a file of weights, of which only the config is known.

    Attributes:
      workdir: the directory, or the file.
      rows: the lines of metrics.jsonl; empty where there is no such file.
      broken_lines: how many lines of it could not be read.
    """

    workdir: Path
    config: ConfigDict
    rows: list[Row]
    broken_lines: int

    @property
    def of_weights(self) -> bool:
        return self.workdir.is_file()

    @property
    def task(self) -> Task:
        return TASKS[self.config.model.name]

    @property
    def noun(self) -> str:
        """What people call one of its examples."""
        return noun_of(self.config.model)

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
        """The evaluation that the best checkpoint comes from; one that lacks figures of the task does not count."""
        best = None
        for row in self.evaluations:
            with contextlib.suppress(KeyError, TypeError):
                self.task.is_better(row, row)
                if self.task.is_better(row, best):
                    best = row
        return best

    @property
    def last_step(self) -> int:
        return max((row["step"] for row in self.rows), default=0)

    @property
    def finished(self) -> bool:
        """Whether it was scored after its last step."""
        return any(row["step"] >= self.config.train.num_steps for row in self.evaluations)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a figure wherever it is a finite number; of one that both have, the evaluations'."""
        evaluated = any(name in row for row in self.evaluations)
        pairs = ((row["step"], number(row.get(name))) for row in (self.evaluations if evaluated else self.rows))
        return [(step, value) for step, value in pairs if value is not None]

    @property
    def took(self) -> str | None:
        """The time between the first and the last line, for people; pauses between sessions count."""
        times = [time for row in self.rows if (time := number(row.get("time"))) is not None]
        return duration(max(times) - min(times)) if len(times) > 1 else None


def read(workdir: Path) -> History:
    """Reads what is there.

    Raises:
      UserError: no such directory, not a run's, or a run that has written neither metrics nor a checkpoint.
    """
    if not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: no such directory; give the --workdir of a training run")
    history = gather(workdir, disk.load_valid(workdir / "config.json"))
    if not history.rows and not any((workdir / "checkpoints").glob("[0-9]*")):
        raise UserError(
            f"{workdir}: neither metrics nor a checkpoint in it yet; train with --workdir {workdir} until its first log"
        )
    return history


def gather(workdir: Path, config: ConfigDict) -> History:
    """What a run of this config has written down so far, which may be nothing; a `UserError` if it cannot be read."""
    path = workdir / "metrics.jsonl"
    try:
        rows, broken = read_rows(path) if path.exists() else ([], 0)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it, or delete it for a report without") from None
    return History(workdir, config, rows, broken)


def read_rows(path: Path) -> tuple[list[Row], int]:
    """The rows of a metrics file, of which nothing but numbers is kept, and how many lines are no rows."""
    content = read_bytes(path, MAX_METRICS_BYTES).decode(errors="replace")
    lines = sum(bool(line.strip()) for line in content.splitlines())
    rows = [{name: value for name, value in row.items() if is_figure(value)} for row in read_metrics(path)]
    rows = [row for row in rows if 0 <= row.get("step", -1) < 2**53]
    if not rows and "\ufffd" in content:
        raise ValueError("it is no text")
    if len({name for row in rows for name in row}) > MAX_FIGURES:
        raise ValueError(f"more than {MAX_FIGURES} different figures")
    return rows, lines - len(rows)


def is_figure(value: Any) -> bool:
    """Whether the value can be a figure, or says that there is none; NaN and infinity can, but not a number with which
    one cannot compute."""
    if value is None or isinstance(value, float):
        return value is None or not 1e100 < abs(value) < math.inf
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def labels(workdirs: Sequence[Path]) -> list[str]:
    """Short names that differ: the last parts of the paths, without what all of them share."""
    paths = [workdir.absolute() for workdir in workdirs]
    if len(paths) == 1:
        return [paths[0].name]
    common = os.path.commonpath([path.parent for path in paths])
    return [os.path.relpath(path, common) for path in paths]
