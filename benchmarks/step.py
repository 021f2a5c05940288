"""How fast a training step is: python benchmarks/step.py [--torch-peer PEER.py --torch-python PYTHON]

The paper's CLEVR6 model at --resolution and --batch: slotjax's step, the textbook Flax one (benchmarks/textbook.py) and
a plain PyTorch model, turn by turn in one run. Shows first that all compute the same, then prints medians, spreads and
ratios, and for comparison how long the step's multiplications take at the rate of a large matrix product. On a GPU:

    python benchmarks/step.py --resolution 128 --batch 64 --dtype bfloat16 --torch-peer PEER.py

PEER.py holds a module `AutoEncoder(resolution)`; PYTHON is an interpreter that has torch (default: this one). With
--config configs/quick.py the step of another experiment is timed, without peers. --clock cpu counts the processes' CPU
time, for a machine that is doing other things too.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import textbook
from tables import table
from timing import CLOCKS, TIMES, at_least, clocked, in_turns, machine, noise_batch, ratio, recipe, run_on, steps, times
from timing import training_step as step_of
from torch_peers import example, our_output, relative, torch_peers

from slotjax import cli
from slotjax.errors import UserError
from slotjax.losses import LOSSES
from slotjax.models.build import DTYPES
from slotjax.training.parallel import one_device_per_core

CLEVR = "configs/clevr.py"


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    config = read_config(options)
    if config.cores == "devices":
        one_device_per_core(config.train.batch_size)
    choose_defaults(options)
    print(machine(), flush=True)
    functions, peers = {"slotjax": ours(config, options)}, []
    if options.config == CLEVR:
        functions["textbook Flax"] = theirs(config, options)
        print(f"largest difference, textbook Flax - slotjax: {difference(config)}", flush=True)
        peers = torch_peers(config, options)
        functions |= {peer.name: peer.seconds for peer in peers}
    seconds = in_turns(functions | {"matrix product": matrix_product(options)}, options.rounds)
    for peer in peers:
        peer.close()
    product = statistics.median(seconds.pop("matrix product"))
    print(f"\n{described(config, options)}\n")
    rows = [[name, *times(took), f"{ratio(took, seconds['slotjax']):.2f}"] for name, took in seconds.items()]
    print(table(["step", *TIMES, "times slotjax's"], rows))
    if options.config == CLEVR:
        print_work(config, statistics.median(seconds["slotjax"]), 2 * options.gemm**3 / product)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=CLEVR, help="FILE[:VARIANT] of object discovery")
    parser.add_argument("--resolution", type=int, default=64, help="of CLEVR6: a multiple of 16")
    parser.add_argument("--batch", type=int, default=0, help="images; 0: 4 for CLEVR6, else the config's")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=0, help="in a round; 0: 20 on a GPU, else 1")
    parser.add_argument("--gemm", type=int, default=0, help="side of the matrix product; 0: 8192 on a GPU, else 2048")
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--torch-peer", type=Path)
    parser.add_argument("--torch-python", default=sys.executable)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["rounds"])
    at_least(options, 0, ["steps", "gemm", "batch"])
    if options.resolution < 16 or options.resolution % 16:
        raise UserError(f"--resolution={options.resolution}: the decoder doubles 4 times; take a multiple of 16")
    if options.dtype not in DTYPES:
        raise UserError(f"--dtype={options.dtype}: choose one of {', '.join(DTYPES)}")
    if options.torch_peer and not options.torch_peer.is_file():
        raise UserError(f"--torch-peer={options.torch_peer}: no such file")
    return options


def choose_defaults(options: argparse.Namespace) -> None:
    """Fills in what depends on the device."""
    gpu = jax.default_backend() != "cpu"
    options.steps = options.steps or (20 if gpu else 1)
    options.gemm = options.gemm or (8192 if gpu else 2048)


def read_config(options: argparse.Namespace):
    config = recipe(options.config)
    config.model.dtype = options.dtype
    if options.config == CLEVR:
        config.model.resolution = (options.resolution,) * 2
        config.train.batch_size = 4
    config.train.batch_size = options.batch or config.train.batch_size
    return config


def described(config, options: argparse.Namespace) -> str:
    size = "x".join(map(str, config.model.resolution))
    return (
        f"{options.config}, {size}, batch {config.train.batch_size}, {config.model.dtype}; "
        f"{options.rounds} rounds of {options.steps} steps, {options.clock} clock"
    )


def repeated(step: Callable[[], Any], options: argparse.Namespace) -> Callable[[], float]:
    """Seconds of a step within a round."""
    whole = clocked(lambda: [step() for _ in range(options.steps)][-1], CLOCKS[options.clock])
    return lambda: whole() / options.steps


def ours(config, options: argparse.Namespace, devices: list | None = None) -> Callable[[], float]:
    """slotjax's step: on these devices, else on one GPU, or all that a CPU was made into."""
    devices = devices or (jax.devices() if jax.default_backend() == "cpu" else jax.devices()[:1])
    return repeated(step_of(run_on(config, devices), noise_batch(config)), options)


