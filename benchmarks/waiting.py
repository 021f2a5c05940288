"""Whether the device ever waits for the host: python benchmarks/waiting.py [--config configs/quick.py] [--steps 100]

Trains as train.py does, takes a profiler's trace of --steps steps from the middle, and prints for what share of that
time the devices had something to do, and the longest pauses. --trace DIR keeps the trace, for TensorBoard or Perfetto.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.profiler import ProfileData
from step import load, machine

from slotjax import cli
from slotjax.errors import UserError
from slotjax.training import loop, run
from slotjax.training.parallel import one_device_per_core

command = load(Path(__file__).parent.parent / "train.py")

FIRST = 10  # steps before the trace begins: compiling, and whatever the first steps set up
PAUSE_MS = 1.0  # shorter ones are the runtime's own


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    path, _, variants = options.config.partition(":")
    config = command.read_config(Path(path), variants)
    command.override(config, options.change)
    steps = FIRST + options.steps + 1
    config.train.update(num_steps=steps, log_every=10, eval_every=steps, checkpoint_every=steps)
    if config.cores == "devices":
        one_device_per_core(config.train.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        traces = options.trace or Path(folder) / "trace"
        train_traced(config, Path(folder) / "run", traces, options.steps)
        (file,) = traces.rglob("*.xplane.pb")
        lines = {name: merged(np.array(list(spans))) for name, spans in busy(ProfileData.from_file(str(file)))}
    print(f"\n{machine()}\n{options.config}, batch {config.train.batch_size}: {options.steps} steps\n")
    print("| device | has work | longest pause, ms | pauses above 1 ms | traced, s |\n| --- | --- | --- | --- | --- |")
    for name, spans in lines.items():
        print(row(name, spans))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quick.py", help="FILE[:VARIANT]")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--trace", type=Path, help="a new folder")
    options, options.change = parser.parse_known_args(arguments)
    if options.steps < 1:
        raise UserError(f"--steps={options.steps}: must be at least 1")
    if options.trace and options.trace.exists():
        raise UserError(f"--trace={options.trace}: exists already; name a new folder")
    return options


def train_traced(config, workdir: Path, traces: Path, steps: int) -> None:
    """Trains, and writes a trace of `steps` steps; the loop itself is the one that everybody uses."""
    open_run = loop.open_run

    def opened(config, workdir):
        return Traced(**vars(open_run(config, workdir)), traces=traces, steps=steps)

    loop.open_run = opened
    try:
        loop.train(config, workdir)
    finally:
        loop.open_run = open_run


@dataclasses.dataclass
class Traced(run.Run):
    """A run whose steps are counted, some of them under the profiler."""

    traces: Path = Path()
    steps: int = 0

    def train_step(self):
        step, count = super().train_step(), 0

        def counted(state, batch):
            nonlocal count
            if count == FIRST:
                jax.profiler.start_trace(self.traces)
            if count == FIRST + self.steps:
                jax.profiler.stop_trace()
            count += 1
            return step(state, batch)

        return counted


def busy(trace: ProfileData) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """For each device its spans of work [(start, end)], in ns. The devices of a CPU share threads, and count as one.

    A CPU runs small programs in the thread that asks for them.
    """
    cpu = jax.default_backend() == "cpu"
    for plane in trace.planes:
        if not plane.name.startswith("/host:CPU" if cpu else "/device:"):
            continue
        spans = [
            (event.start_ns, event.start_ns + event.duration_ns)
            for line in plane.lines
            for event in line.events
            if (event.name.startswith("ThunkExecutor::") if cpu else "Stream" in line.name or "XLA Ops" in line.name)
        ]
        if spans:
            yield plane.name.strip("/"), spans


def merged(spans: np.ndarray) -> np.ndarray:
    """Spans [n, 2] as few, in order, that do not overlap."""
    spans = spans[spans[:, 0].argsort()]
    ends = np.maximum.accumulate(spans[:, 1])
    new = np.append(True, spans[1:, 0] > ends[:-1])
    return np.stack([spans[new, 0], np.append(ends[:-1][new[1:]], ends[-1])], 1)


def row(name: str, spans: np.ndarray) -> str:
    pauses = (spans[1:, 0] - spans[:-1, 1]) / 1e6
    total = (spans[-1, 1] - spans[0, 0]) / 1e6
    longest, many = pauses.max(initial=0), int((pauses > PAUSE_MS).sum())
    return f"| {name} | {100 * (1 - pauses.sum() / total):.2f}% | {longest:.2f} | {many} | {total / 1e3:.1f} |"


if __name__ == "__main__":
    cli.run(main)
