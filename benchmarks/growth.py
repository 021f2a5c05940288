"""How time, memory and work grow: python benchmarks/growth.py [--torch-python PYTHON] [--figure growth.png]

Forward and backward pass of the attention core (64 features, hidden 128) over tokens, slots, iterations and batch, each
from the same middle: slotjax's, which projects the few slots instead of the many tokens; the plain form of
benchmarks/textbook.py, which projects keys and values; and the PyPI module `slot-attention`, where PYTHON is an
interpreter that has it. Then a step of configs/video.py:small over frames. Turn by turn in one run; prints medians in
milliseconds and the microseconds that each further token of each image costs, and draws them; then, of slotjax's, the
work space and the floating-point operations that the compiler reckons with, beside those that its matrix products
should take, and the powers by which all of these grow from the middle of an axis to its end: 1 is linear. --clock cpu
counts the processes' CPU time, for a machine that is doing other things too. How time shrinks with devices is
benchmarks/devices.py's.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import textbook
from tables import table
from timing import CLOCKS, FOLDER, at_least, clocked, in_turns, machine, recipe
from workers import Worker

import slotjax
from slotjax import cli
from slotjax.errors import UserError
from slotjax.training.objective import build_objective

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DIM, HIDDEN = 64, 128
FRAMES = "configs/video.py:small"
MIB = 2**20
MIDDLE = {"tokens": 1024, "slots": 7, "iterations": 3, "batch": 4}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024, 4096, 16384, 65536])
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 7, 14, 32, 128])
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 3, 6, 12])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 8, 32, 128], help="of one video")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--torch-python")
    parser.add_argument("--figure", type=Path, default=Path("growth.png"))
    options = parser.parse_args(arguments)
    at_least(options, 1, [*MIDDLE, "frames", "rounds"])
    if not options.figure.parent.is_dir():
        raise UserError(f"--figure={options.figure}: no folder {options.figure.parent}; make it first")
    print(machine())
    forms: dict[str, Callable] = {"slotjax": partial(folded, options), "plain": partial(unfolded, options)}
    if options.torch_python:
        command = [options.torch_python, str(FOLDER / "torch_core.py"), options.clock]
        peer = Worker("--torch-python: slot-attention", command)
        print(peer.first)
        forms["slot-attention (PyPI)"] = lambda **sizes: partial(peer.seconds, sizes | {"dim": DIM, "hidden": HIDDEN})
    else:
        print("no PyPI module: name an interpreter that has it by --torch-python")
    print(f"batch {MIDDLE['batch']}, {MIDDLE['tokens']} tokens, {MIDDLE['slots']} slots, ", end="")
    print(f"{MIDDLE['iterations']} iterations, but for what is named; {options.clock} clock\n")
    taken: dict[str, dict[int, Taken]] = {}
    results = {axis: measure(axis, forms, options, taken) for axis in MIDDLE}
    rows = [[axis, *row] for axis, found in results.items() for row in compared(found)]
    print(table(["", "", *(f"{name} ms" for name in forms), "others / slotjax"], rows))
    print_cost(results["tokens"])
    measure("frames", {"slotjax": partial(video, options)}, options, taken)
    print(f"\nslotjax's; frames: a step of {FRAMES}, one video\n")
    rows = [[axis, *row] for axis, found in taken.items() for row in grown(found)]
    print(table(["", "", "ms", "MiB", "MFLOP", "MFLOP counted"], rows))
    draw(results, options.figure)
    print(f"\nwrote {options.figure}")


class Program:
    """A compiled function of some arguments; a call says how many seconds it took."""

    def __init__(self, function: Callable, arguments: tuple, counted: float | None, clock: str):
        self.compiled, self.counted = jax.jit(function).lower(*arguments).compile(), counted
        self.seconds = clocked(lambda: self.compiled(*arguments), CLOCKS[clock])

    def __call__(self) -> float:
        return self.seconds()


class Taken(NamedTuple):
    """Seconds; bytes of work space and operations by the compiler; operations counted, or None."""

    seconds: float
    space: float
    operations: float
    counted: float | None


def measure(
    axis: str, forms: dict[str, Callable], options: argparse.Namespace, taken: dict[str, dict[int, Taken]]
) -> dict[str, dict[int, float]]:
    """Median seconds of every form at every value of an axis; what slotjax's takes goes into `taken`."""
    results: dict[str, dict[int, float]] = {name: {} for name in forms}
    for value in sorted(getattr(options, axis)):
        runs = {name: form(**MIDDLE | {axis: value}) for name, form in forms.items()}
        for run in runs.values():
            run()  # warm
        for name, seconds in in_turns(runs, options.rounds).items():
            results[name][value] = statistics.median(seconds)
        own: Any = runs["slotjax"]
        space = own.compiled.memory_analysis().temp_size_in_bytes
        operations = own.compiled.cost_analysis().get("flops", 0.0)
        found = Taken(results["slotjax"][value], space, operations, own.counted)
        taken.setdefault(axis, {})[value] = found
    return results


