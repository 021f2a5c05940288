"""Training in stretches of machine time: the same command goes on where the last one had to stop.

A finished run is not trained again. How long its commands took, and where, is written to `stretches.json` beside what
they trained.
"""

import argparse
import functools
import json
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from timing import ROOT, cores, processor

from slotjax.config import disk
from slotjax.errors import EXIT_STOPPED, UserError
from slotjax.system.writing import write_json
from slotjax.training.metrics_log import read_metrics

STRETCHES = "stretches.json"
FINE = (0, EXIT_STOPPED, -signal.SIGTERM)  # the last: stopped while the finished run's report was drawn


@dataclass(frozen=True)
class Program:
    """One train.py command, and the run directory that it writes.

    Attributes:
      config: as train.py takes it, "configs/clevr.py:bf16".
      changes: further fields, ("train.num_steps=1000", ...).
    """

    workdir: Path
    config: str
    changes: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        fields = [f"--config.{change}" for change in self.changes]
        return ["train.py", "--config", self.config, *fields, "--workdir", str(self.workdir.absolute())]

    @property
    def finished(self) -> bool:
        """Whether the run was scored after its last step."""
        found = progress(self.workdir)
        rows = read_metrics(self.workdir / "metrics.jsonl")
        return found is not None and any("num_images" in row and row["step"] >= found[1] for row in rows)


def of_seeds(folder: Path, config: str, changes: Sequence[str], seeds: Sequence[int]) -> list[Program]:
    """One config from several seeds."""
    return [Program(folder / f"seed_{seed}", config, (*changes, f"seed={seed}")) for seed in seeds]


def progress(workdir: Path) -> tuple[int, int] | None:
    """The last step that a run directory tells of, and how many there shall be; None where there is no run."""
    if not (workdir / "config.json").exists():
        return None
    rows = read_metrics(workdir / "metrics.jsonl")
    return max((row["step"] for row in rows), default=0), disk.load(workdir / "config.json").train.num_steps


class Deadline:
    """When to stop: after so many minutes, or when a signal asks for it; a second signal does not wait."""

    def __init__(self, minutes: float | None):
        self._end = time.monotonic() + 60 * minutes if minutes else float("inf")
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    @property
    def passed(self) -> bool:
        return self._asked or time.monotonic() >= self._end


def train(programs: Sequence[Program], deadline: Deadline) -> list[str]:
    """Trains what is not finished, one program after another, until the deadline; what went wrong, a line for each."""
    wrong = []
    for program in programs:
        if program.finished or deadline.passed:
            continue
        print(shlex.join(("python", *program.command)), flush=True)
        code = stretch(program, deadline)
        if code not in FINE:
            wrong.append(f"{program.workdir}: train.py ended with code {code}")
    return wrong


def stretch(program: Program, deadline: Deadline) -> int:
    """Runs the command to its end, or to the deadline, at which it is asked to save; its exit code."""
    record = {"started": time.strftime("%Y-%m-%d %H:%M:%S %z")} | machine()
    past, start, asked = stretches(program.workdir), time.monotonic(), False
    # In a session of its own, so that a Ctrl-C reaches it once, from here: a second signal would keep it from saving.
    process = subprocess.Popen([sys.executable, *program.command], cwd=ROOT, start_new_session=True)
    try:
        while process.poll() is None:
            if deadline.passed and not asked:
                process.terminate()
                asked = True
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait()
        if program.workdir.exists():  # a refused command leaves none
            record["seconds"] = round(time.monotonic() - start, 1)
            write_json(program.workdir / STRETCHES, [*past, record])
    return process.returncode


def stretches(workdir: Path) -> list[dict]:
    """What the commands of a run took so far; [] where nobody kept record."""
    path = workdir / STRETCHES
    return json.loads(path.read_text()) if path.exists() else []


PROBE = "import json, jax; d = jax.devices(); print(json.dumps([d[0].platform, d[0].device_kind, len(d)]))"


@functools.cache
def machine() -> dict[str, str]:
    """The device and the versions, from a process of its own: this one leaves the device alone."""
    import jax

    kind, name, count = json.loads(run("-c", PROBE).splitlines()[-1])
    device = f"{count} x {name}"
    if kind == "cpu":
        device = f"{cores()} core{'s' * (cores() > 1)} ({processor()})"
    return {"device": device, "versions": f"jax {jax.__version__}, Python {platform.python_version()}"}


def run(*command: str) -> str:
    """What a command of the library prints."""
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        raise UserError((result.stderr or result.stdout).strip().splitlines()[-1])
    return result.stdout


def add_flags(parser: argparse.ArgumentParser, workdir: str) -> None:
    """What every command that trains in stretches takes."""
    parser.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--seeds", help="so many, from 0 on, or from A to B: 3, or 0-9")
    parser.add_argument("--workdir", type=Path, default=Path(workdir), help=f"of all run directories; {workdir}")
    parser.add_argument("--docs", type=Path, help="where the tables go; docs, or with --tiny the workdir")
    parser.add_argument("--tiny", action="store_true", help="every config's tiny variant, to try the command")
    parser.add_argument("--report-only", action="store_true", help="train nothing, write the tables again")


def read_flags(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, with the tiny runs and their tables kept apart from the real ones."""
    flags = parser.parse_args(argv)
    if flags.minutes is not None and not flags.minutes > 0:
        raise UserError(f"--minutes {flags.minutes}: must be above 0; leave it out to train to the end")
    flags.seeds = flags.seeds and read_seeds(flags.seeds)
    if flags.tiny:
        flags.workdir /= "tiny"
    flags.docs = flags.docs or (flags.workdir if flags.tiny else ROOT / "docs")
    return flags


def read_seeds(text: str) -> tuple[int, ...]:
    """ "3" is 0, 1, 2; "4-6" is 4, 5, 6."""
    first, dash, last = text.partition("-")
    try:
        seeds = tuple(range(int(first), int(last) + 1) if dash else range(int(first)))
    except ValueError:
        seeds = ()
    if not seeds:
        raise UserError(f"--seeds {text}: give how many, as in 5, or the first and the last, as in 0-9")
    return seeds


def with_variant(config: str, variant: str) -> str:
    """The config with one more variant."""
    return f"{config}{',' if ':' in config else ':'}{variant}"


def conclude(programs: Sequence[Program], wrong: Sequence[str], command: Sequence[str], complete: bool = True) -> int:
    """Says how far each run is, and how to go on where training, or what else there is to do, is not complete."""
    for program in programs:
        found = progress(program.workdir)
        print(f"{program.workdir}: {f'step {found[0]:,} of {found[1]:,}' if found else 'not started'}")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if complete and all(program.finished for program in programs):
        return 0
    print(f"go on with: {shlex.join(('python', *command))}")
    return 1 if wrong else EXIT_STOPPED
