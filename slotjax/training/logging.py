"""What a run says and writes down: a progress bar or plain lines, metrics.jsonl, TensorBoard events."""

import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECENT = 20  # lines of figures, evaluations between them included, by which the time that is left is estimated


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line.

    On resuming, lines beyond the restored step are dropped, since they come again. So is what cannot be read, after a
    copy of the whole file was put beside it.

    Args:
      notice: is told of the copy.
    """

    def __init__(self, path: Path, start_step: int, notice: Callable[[str], None]):
        self.path = path
        rows, unreadable = _parse(path)
        if unreadable:
            copy = path.with_suffix(".damaged.jsonl")
            shutil.copyfile(path, copy)
            notice(f"{path}: {unreadable} line(s) cannot be read and are left out; {copy} keeps the file as it was")
        kept = [json.dumps(row) for row in rows if row["step"] <= start_step]
        temporary = path.with_suffix(".partial")
        temporary.write_text("".join(line + "\n" for line in kept))
        temporary.replace(path)
        self._file = path.open("a")

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file that can be read; [] if there is no file."""
    return _parse(path)[0]


def _parse(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows, and how many lines are none, but for a last one that a killed run left half written."""
    rows, unreadable = [], []
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
        else:
            unreadable.append(line)
    return rows, sum(line.endswith("\n") for line in unreadable)


class Events:
    """TensorBoard events, written at once.

    tensorboardX writes them in a thread, which ends where the disk is full or the clock was set back; what is logged
    after that waits for it for ever.
    """

    def __init__(self, folder: Path, start_step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2 as proto
        from tensorboardX.summary import scalar

        folder.mkdir(exist_ok=True)
        self._proto: Any = proto
        self._scalar, self._writer = scalar, EventsWriter(str(folder / "events"))
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._write(start_step + 1, session_log=start)  # what was beyond comes again

    def write(self, step: int, name: str, value: float) -> None:
        self._write(step, summary=self._scalar(name, value))

    def _write(self, step: int, **content: Any) -> None:
        self._writer.write_event(self._proto.Event(step=step, wall_time=time.time(), **content))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Figures:
    """Writes figures down, in metrics.jsonl and as TensorBoard events."""

    def __init__(self, workdir: Path, start_step: int, notice: Callable[[str], None]):
        self.metrics = MetricsFile(workdir / "metrics.jsonl", start_step, notice)
        self.events = Events(workdir / "tensorboard", start_step)

    def write(self, step: int, figures: dict[str, Any]) -> None:
        """Writes figures down under their names."""
        self.metrics.write({"step": step} | figures)
        for name, value in figures.items():
            if isinstance(value, int | float):
                self.events.write(step, name, value)
        self.events.flush()

    def close(self) -> None:
        try:
            self.metrics.close()
        finally:  # where the disk is full, the first fails
            self.events.close()


class Logger:
    """Shows how a run goes on: a bar on a terminal, plain lines elsewhere.

    Args:
      seeds: how many are trained side by side.
    """

    def __init__(self, start_step: int, num_steps: int, seeds: int = 1):
        from rich.console import Console

        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.seeds, self.num_steps = seeds, num_steps
        self._bar = _progress(self.console) if self.console.is_terminal else None
        self._task = None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("train", total=num_steps, completed=start_step, figures="")

    def say(self, text: str) -> None:
        """One line for the reader, above the bar."""
        self.console.print(text, markup=False)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step)

    def show(self, step: int, loss: float, images_per_second: float) -> None:
        """Shows the training figures: the mean loss of all seeds, the images of all of them."""
        loss_of = "loss" if self.seeds == 1 else f"mean loss of {self.seeds} seeds"
        text = f"{loss_of} {loss:.5f}  {images_per_second:.1f} images/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step, figures=text)
        else:
            left = (self.num_steps - step) * self._seconds_per_step(step)
            self.say(f"step {step}/{self.num_steps}  {text}  {duration(left)} left")

    def start_clock(self, step: int) -> None:
        """From here on time is counted for the estimate of what is left."""
        self._marks = deque([(time.perf_counter(), step)], maxlen=RECENT)

    def _seconds_per_step(self, step: int) -> float:
        """The recent pace: what a run is told after a busy hour should not be that hour's."""
        now, (start, first) = time.perf_counter(), self._marks[0]
        self._marks.append((now, step))
        return (now - start) / max(step - first, 1)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()


class Silence:
    """The `Logger` and the `Figures` of a process that does not write."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def _progress(console):
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console,
    )


def duration(seconds: float) -> str:
    """Seconds for people: "42 s", "2.4 min", "17 min", "3.5 h", "12 days"."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            fine = name == "h" or (name == "min" and value < 9.95)
            return f"{value:.1f} {name}" if fine else f"{value:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
