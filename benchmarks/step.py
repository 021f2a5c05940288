"""How fast a training step is: python benchmarks/step.py [--torch-peer PEER.py --torch-python PYTHON]

The paper's CLEVR6 model at --resolution and --batch: slotjax's step, the textbook Flax one (benchmarks/textbook.py) and
a plain PyTorch model, turn by turn in one run. Shows first that all compute the same, then prints medians, spreads and
ratios, and the floor: the step's multiplications at the rate of a large matrix product. On a GPU:

    python benchmarks/step.py --resolution 128 --batch 64 --dtype bfloat16 --torch-peer PEER.py

PEER.py holds a module `AutoEncoder(resolution)`; PYTHON is an interpreter that has torch (default: this one). With
--config configs/quick.py the step of another experiment is timed, without peers. --clock cpu counts the processes' CPU
time, for a machine that is doing other things too.
"""

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import flax
import jax
import jax.numpy as jnp
import numpy as np
from torch_peers import example, our_reconstruction, pictures, relative, torch_peers

import slotjax
from slotjax import cli
from slotjax.errors import UserError
from slotjax.losses import reconstruction_loss
from slotjax.models import DTYPES
from slotjax.tasks import TASKS
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel, one_device_per_core
from slotjax.training.run import initial_state
from slotjax.training.step import Step, build_train_step
from slotjax.training.vector import Layout

FOLDER = Path(__file__).parent
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    config = read_config(options)
    if config.cores == "devices":
        one_device_per_core(config.train.batch_size)
    choose_defaults(options)
    compared = options.config == FOLDER.parent / "configs" / "clevr.py"
    rounds, peers = {"slotjax": ours(config, options)}, []
    print(machine(), flush=True)
    if compared:
        rounds["textbook Flax"] = textbook(config, options)
        print(f"largest difference, textbook Flax - slotjax: {difference(config)}", flush=True)
        peers = torch_peers(config, options)
        rounds |= {peer.name: peer.seconds for peer in peers}
    rounds["matrix product"] = matrix_product(options)
    seconds = {name: [] for name in rounds}
    for _ in range(options.rounds):
        for name, run in rounds.items():
            seconds[name].append(run())
    for peer in peers:
        peer.close()
    product = seconds.pop("matrix product")
    print(
        f"\n{options.config.stem}, {'x'.join(map(str, config.model.resolution))}, batch {config.train.batch_size}, ",
        end="",
    )
    print(f"{config.model.dtype}; {options.rounds} rounds of {options.steps} steps, {options.clock} clock\n")
    print_table(seconds, config.train.batch_size)
    if compared:
        print_floor(config, seconds["slotjax"], 2 * options.gemm**3 / statistics.median(product))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=FOLDER.parent / "configs" / "clevr.py")
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
    if options.rounds < 1:
        raise UserError(f"--rounds={options.rounds}: must be at least 1")
    for name in ("steps", "gemm", "batch"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name}={getattr(options, name)}: must not be negative")
    if options.resolution < 16 or options.resolution % 16:
        raise UserError(f"--resolution={options.resolution}: the decoder doubles 4 times; take a multiple of 16")
    if options.dtype not in DTYPES:
        raise UserError(f"--dtype={options.dtype}: choose one of {', '.join(DTYPES)}")
    for name in ("config", "torch_peer"):
        path = getattr(options, name)
        if path and not path.is_file():
            raise UserError(f"--{name.replace('_', '-')}={path}: no such file")
    return options


def choose_defaults(options: argparse.Namespace) -> None:
    """Fills in what depends on the device."""
    gpu = jax.default_backend() != "cpu"
    options.steps = options.steps or (20 if gpu else 1)
    options.gemm = options.gemm or (8192 if gpu else 2048)


