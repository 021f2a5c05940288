"""Seeds side by side, in one program, against as many separate runs: python benchmarks/seeds.py [--seeds 2 5]

Times training steps, rendering of the scenes included, turn by turn in one process: one step of S seeds
(`train.num_seeds=S`), and S times the step of a single seed. Prints medians, and the median over the rounds of their
ratio. Compiling is printed apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
from ml_collections import ConfigDict
from step import CLOCKS, load, machine

from slotjax import cli
from slotjax.errors import UserError
from slotjax.training.parallel import one_device_per_core
from slotjax.training.run import Run, initial_state, open_run
from slotjax.training.side_by_side import stack_states

UNUSED = Path("none")  # the workdir: nothing is written


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    config = read_config(options, 1)
    if config.cores == "devices":
        one_device_per_core(config.train.batch_size)
    print(f"{machine()}; {options.config}, {options.clock} time, {options.rounds} rounds")
    print(
        "\n| seeds | S separate runs, ms | one program, ms | separate / one | images/s of one program | compiling, s |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    single, _ = stepper(options, 1)
    for count in options.seeds:
        print(row(options, count, single), flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/quick.py"))
    parser.add_argument("--variant", default="", help="of the config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where other programs run beside this one")
    options = parser.parse_args(arguments)
    if not options.config.is_file():
        raise UserError(f"--config={options.config}: no such file")
    if min(options.seeds) < 2:
        raise UserError(f"--seeds={min(options.seeds)}: must be at least 2")
    if options.rounds < 1:
        raise UserError(f"--rounds={options.rounds}: must be at least 1")
    return options


def row(options: argparse.Namespace, count: int, single: Callable[[], float]) -> str:
    joint, compiling = stepper(options, count)
    times = [(joint(), sum(single() for _ in range(count))) for _ in range(options.rounds)]
    together, apart = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(separate / one for one, separate in times)
    images = count * read_config(options, count).train.batch_size / together
    return f"| {count} | {1e3 * apart:.1f} | {1e3 * together:.1f} | {ratio:.2f} | {images:.0f} | {compiling:.1f} |"


def stepper(options: argparse.Namespace, count: int) -> tuple[Callable[[], float], float]:
    """A function that does one training step of `count` seeds and returns its seconds; how long compiling took."""
    clock, start = CLOCKS[options.clock], time.perf_counter()
    run: Run = open_run(read_config(options, count), UNUSED)
    step, batches = run.train_step(), run.feed.train_batches(run.parallel, 0)
    states = [run.layout.pack(initial_state(own, run.model)) for own, _ in run.seeds]
    state = run.parallel.replicate(stack_states(states))

    def one() -> float:
        nonlocal state
        begin = clock()
        state, metrics = step(state, next(batches))
        jax.block_until_ready((state, metrics))
        return clock() - begin

    one(), one()  # the second compiles where the state returns in another layout
    return one, time.perf_counter() - start


def read_config(options: argparse.Namespace, count: int) -> ConfigDict:
    config = load(options.config).get_config(options.variant)
    config.train.num_seeds = count
    return config


if __name__ == "__main__":
    cli.run(main)
