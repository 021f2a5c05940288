"""What a run says: a progress bar or plain lines."""

import sys
import time
from collections import deque
from typing import Any

from slotjax.system.console import duration

RECENT = 20  # lines of figures, evaluations between them included, by which the time that is left is estimated
PACE_SECONDS = 10  # of rendering, in which threads have made several pieces each


class Progress:
    """Shows how a run goes on: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, start_step: int, num_steps: int, noun: str = "image"):
        """`noun`: what is counted."""
        from rich.console import Console

        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True, emoji=False)
        self.num_steps, self.noun = num_steps, noun
        self._rendering: tuple[float, int] | None = None
        self._pace_told = False
        self._bar = _bar(self.console) if self.console.is_terminal else None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("train", total=num_steps, completed=start_step, figures="", last="")

    def say(self, text: str) -> None:
        """One line for the reader, above the bar."""
        self.console.print(text, markup=False)

    def rendered(self, done: int, total: int) -> None:
        """Shows how much of a pool of scenes is there; without a bar only once, when the pace is known."""
        now = time.perf_counter()
        begin, first = self._rendering = self._rendering or (now, done)  # before it, a program was compiled
        pace_known = now - begin >= PACE_SECONDS
        left = f"{duration((total - done) * (now - begin) / (done - first))} left" if pace_known else ""
        if self._bar:
            text = f"{done:,} of {total:,} scenes rendered  {left}"
            self._bar.update(self._task, figures=text if done < total else "")
        elif pace_known and not self._pace_told and done < total:
            self.say(f"{done:,} of {total:,} scenes are rendered, {left}")
            self._pace_told = True

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar:
            self._bar.update(self._task, completed=step)

    def show(self, step: int, loss: float, images_per_second: float) -> None:
        """Shows the training figures."""
        left = self.seconds_left(step)
        told = f"  {duration(left)} left" if round(left) else ""  # nothing: what takes time are not the steps any more
        text = f"loss {loss:.5f}  {images_per_second:.1f} {self.noun}s/s{told}"
        if self._bar:
            self._bar.update(self._task, completed=step, figures=text)
        else:
            self.say(f"step {step}/{self.num_steps}  {text}")

    def evaluated(self, figure: str) -> None:
        """Keeps the figure of the last evaluation beside the bar."""
        if self._bar:
            self._bar.update(self._task, last=figure)

    def start_clock(self, step: int) -> None:
        """From here on time is counted for the estimate of what is left."""
        self._marks = deque([(time.perf_counter(), step)], maxlen=RECENT)

    def seconds_left(self, step: int) -> float:
        """At the recent pace: what a run is told after a busy hour should not be that hour's."""
        now, (start, first) = time.perf_counter(), self._marks[0]
        self._marks.append((now, step))
        return (self.num_steps - step) * (now - start) / max(step - first, 1)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()


class Silence:
    """The `Progress` and the `MetricsLog` of a process that does not write."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def _bar(console):
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    # What is left is not rich's estimate, which knows nothing of evaluations; in a narrow terminal the bar gives way.
    return Progress(
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[last]}", table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
    )