def load(path: Path) -> ModuleType:
    """The module in a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file; take one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_config(options: argparse.Namespace):
    config = load(options.config).get_config()
    config.model.dtype = options.dtype
    clevr = options.config.stem == "clevr"
    if clevr:
        config.model.resolution = (options.resolution,) * 2
    config.train.batch_size = options.batch or (4 if clevr else config.train.batch_size)
    return config


def timed(step: Callable, state, options: argparse.Namespace) -> Callable[[], float]:
    """Seconds of a step within a round; `step` maps a state to (a state, what to wait for)."""
    clock = CLOCKS[options.clock]

    def run() -> float:
        nonlocal state
        start = clock()
        for _ in range(options.steps):
            state, value = step(state)
        jax.block_until_ready((state, value))
        return (clock() - start) / options.steps

    run(), run()  # the second compiles where the state returns in another layout
    return run


def ours(config, options: argparse.Namespace, devices: list | None = None) -> Callable[[], float]:
    """slotjax's step as training runs it: on these devices, else on one GPU, or all that a CPU was made into."""
    model, size = slotjax.build_model(config.model), config.train.batch_size
    task = TASKS[config.model.name]
    start = initial_state(config, model)
    layout = Layout(start.params)
    loss = layout.of_vectors(task.build_loss(model, config.train))
    step = Step(loss, build_optimizer(config.train), jax.random.key(0), config.train.ema_decay)
    devices = devices or (jax.devices() if jax.default_backend() == "cpu" else jax.devices()[:1])
    parallel = Parallel(config.parallel, size, devices)
    train = build_train_step(step, parallel, 1)
    state = parallel.replicate(layout.pack(start))
    batch = parallel.shard({"image": pictures(config), "index": np.arange(size, dtype=np.int32)})
    return timed(lambda state: train(state, batch), state, options)


def textbook(config, options: argparse.Namespace) -> Callable[[], float]:
    """The textbook step."""
    module = load(FOLDER / "textbook.py")
    start, step = module.build_step(module.AutoEncoder(dtype=DTYPES[options.dtype]))
    params, images, _ = example(config)
    images, key = jnp.asarray(images), jax.random.key(0)
    return timed(lambda state: step(state, images, key), start(module.from_slotjax(params)), options)


def difference(config) -> str:
    """Between slotjax and the textbook model, over the largest value of each tensor.

    Where rounding tips a single ReLU the other way, gradients of the layers before it differ by some 1e-3.
    """
    module = load(FOLDER / "textbook.py")
    model = module.AutoEncoder(dtype=DTYPES[config.model.dtype])
    params, images, noise = example(config)

    def our_loss(params):
        out = our_reconstruction(config, params, images, noise)
        return reconstruction_loss(out, images).mean(), out

    def their_loss(params):
        params = module.from_slotjax(params)
        return module.loss(model, params, images, noise), model.apply({"params": params}, images, noise)

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
    return timed(lambda _: (None, product(a)), None, options)


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
    places, width = batch * model.num_slots * model.resolution[0] * model.resolution[1] / 16**2, model.slot_dim
    for channels, size, stride in zip(
        model.decoder.channels, model.decoder.kernels, model.decoder.strides, strict=True
    ):
        forward += places * size**2 * width * channels
        places, width = places * stride**2, channels
    forward += places * model.decoder.last_kernel**2 * width * 4
    return 2 * (3 * forward - images)


def machine() -> str:
    device = jax.devices()[0]
    name = device.device_kind
    if device.platform == "cpu" and Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = platform.python_version()
    return f"{name}, {cores} cores; Python {python}, jax {jax.__version__}, flax {flax.__version__}"


def print_table(seconds: dict[str, list[float]], batch: int) -> None:
    """Medians, spreads, and slotjax's ratio to each: the median of the rounds' ratios."""
    print("| step | median ms | min to max | images/s | times slotjax's |\n| --- | --- | --- | --- | --- |")
    for name, values in seconds.items():
        median = statistics.median(values)
        ratio = statistics.median(a / b for a, b in zip(values, seconds["slotjax"], strict=True))
        spread = f"{1e3 * min(values):.1f} to {1e3 * max(values):.1f}"
        print(f"| {name} | {1e3 * median:.1f} | {spread} | {batch / median:.1f} | {ratio:.2f} |")


def print_floor(config, seconds: list[float], rate: float) -> None:
    work = multiplications(config)
    floor, step = work / rate, statistics.median(seconds)
    print(f"\nfloor: {work / 1e9:.1f} GFLOP at the {rate / 1e9:.0f} GFLOP/s of a matrix product: {1e3 * floor:.1f} ms;")
    print(f"slotjax's step does {work / step / 1e9:.0f} GFLOP/s, {100 * floor / step:.0f}% of that rate")


if __name__ == "__main__":
    cli.run(main)
