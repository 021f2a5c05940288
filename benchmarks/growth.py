"""How the attention core's time grows: python benchmarks/growth.py [--torch-python PYTHON] [--figure growth.png]

Forward and backward pass of the core (64 features, hidden 128) over tokens, slots, iterations and batch, each from the
same middle: slotjax's, which projects the few slots instead of the many tokens; the plain form of
benchmarks/textbook.py, which projects keys and values; and the PyPI module `slot-attention`, where PYTHON is an
interpreter that has it. Turn by turn in one run; prints medians in milliseconds and the microseconds that each further
token of each image costs, and draws them. --clock cpu counts the processes' CPU time, for a machine that is doing other
things too.
"""

import argparse
import json
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from step import CLOCKS, FOLDER, load, machine

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
    for name in (*MIDDLE, "rounds"):
        for value in np.ravel(getattr(options, name)):
            if value < 1:
                raise UserError(f"--{name}={value}: must be at least 1")
    if not options.figure.parent.is_dir():
        raise UserError(f"--figure={options.figure}: no folder {options.figure.parent}; make it first")
    print(machine())
    forms = {"slotjax": folded, "plain": unfolded}
    if options.torch_python:
        forms["slot-attention (PyPI)"] = TorchCore(options.torch_python, options.clock)
    else:
        print("no PyPI module: name an interpreter that has it by --torch-python")
    print(f"batch {MIDDLE['batch']}, {MIDDLE['tokens']} tokens, {MIDDLE['slots']} slots, ", end="")
    print(f"{MIDDLE['iterations']} iterations, but for what is named; {options.clock} clock\n")
    print(
        f"| | | {' | '.join(f'{name} ms' for name in forms)} | others / slotjax |\n" + "| --- " * (len(forms) + 3) + "|"
    )
    results = {axis: measure(axis, getattr(options, axis), forms, options) for axis in MIDDLE}
    print_cost(results["tokens"])
    draw(results, options.figure)
    print(f"\nwrote {options.figure}")


def measure(axis: str, values: list[int], forms: dict[str, Callable], options) -> dict[str, dict[int, float]]:
    """Median seconds of every form at every value; prints a line for each."""
    results = {name: {} for name in forms}
    for value in sorted(values):
        runs = {name: form(**MIDDLE | {axis: value}) for name, form in forms.items()}
        seconds = {name: [] for name in forms}
        for run in runs.values():
            run(CLOCKS[options.clock])  # compiles
        for _ in range(options.rounds):
            for name, run in runs.items():
                seconds[name].append(run(CLOCKS[options.clock]))
        for name in forms:
            results[name][value] = statistics.median(seconds[name])
        medians = [results[name][value] for name in forms]
        ratios = ", ".join(f"{other / medians[0]:.1f}" for other in medians[1:])
        print(f"| {axis} | {value} | {' | '.join(f'{1e3 * x:.1f}' for x in medians)} | {ratios} |", flush=True)
    return results


def folded(**sizes: int) -> Callable[[Callable], float]:
    """slotjax's core."""
    params, inputs, noise = example(**sizes)

    def loss(params, inputs):
        start = params["initializer"]
        slots = start["mu"] + jnp.exp(start["log_sigma"]) * noise
        return (slotjax.slot_attention(params, inputs, slots, sizes["iterations"])[0] ** 2).mean()

    return timed(loss, params, inputs)


def unfolded(**sizes: int) -> Callable[[Callable], float]:
    """The textbook's module, with the same parameters."""
    params, inputs, noise = example(**sizes)
    textbook = load(FOLDER / "textbook.py")
    module = textbook.SlotAttention(sizes["slots"], DIM, HIDDEN, sizes["iterations"], jnp.float32)

    def loss(params, inputs):
        return (module.apply({"params": params}, inputs, noise) ** 2).mean()

    return timed(loss, textbook.attention_from_slotjax(params), inputs)


def example(batch: int, tokens: int, slots: int, iterations: int):
    del iterations
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(batch, tokens, DIM)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(batch, slots, DIM)), jnp.float32)
    module = slotjax.SlotAttention(slots, DIM, mlp_dim=HIDDEN)
    rngs = {"params": jax.random.key(0), "slots": jax.random.key(1)}
    return module.init(rngs, inputs)["params"], inputs, noise


def timed(loss: Callable, params, inputs) -> Callable[[Callable], float]:
    """Seconds, by a clock, of the loss and its gradients in parameters and inputs."""
    function = jax.jit(jax.value_and_grad(loss, (0, 1)))

    def run(clock: Callable) -> float:
        start = clock()
        jax.block_until_ready(function(params, inputs))
        return clock() - start

    return run


class TorchCore:
    """`benchmarks/torch_core.py` in an interpreter that has the module."""

    def __init__(self, python: str, clock: str):
        pipe = subprocess.PIPE
        command = [python, str(FOLDER / "torch_core.py"), clock]
        try:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        except OSError as error:
            raise UserError(f"--torch-python={python}: {error.strerror}; take a Python with slot-attention") from None
        print(self._read())

    def __call__(self, **sizes: int) -> Callable[[Callable], float]:
        def run(clock: Callable) -> float:
            del clock  # the process has its own
            self.process.stdin.write(json.dumps(sizes | {"dim": DIM, "hidden": HIDDEN}) + "\n")
            self.process.stdin.flush()
            return self._read()

        return run

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            last = (self.process.stderr.read().strip().splitlines() or ["it ended without a word"])[-1]
            raise UserError(f"--torch-python={self.process.args[0]}: slot-attention failed: {last}")
        return json.loads(line)


def print_cost(results: dict[str, dict[int, float]]) -> None:
    """What a token more costs, from the smallest number of tokens to the largest."""
    first, *_, last = results["slotjax"]
    if first == last:
        return
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
