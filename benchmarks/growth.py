"""How the attention core's time grows: python benchmarks/growth.py [--torch-python PYTHON] [--figure growth.png]

Forward and backward pass of the core (64 features, hidden 128) over tokens, slots, iterations and batch, each from the
same middle: slotjax's, which projects the few slots instead of the many tokens; the plain form of
benchmarks/textbook.py, which projects keys and values; and the PyPI module `slot-attention`, where PYTHON is an
interpreter that has it. Turn by turn in one run; prints medians in milliseconds and the microseconds that each further
token of each image costs, and draws them. --clock cpu counts the processes' CPU time, for a machine that is doing other
things too.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import textbook
from tables import table
from timing import CLOCKS, FOLDER, at_least, clocked, in_turns, machine
from workers import Worker

import slotjax
from slotjax import cli
from slotjax.errors import UserError

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DIM, HIDDEN = 64, 128
MIDDLE = {"tokens": 1024, "slots": 7, "iterations": 3, "batch": 4}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 7, 14, 28])
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 3, 6, 12])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--torch-python")
    parser.add_argument("--figure", type=Path, default=Path("growth.png"))
    options = parser.parse_args(arguments)
    at_least(options, 1, [*MIDDLE, "rounds"])
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
    results = {axis: measure(axis, forms, options) for axis in MIDDLE}
    rows = [[axis, *row] for axis, found in results.items() for row in compared(found)]
    print(table(["", "", *(f"{name} ms" for name in forms), "others / slotjax"], rows))
    print_cost(results["tokens"])
    draw(results, options.figure)
    print(f"\nwrote {options.figure}")


def measure(axis: str, forms: dict[str, Callable], options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Median seconds of every form at every value of an axis."""
    results: dict[str, dict[int, float]] = {name: {} for name in forms}
    for value in sorted(getattr(options, axis)):
        runs = {name: form(**MIDDLE | {axis: value}) for name, form in forms.items()}
        for run in runs.values():
            run()  # compiles
        for name, seconds in in_turns(runs, options.rounds).items():
            results[name][value] = statistics.median(seconds)
    return results


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

    return both_ways(loss, params, inputs, options)


def unfolded(options: argparse.Namespace, **sizes: int) -> Callable[[], float]:
    """The textbook's module, with the same parameters."""
    params, inputs, noise = example(**sizes)
    module = textbook.SlotAttention(sizes["slots"], DIM, HIDDEN, sizes["iterations"], jnp.float32)

    def loss(params, inputs):
        return (module.apply({"params": params}, inputs, noise) ** 2).mean()

    return both_ways(loss, textbook.attention_from_slotjax(params), inputs, options)


def example(batch: int, tokens: int, slots: int, iterations: int):
    del iterations
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(batch, tokens, DIM)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(batch, slots, DIM)), jnp.float32)
    module = slotjax.SlotAttention(slots, DIM, mlp_dim=HIDDEN)
    rngs = {"params": jax.random.key(0), "slots": jax.random.key(1)}
    return module.init(rngs, inputs)["params"], inputs, noise


def both_ways(loss: Callable, params, inputs, options: argparse.Namespace) -> Callable[[], float]:
    """Seconds of the loss and its gradients in parameters and inputs."""
    function = jax.jit(jax.value_and_grad(loss, (0, 1)))
    return clocked(lambda: function(params, inputs), CLOCKS[options.clock])


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
    cli.run(main)
