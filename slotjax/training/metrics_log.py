"""What a run writes down: metrics.jsonl, and TensorBoard events."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from slotjax.system import writing
from slotjax.system.console import number, say


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line.

    On resuming, lines beyond the restored step are dropped, since they come again. So is what cannot be read, after a
    copy of the whole file was put beside it, with a warning.
    """

    def __init__(self, path: Path, start_step: int):
        self.path = path
        rows, unreadable = _parse(path)
        if unreadable:
            copy = path.with_suffix(".damaged.jsonl")
            shutil.copyfile(path, copy)
            lines = number(unreadable, "line")
            say(f"warning: {path}: left out {lines} that cannot be read; {copy} keeps the file as it was")
        kept = [json.dumps(row) for row in rows if row["step"] <= start_step]
        writing.write_text(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

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


class MetricsLog:
    """Writes figures down, in metrics.jsonl and as TensorBoard events."""

    def __init__(self, workdir: Path, start_step: int):
        self.metrics = MetricsFile(workdir / "metrics.jsonl", start_step)
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