def grown(found: dict[int, Taken]) -> list[list[str]]:
    """A row for each value, then the powers by which each grows from the middle value to the last."""
    rows = []
    for value, one in found.items():
        counted = "" if one.counted is None else f"{one.counted / 1e6:.2f}"
        cells = f"{1e3 * one.seconds:.1f}", f"{one.space / MIB:.2f}", f"{one.operations / 1e6:.2f}"
        rows.append([str(value), *cells, counted])
    values = list(found)
    first, last = values[(len(values) - 1) // 2], values[-1]
    if first == last:
        return rows
    powers = [
        "" if not a or not b else f"{math.log(b / a) / math.log(last / first):.2f}"
        for a, b in zip(found[first], found[last], strict=True)
    ]
    return [*rows, [f"power, {first} to {last}", *powers]]


def compared(results: dict[str, dict[int, float]]) -> list[list[str]]:
    """A row for each value: milliseconds of every form, and how many times slotjax's the others take."""
    rows = []
    for value, own in results["slotjax"].items():
        medians = [seconds[value] for seconds in results.values()]
        ratios = ", ".join(f"{other / own:.1f}" for other in medians[1:])
        rows.append([str(value), *(f"{1e3 * x:.1f}" for x in medians), ratios])
    return rows


def folded(options: argparse.Namespace, **sizes: int) -> Callable[[], float]:
    """slotjax's core."""
    params, inputs, noise = example(**sizes)

    def loss(params, inputs):
        start = params["initializer"]
        slots = start["mu"] + jnp.exp(start["log_sigma"]) * noise
        return (slotjax.slot_attention(params, inputs, slots, sizes["iterations"])[0] ** 2).mean()

    return Program(jax.value_and_grad(loss, (0, 1)), (params, inputs), products(**sizes), options.clock)


def products(batch: int, tokens: int, slots: int, iterations: int) -> float:
    """Operations of the core's matrix products: a multiplication and its addition are two; backward twice forward."""
    over_tokens = 2 * slots * tokens * DIM  # logits, and what slots take
    over_slots = slots * (9 * DIM**2 + 2 * DIM * HIDDEN)  # three projections and a GRU, MLP
    return 3 * 2 * batch * iterations * (over_tokens + over_slots)


def video(options: argparse.Namespace, frames: int, **others: int) -> Callable[[], float]:
    """Loss and gradient of one video of so many frames."""
    del others
    config = recipe(FRAMES)
    model = slotjax.build_model(config.model)
    objective = build_objective(model, config.train.losses)
    images = jnp.zeros((1, frames, *config.model.resolution, 3))
    params = jax.jit(slotjax.init, static_argnums=0)(model, jax.random.key(0), images[:, :2])
    keys, step = jax.random.split(jax.random.key(1), 1), jnp.int32(0)

    def loss(params, images):
        return objective(params, {"image": images}, keys, step)[0]

    return Program(jax.value_and_grad(loss), (params, images), None, options.clock)


def unfolded(options: argparse.Namespace, **sizes: int) -> Callable[[], float]:
    """The textbook's module, with the same parameters."""
    params, inputs, noise = example(**sizes)
    module = textbook.SlotAttention(sizes["slots"], DIM, HIDDEN, sizes["iterations"], jnp.float32)

    def loss(params, inputs):
        return (module.apply({"params": params}, inputs, noise) ** 2).mean()

    arguments = textbook.attention_from_slotjax(params), inputs
    return Program(jax.value_and_grad(loss, (0, 1)), arguments, None, options.clock)


def example(batch: int, tokens: int, slots: int, iterations: int):
    del iterations
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(batch, tokens, DIM)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(batch, slots, DIM)), jnp.float32)
    module = slotjax.SlotAttention(slots, DIM, mlp_dim=HIDDEN)
    rngs = {"params": jax.random.key(0), "slots": jax.random.key(1)}
    return module.init(rngs, inputs)["params"], inputs, noise


def print_cost(results: dict[str, dict[int, float]]) -> None:
    """What a token more costs, from the smallest number of tokens to the largest."""
    first, last = (end(results["slotjax"]) for end in (min, max))
    if first == last:
        return
    print()
    for name, seconds in results.items():
        cost = (seconds[last] - seconds[first]) / (last - first) / MIDDLE["batch"]
        print(f"{name}: {1e6 * cost:.2f} microseconds for each further token of each image")


def draw(results: dict[str, dict[str, dict[int, float]]], path: Path) -> None:
    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 3), sharey=True, layout="constrained")
    for panel, (axis, forms) in zip(axes, results.items(), strict=True):
        for name, seconds in forms.items():
            panel.loglog(list(seconds), [1e3 * x for x in seconds.values()], marker="o", label=name)
        panel.set_xticks(list(forms["slotjax"]), [str(x) for x in forms["slotjax"]])
        panel.minorticks_off()
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("ms, forward and backward")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    cli.run(main, large_pages=True)  # as training does