def theirs(config, options: argparse.Namespace) -> Callable[[], float]:
    """The textbook step."""
    start, step = textbook.build_step(textbook.AutoEncoder(dtype=DTYPES[options.dtype]))
    params, images, _ = example(config)
    inputs = itertools.repeat((jnp.asarray(images), jax.random.key(0)))
    return repeated(
        steps(lambda state, rest: step(state, *rest), start(textbook.from_slotjax(params)), inputs), options
    )


def difference(config) -> str:
    """Between slotjax and the textbook model, over the largest value of each tensor.

    Where rounding tips a single ReLU the other way, gradients of the layers before it differ by some 1e-3.
    """
    model = textbook.AutoEncoder(dtype=DTYPES[config.model.dtype])
    params, images, noise = example(config)

    def our_loss(params):
        out = our_output(config, params, images, noise)
        return LOSSES["mse"](out, {}, 0).mean(), out.reconstruction

    def their_loss(params):
        params = textbook.from_slotjax(params)
        return textbook.loss(model, params, images, noise), model.apply({"params": params}, images, noise)

    ((_, a), ours), ((_, b), theirs) = (
        jax.jit(jax.value_and_grad(loss, has_aux=True))(params) for loss in (our_loss, their_loss)
    )
    for gradients in (ours, theirs):
        gradients["attention"]["norm_slots"].pop("bias")  # cancels in the softmax: nothing but rounding
    errors = jax.tree_util.tree_leaves_with_path(jax.tree.map(relative, ours, theirs))
    path, worst = max(errors, key=lambda pair: pair[1])
    where = jax.tree_util.keystr(path, simple=True, separator="/")
    return f"reconstruction {relative(a, b):.1e}, gradients {worst:.1e} ({where})"


def matrix_product(options: argparse.Namespace) -> Callable[[], float]:
    """Seconds of one large square product in the step's dtype."""
    a = jax.random.normal(jax.random.key(0), (options.gemm,) * 2, DTYPES[options.dtype])
    product = jax.jit(lambda x: x @ a)
    jax.block_until_ready(product(a))
    return repeated(lambda: product(a), options)


def multiplications(config) -> float:
    """Floating-point operations of a training step of the CLEVR6 model: convolutions and dense layers over pixels.

    Two for each multiplication and addition; backward twice as many as forward, less the gradient of the images. Taps
    that no output meets (a transposed convolution with stride 2 meets a quarter of 25 for each output) are not counted.
    """
    model, batch = config.model, config.train.batch_size
    pixels = batch * model.resolution[0] * model.resolution[1]
    forward, width = 0.0, 3
    for channels, size in zip(model.encoder.channels, model.encoder.kernels, strict=True):
        forward += pixels * size**2 * width * channels
        width = channels
    images = pixels * model.encoder.kernels[0] ** 2 * 3 * model.encoder.channels[0]
    forward += 2 * pixels * model.encoder.mlp_dim * width
    forward += 2 * model.num_iterations * pixels * model.num_slots * model.encoder.mlp_dim
    places, width = pixels * model.num_slots / 16**2, model.slot_dim
    for channels, size, stride in zip(
        model.decoder.channels, model.decoder.kernels, model.decoder.strides, strict=True
    ):
        forward += places * size**2 * width * channels
        places, width = places * stride**2, channels
    forward += places * model.decoder.last_kernel**2 * width * 4
    return 2 * (3 * forward - images)


def print_work(config, seconds: float, rate: float) -> None:
    work = multiplications(config)
    took = work / rate
    print(f"\nby definition {work / 1e9:.1f} GFLOP, which take {1e3 * took:.1f} ms at the {rate / 1e9:.0f} GFLOP/s of")
    print(f"a matrix product; slotjax's step takes {100 * seconds / took:.0f}% of that")


if __name__ == "__main__":
    cli.run(main)
