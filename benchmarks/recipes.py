"""What each recipe for two cores takes, and what limits it: python benchmarks/recipes.py [NAME ...] [--rounds 5]

Pictures a second; milliseconds of a training step whose batch is there, and of making a batch, a pool's scenes spread
over all steps; operations of the plain form of the step as the compiler counts them, which takes the body of a loop
once, and the share that they would take at the rate of a large matrix product. By the profiler: how much of the step's
time is in products and convolutions, in moving numbers, and in all else (elementwise, sums). Writes the table into
docs/performance.md. --clock cpu counts processor time, for a machine that is doing other things too. Features are
those of pictures of noise, kept; the weights that made them do not matter here.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from tables import table
from timing import CLOCKS, ROOT, UNUSED, at_least, clocked, in_turns, machine, recipe

from slotjax import cli
from slotjax.errors import UserError
from slotjax.nn import cpu
from slotjax.system.writing import write_text
from slotjax.training.parallel import one_device_per_core
from slotjax.training.restore import initial_state
from slotjax.training.run import Run, open_run

RECIPES = {  # by name: a config, and fields that differ
    "quick": ("configs/quick.py",),
    "clevr:small": ("configs/clevr.py:small",),
    "clevr:small, whole pictures": ("configs/clevr.py:small", "model.decoder.sample=1"),
    "video:small": ("configs/video.py:small",),
    "features:small": (
        "configs/features.py:folder,small",
        "data.path={pictures}",
        "data.feature_cache=1",
        "model.backbone.depth=1",
        "model.backbone.hidden=64",
    ),
}
HEAD = ["recipe", "pictures a second", "step, ms", "batch, ms", "GFLOP", "of the rate", "products", "moving", "else"]
PRODUCTS = ("ynn", "dot", "convolution", "conv")
MOVING = {"bitcast", "broadcast", "concatenate", "copy", "dynamic", "fusion", "gather", "pad", "reshape", "reverse"}
MOVING |= {"slice", "transpose", "update"}
AROUND = ("while", "call", "conditional")  # whose parts have events of their own
POOL, GEMM, STEPS = 64, 2048, 2
START, END = "<!-- recipes -->", "<!-- end of recipes -->"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"by default {'; '.join(RECIPES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of performance.md")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["rounds"])
    if unknown := [name for name in options.names if name not in RECIPES]:
        raise UserError(f"{unknown[0]}: choose among {', '.join(RECIPES)}")
    if options.row:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(row(options.names[0], Path(folder), options)))
        return
    rows = [apart(name, options) for name in options.names or RECIPES]
    text = f"{machine()}; {options.rounds} rounds, {options.clock} clock:\n\n{table(HEAD, rows)}"
    print(text)
    put(options.docs / "performance.md", text)


def apart(name: str, options: argparse.Namespace) -> list[str]:
    """`row` in a process of its own, which makes devices of cores where the recipe says so."""
    flags = ["--row", f"--rounds={options.rounds}", f"--clock={options.clock}"]
    done = subprocess.run([sys.executable, __file__, name, *flags], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, folder: Path, options: argparse.Namespace) -> list[str]:
    config = recipe(*(part.format(pictures=pictures(folder)) for part in RECIPES[name]))
    clock = CLOCKS[options.clock]
    if config.cores == "devices":
        one_device_per_core(config.train.batch_size)
    pool, config.data.pool = config.data.pool, min(POOL, config.data.pool)
    run = open_run(config, UNUSED)
    run.feed.prepare()
    batches = run.feed.train_batches(run.parallel, 0)
    batch = next(batches)
    with cpu.plain():
        operations = len(run.parallel.devices) * run.train_step().lower(begun(run), batch).cost_analysis()["flops"]
    step, product = stepper(run, batch), matrix_product()
    timed = {
        "step": clocked(lambda: [step() for _ in range(STEPS)][-1], clock),
        "batch": clocked(lambda: [next(batches) for _ in range(STEPS)][-1], clock),
        "product": clocked(product, clock),
    }
    seconds = {name: statistics.median(taken) for name, taken in in_turns(timed, options.rounds).items()}
    step_s, batch_s = seconds["step"] / STEPS, seconds["batch"] / STEPS
    batch_s += pool / config.train.num_steps * (scene(run, clock) if pool else 0)
    shown = config.train.batch_size * (config.data.num_frames if config.model.name == "video" else 1)
    rate = 2 * GEMM**3 / seconds["product"]
    cells = [f"{shown / (step_s + batch_s):.0f}", f"{1e3 * step_s:.1f}"]
    cells += [f"{1e3 * batch_s:.1f} ({100 * batch_s / (step_s + batch_s):.0f}%)", f"{operations / 1e9:.2f}"]
    shares = [operations / step_s / rate, *profile(step, folder / "profile")]
    return [name, *cells, *(f"{100 * share:.0f}%" for share in shares)]


def pictures(folder: Path) -> Path:
    """A folder of them: enough, since grain takes a millisecond to shuffle an index of very few."""
    path = folder / "pictures"
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(512):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path / f"{i}.png")
    return path


def begun(run: Run) -> Any:
    """The state before the first step."""
    return run.parallel.replicate(run.layout.pack(jax.device_get(initial_state(run.config, run.model))))


def stepper(run: Run, batch: Any) -> Callable[[], Any]:
    """One step after another, of the same batch; compiled."""
    state, train = begun(run), run.train_step()

    def one() -> Any:
        nonlocal state
        state, metrics = train(state, batch)
        return state, metrics

    one()
    jax.block_until_ready(one())
    return one


def matrix_product() -> Callable[[], Any]:
    a = jax.random.normal(jax.random.key(0), (GEMM, GEMM))
    product = jax.jit(lambda x: x @ a)
    jax.block_until_ready(product(a))
    return lambda: product(a)


def scene(run: Run, clock: Callable[[], float]) -> float:
    """Seconds of rendering one."""
    render, keys = jax.jit(run.feed.render), jax.random.split(jax.random.key(0), POOL)
    jax.block_until_ready(render(keys))
    return clocked(lambda: render(keys), clock)() / POOL


def profile(step: Callable[[], Any], folder: Path) -> list[float]:
    """The shares of the time of all operations that products, moving and all else take."""
    with jax.profiler.trace(folder):
        jax.block_until_ready([step() for _ in range(STEPS)][-1])
    (path,) = folder.rglob("*.trace.json.gz")
    taken: Counter[str] = Counter()
    for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        name = event.get("args", {}).get("hlo_op", "")
        if name and not name.startswith(AROUND):
            taken[kind(name)] += event["dur"]
    return [taken[kind] / taken.total() for kind in ("products", "moving", "else")]


def kind(name: str) -> str:
    if name.startswith(PRODUCTS):
        return "products"
    words = set(name.split(".")[0].removeprefix("wrapped_").replace("-", "_").split("_"))
    return "moving" if words <= MOVING else "else"


def put(path: Path, text: str) -> None:
    """The text between the page's two marks."""
    before, _, rest = path.read_text().partition(START)
    _, mark, after = rest.partition(END)
    if not mark:
        raise UserError(f"{path}: lacks the lines {START} and {END}")
    write_text(path, f"{before}{START}\n\n{text}\n\n{mark}{after}")


if __name__ == "__main__":
    cli.run(main, large_pages=True)  # as training does
