"""What is to be known of a GPU: python benchmarks/gpu.py --out DIR [--minutes 10] [--torch-peer PEER.py]

One stage after another, each a process with a time limit of its own, so that one that fails or hangs leaves the rest to
run: versions; two steps of the tiny experiments by pmap and jit; parity with the originals; the step beside PyTorch's;
memory; the renderer; and with the time that is left training, with which the same command goes on. DIR gets
results.json, results.md and what each stage printed. --tiny only shows that the command runs, on a CPU too.
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tables import table

from slotjax import cli
from slotjax.errors import UserError
from slotjax.system.writing import write_json, write_text

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
STOPPED = 75  # the exit code of training that was asked to stop, and saved
SAVING = 30  # seconds that are left to a process after it was asked to stop
BESIDE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # PyTorch needs memory of the same GPU
EXACT = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
LAST = 12  # lines that results.json keeps of what a stage printed

SMOKE = (
    "clevr", "clevr:isa", "clevr_set", "features:textured", "features:textured,autoregressive", "multi_dsprites",
    "quick", "tetrominoes", "video", "video:savi", "video:small",
)  # fmt: skip
PARITY = tuple(f"tests/test_parity{part}.py" for part in ("", "_savi", "_set"))


@dataclass(frozen=True)
class Stage:
    """A command of this interpreter, and the seconds that it may take; 0: all that are left."""

    name: str
    command: tuple[str, ...]
    seconds: int
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """How a stage went: "done", "failed" or "out of time", and the last lines that it printed."""

    name: str
    outcome: str
    seconds: float
    said: list[str]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a directory")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--torch-peer", type=Path)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--train", default="configs/clevr.py:bf16", help="FILE[:VARIANT] that is trained in the end")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages alone")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        PARTS[options.part](options.tiny)
        return
    if not options.out:
        raise UserError("--out is missing: name a directory for what is found")
    if options.torch_peer and not options.torch_peer.is_file():
        raise UserError(f"--torch-peer={options.torch_peer}: no such file")
    stages = {stage.name: stage for stage in planned(options)}
    if unknown := [name for name in options.only or () if name not in stages]:
        raise UserError(f"--only {unknown[0]}: choose among {', '.join(stages)}")
    options.out.mkdir(parents=True, exist_ok=True)
    deadline, results = time.monotonic() + 60 * options.minutes, []
    for name in options.only or stages:
        results.append(taken(stages[name], deadline, options.out))
        print(f"{name}: {results[-1].outcome}, {results[-1].seconds:.0f} s", flush=True)
        write_json(options.out / "results.json", [asdict(result) for result in results], indent=1)
        write_text(options.out / "results.md", report(results))
    print(f"wrote results.json and results.md to {options.out}")


def planned(options: argparse.Namespace) -> Iterator[Stage]:
    """The stages, in the order of what one would miss most."""

    def own(part: str) -> tuple[str, ...]:
        return (str(Path(__file__)), "--part", part, *(["--tiny"] if options.tiny else []))

    def script(name: str, flags: str, tiny: str, *more: str) -> tuple[str, ...]:
        return (str(FOLDER / name), *(tiny if options.tiny else flags).split(), *more)

    peer = ("--torch-peer", str(options.torch_peer)) if options.torch_peer else ()
    peer += ("--torch-python", options.torch_python)
    small = "--resolution 16 --batch 2 --rounds 1 --gemm 64"
    yield Stage("versions", own("versions"), 60)
    yield Stage("smoke", own("smoke"), 180)
    tests = PARITY[:1] if options.tiny else PARITY
    yield Stage("parity", ("-m", "pytest", "-q", "-n", "0", "-m", "slow or not slow", *tests), 120, EXACT)
    for dtype in ("bfloat16",) if options.tiny else ("bfloat16", "float32"):
        flags = f"--resolution 128 --batch 64 --dtype {dtype}"
        yield Stage(f"step, {dtype}", script("step.py", flags, small, *peer), 200)  # most of it XLA trying out kernels
    yield Stage("memory", own("memory"), 60)
    rendered = "--count 2 --resolution 16 --rounds 1", "--count 64 --frames 10"
    yield Stage("renderer", script("render.py", rendered[1], rendered[0]), 60)
    config = "configs/quick.py:tiny" if options.tiny else options.train
    workdir = str(options.out / "run")
    yield Stage("training", (str(ROOT / "train.py"), "--config", config, "--workdir", workdir), 0)


def taken(stage: Stage, deadline: float, out: Path) -> Result:
    """Runs a stage; asks it to stop in time, and ends it where it does not."""
    start = time.monotonic()
    seconds = min(stage.seconds or float("inf"), max(deadline - start - SAVING, 1))
    path = out / f"{stage.name.replace(', ', '_')}.txt"
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"JAX_PLATFORMS": ""} | os.environ | {"PYTHONPATH": paths} | BESIDE | stage.environment
    with path.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *stage.command], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        code, late = ended(process, seconds)
    endless = not stage.seconds and code == STOPPED
    outcome = "done" if code == 0 or endless else "out of time" if late else "failed"
    said = path.read_text(errors="replace").splitlines()[-LAST:]
    return Result(stage.name, outcome, round(time.monotonic() - start, 1), said)


def ended(process: subprocess.Popen, seconds: float) -> tuple[int, bool]:
    """The exit code, and whether the process had to be asked to stop, or was killed."""
    try:
        return process.wait(seconds), False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(SAVING), True
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait(), True


def report(results: list[Result]) -> str:
    """A table of the stages, then what each said last."""
    rows = [[result.name, result.outcome, f"{result.seconds:.0f}"] for result in results]
    said = [f"\n## {result.name}\n\n```\n{chr(10).join(result.said)}\n```" for result in results]
    return "\n".join([table(["stage", "outcome", "seconds"], rows), *said, ""])


def versions(tiny: bool) -> None:
    """What there is."""
    del tiny
    import jax
    from timing import machine

    print(machine(), jax.devices(), sep="\n")
    if jax.default_backend() == "gpu":
        subprocess.run(["nvidia-smi"], check=False)


def smoke(tiny: bool) -> None:
    """Two steps of each tiny experiment, by pmap and by jit; those that fail are named, and the others still run."""
    import jax
    from timing import UNUSED, recipe

    from slotjax.training.restore import initial_state
    from slotjax.training.run import open_run

    failed = []
    for name, mode in itertools.product(SMOKE[6:7] if tiny else SMOKE, ("pmap", "jit")):
        file, _, variants = name.partition(":")
        config = recipe(f"configs/{file}.py:{','.join(filter(None, (variants, 'tiny')))}", f"parallel={mode}")
        config.train.batch_size = 4 * jax.device_count()
        start = time.perf_counter()
        try:
            run = open_run(config, UNUSED)
            state = run.parallel.replicate(run.layout.pack(jax.device_get(initial_state(run.config, run.model))))
            step = run.train_step()
            for _, batch in zip(range(2), run.feed.train_batches(run.parallel, 0), strict=False):
                state, metrics = step(state, batch)
            print(f"{name}, {mode}: loss {float(metrics['loss']):.4f}, {time.perf_counter() - start:.1f} s", flush=True)
        except Exception as error:  # whatever it is: the others are to be tried too
            failed.append(f"{name}, {mode}")
            print(f"{name}, {mode}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
    if failed:
        raise SystemExit(f"failed: {'; '.join(failed)}")


def memory(tiny: bool) -> None:
    """The largest memory that the paper's step takes, and what was expected of it."""
    import jax
    from timing import UNUSED, noise_batch, recipe, training_step

    from slotjax.training.run import open_run

    config = recipe("configs/clevr.py:tiny" if tiny else "configs/clevr.py:bf16")
    config.data.pool = 0
    run = open_run(config, UNUSED)
    jax.block_until_ready(training_step(run, noise_batch(config))())
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    print(run.memory_note)
    print(f"peak: {peak / 2**30:.2f} GiB" if peak else "peak: this platform does not say")


PARTS: dict[str, Callable[[bool], None]] = {"versions": versions, "smoke": smoke, "memory": memory}

if __name__ == "__main__":
    cli.run(main)
