"""What each of the small CPU tricks gains: python benchmarks/tricks.py [--only TRICK...] [--rounds 9] [--tiny]

Each recipe's training step as it is, and without one of the tricks, turn by turn, each in a process of its own, so that
what a process decides at its start is real. Prints medians, and by how many times the trick makes the step faster: the
ratio of the medians. --tiny only shows that the command runs.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from tables import table
from timing import UNUSED, at_least, clocked, in_turns, machine, noise_batch, recipe, steps
from workers import Worker

from slotjax import cli
from slotjax.errors import UserError
from slotjax.nn import layers
from slotjax.nn.cpu import dense
from slotjax.system.rng import stream_key
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import one_device_per_core
from slotjax.training.restore import initial_state
from slotjax.training.run import Run, open_run
from slotjax.training.step import Step, build_train_step

POOL = 64  # scenes: what a step costs does not depend on how many


@dataclass(frozen=True)
class Setting:
    """A recipe, and what differs from how it is trained.

    Attributes:
      cores: as in a config; "" is the recipe's.
      scenes: what a step begins with: "none" (the pictures are there), "pool", or "rendered".
    """

    config: str
    changes: tuple[str, ...] = ()
    steps: int = 1
    convolutions: bool = True
    dense: bool = True
    vector: bool = True
    cores: str = ""
    scenes: str = "none"


RECIPES = (
    Setting("configs/quick.py", steps=20),
    Setting("configs/clevr.py:small", steps=10),
    Setting("configs/tetrominoes.py"),
    Setting("configs/clevr.py", ("model.resolution=(64,64)", "train.batch_size=4")),
)
TRICKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # what it is, and the setting with and without it
    "cores": ("a device for each core, or threads", {"cores": "devices"}, {"cores": "threads"}),
    "convolutions": ("convolutions in forms of their own (slotjax/nn/cpu)", {}, {"convolutions": False}),
    "dense": ("dense layers in a form of their own (slotjax/nn/cpu)", {}, {"dense": False}),
    "vector": ("parameters as one vector (slotjax/training/vector.py)", {}, {"vector": False}),
    "pool": ("scenes come back from a pool", {"scenes": "pool"}, {"scenes": "rendered"}),
}

SEEN = ("cores",)  # in what a worker says of its step


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="TRICK", default=list(TRICKS), help=", ".join(TRICKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tiny", action="store_true", help="one round of a step of the tiny variants")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(Setting(**json.loads(options.worker)))
        return
    at_least(options, 1, ["rounds"])
    if unknown := [name for name in options.only if name not in TRICKS]:
        raise UserError(f"--only {unknown[0]}: choose among {', '.join(TRICKS)}")
    recipes = [tiny(one) for one in RECIPES] if options.tiny else RECIPES
    rows = [row for one in recipes for row in rows_of(one, options.only, 1 if options.tiny else options.rounds)]
    print(f"{machine()}\n")
    print(table(["recipe", "trick", "with it", "ms", "without it", "ms", "times faster"], rows))


def tiny(setting: Setting) -> Setting:
    config = f"{setting.config}{',' if ':' in setting.config else ':'}tiny"
    return dataclasses.replace(setting, config=config, changes=(), steps=1)


def rows_of(base: Setting, names: list[str], rounds: int) -> list[list[str]]:
    """A row for each trick; the recipe as it is serves for all of them."""
    workers: dict[Setting, Worker] = {}
    rows = []
    for name in names:
        title, on, off = TRICKS[name]
        pair = [dataclasses.replace(base, **changes) for changes in (on, off)]
        for setting in pair:
            if setting not in workers:
                workers[setting] = start(setting)
        taken = in_turns({setting: workers[setting].seconds for setting in pair}, rounds)
        with_it, without = (1e3 * statistics.median(taken[setting]) for setting in pair)
        (how, other), times = (workers[setting].first for setting in pair), f"{without / with_it:.2f}"
        if name in SEEN and how == other:
            times = "the same step"
        rows.append([base.config, title, how, f"{with_it:.1f}", other, f"{without:.1f}", times])
        print(f"{base.config}, {name}: {rows[-1][-1]}", file=sys.stderr, flush=True)
        for setting in pair:
            if setting != base:
                workers.pop(setting).close()
    for worker in workers.values():
        worker.close()
    return rows


def start(setting: Setting) -> Worker:
    command = [sys.executable, str(Path(__file__)), "--worker", json.dumps(dataclasses.asdict(setting))]
    return Worker(setting.config, command)


def work(setting: Setting) -> None:
    """Says on what the step runs, then for every line read the seconds of a step, over several."""
    run = opened(setting)
    one = stepper(run, setting)
    step = clocked(lambda: [one() for _ in range(setting.steps)][-1])
    step()
    count, parts = len(run.parallel.devices), run.micro_batches
    print(json.dumps(f"{count} device{'s' * (count > 1)}, {parts} part{'s' * (parts > 1)}"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(step() / setting.steps), flush=True)


def opened(setting: Setting) -> Run:
    """The run, with layers in their plain forms where the setting says so."""
    config = recipe(setting.config, *setting.changes)
    config.cores = setting.cores or config.cores
    config.data.pool = POOL if setting.scenes == "pool" else 0
    if config.cores == "devices":
        one_device_per_core(config.train.batch_size)
    if not setting.convolutions:
        for layer in (layers.Conv, layers.ConvTranspose):
            layer.fast = staticmethod(layer.plain)
    if not setting.dense:
        dense.product = lambda inputs, kernel: inputs @ kernel
    return open_run(config, UNUSED)


def stepper(run: Run, setting: Setting) -> Callable[[], Any]:
    """The training step, with the making of its batch where the setting says so."""
    state = jax.device_get(initial_state(run.config, run.model))
    state = run.parallel.replicate(run.layout.pack(state) if setting.vector else state)
    train = run.train_step() if setting.vector else step_of_trees(run)
    there = itertools.repeat(run.parallel.shard(noise_batch(run.config)))
    return steps(train, state, there if setting.scenes == "none" else run.feed.train_batches(run.parallel, 0))


def step_of_trees(run: Run) -> Callable:
    """`Run.train_step` of states that hold trees."""
    train, key = run.config.train, stream_key(run.config.seed, "slots")
    step = Step(run.stages[0].objective, build_optimizer(train), key, ema_decay=train.ema_decay)
    return build_train_step(step, run.parallel, run.micro_batches)


if __name__ == "__main__":
    cli.run(main)
