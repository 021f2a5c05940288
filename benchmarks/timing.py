"""What the benchmarks of speed share: recipes, clocks, functions that take turns, and what their timings look like."""

import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.config.command_line import override, read_config
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.tasks import TASKS
from slotjax.training.feed import open_feed
from slotjax.training.parallel import Parallel
from slotjax.training.restore import initial_state
from slotjax.training.run import Run, open_stages
from slotjax.training.teacher import open_teacher
from slotjax.training.vector import Layout

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
UNUSED = Path("none")  # a workdir: nothing is written
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}  # cpu: for a machine that is doing other things too
TIMES = ("median ms", "min to max")

Seconds = dict[str, list[float]]


def recipe(name: str, *changes: str) -> ConfigDict:
    """The config of "configs/clevr.py:small", of this working tree, with fields changed ("train.batch_size=4")."""
    path, _, variants = name.partition(":")
    config = read_config(ROOT / path, variants)
    override(config, [f"--config.{change}" for change in changes])
    return config


def in_turns(functions: Mapping[str, Callable[[], float]], rounds: int) -> Seconds:
    """What each function returns, turn by turn, so that whatever else the machine does meets all of them."""
    seconds: Seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(function())
    return seconds


def times(values: list[float]) -> list[str]:
    """The cells of `TIMES`."""
    return [f"{1e3 * statistics.median(values):.1f}", f"{1e3 * min(values):.1f} to {1e3 * max(values):.1f}"]


def ratio(seconds: list[float], reference: list[float]) -> float:
    """The median over the rounds of how many times the reference's seconds it took."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))


def clocked(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Seconds until what `function` returns is there."""

    def run() -> float:
        start = clock()
        jax.block_until_ready(function())
        return clock() - start

    return run


def training_step(run: Run, batch: Mapping[str, Any]) -> Callable[[], Any]:
    """One training step after another, as training takes them, of the same batch (on the host)."""
    state = run.layout.pack(jax.device_get(initial_state(run.config, run.model)))
    state = run.teacher.beside(state) if run.teacher else state
    return steps(run.train_step(), run.parallel.replicate(state), itertools.repeat(run.parallel.shard(batch)))


def steps(train: Callable, state: Any, batches: Iterator[Any]) -> Callable[[], Any]:
    """A function that takes the next step; it is compiled here."""

    def one() -> Any:
        nonlocal state
        state, metrics = train(state, next(batches))
        return state, metrics

    one()
    jax.block_until_ready(one())  # compiles too, where the state returns in another layout
    return one


def run_on(config: ConfigDict, devices: list[jax.Device]) -> Run:
    """A run of the config with its whole batch at once on these devices, which may be fewer than there are."""
    model, parallel = build_model(config.model), Parallel(config.parallel, config.train.batch_size, devices)
    layout = Layout(jax.eval_shape(lambda: initial_state(config, model)).params)
    task, feed, teacher = TASKS[config.model.name], open_feed(config), open_teacher(config)
    stages = open_stages(config, teacher)
    return Run(config, UNUSED, task, model, feed, parallel, layout, stages, 1, memory_note="", teacher=teacher)


def noise_batch(config: ConfigDict) -> dict[str, np.ndarray]:
    """Pictures of noise, the same each time."""
    size = config.train.batch_size
    images = np.random.default_rng(0).uniform(-1, 1, (size, *config.model.resolution, 3)).astype(np.float32)
    return {"image": images, "index": np.arange(size, dtype=np.int32)}


def machine() -> str:
    device, python = jax.devices()[0], platform.python_version()
    name = processor() if device.platform == "cpu" else device.device_kind
    return f"{name}, {cores()} cores; Python {python}, jax {jax.__version__}, flax {flax.__version__}"


def cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The CPU's name where the system tells it, else its kind."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def at_least(options: Any, least: int, names: Iterable[str]) -> None:
    """Raises a `UserError` for a flag, or one of its values, below `least`."""
    for name in names:
        for value in np.ravel(getattr(options, name)):
            if value < least:
                raise UserError(f"--{name.replace('_', '-')}={value}: must be at least {least}")
