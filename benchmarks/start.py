"""How soon it starts, and how large it is: python benchmarks/start.py [COMMIT ...] [--rounds 5]

Of this working tree and of older commits, turn by turn: seconds of a process that imports slotjax, and of one that asks
it for `slotjax.load`, which brings jax and flax (`python -X importtime` says of each module what it takes); from typing
`train.py --config configs/quick.py` to the first step's loss, with nothing compiled before, and then again; and the
size of the package. Prints the sizes of what else an installation brings too, the largest first. The clock counts the
processor time of the processes: other jobs hardly count, and what two cores do beside each other counts twice.
"""

import argparse
import contextlib
import importlib.metadata
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from house import unpack
from packaging.requirements import Requirement
from tables import table
from timing import ROOT, at_least, machine

from slotjax import cli
from slotjax.errors import UserError

HERE = "this tree"
CONFIG = "configs/quick.py"
MIB = 2**20
LARGEST = 8  # packages that are named
PATIENCE = 600  # seconds for a first step
TICK = os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", metavar="COMMIT", nargs="*")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["rounds"])
    with tempfile.TemporaryDirectory() as folder:
        trees = {commit: Path(folder, str(i)) for i, commit in enumerate(options.commits)}
        for commit, tree in trees.items():
            unpack(commit, tree)
        rows = measured(trees | {HERE: ROOT}, options.config, options.rounds)
    print(f"{machine()}; {options.config}, {options.rounds} rounds, seconds of processor time\n")
    print(table(["", "import slotjax", "slotjax.load", "first step", "again", "package MiB"], rows))
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    sizes = sorted(installed(needed).items(), key=lambda pair: -pair[1])
    named = ", ".join(f"{name} {size / MIB:.0f}" for name, size in sizes[:LARGEST])
    total = sum(size for _, size in sizes) / MIB
    print(f"\nan installation brings {len(sizes)} packages of {total:.0f} MiB together: {named}")


def measured(trees: dict[str, Path], config: str, rounds: int) -> list[list[str]]:
    """A row for each tree."""
    imports: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    for _ in range(rounds):
        for name, tree in trees.items():
            imports[name].append(import_seconds(tree))
    rows = []
    for name, tree in trees.items():
        whole, own = (statistics.median(column) for column in zip(*imports[name], strict=True))
        with tempfile.TemporaryDirectory() as cache:  # of compiled programs, empty at first
            first, again = (first_step(tree, config, cache) for _ in range(2))
        size = sum(path.stat().st_size for path in (tree / "slotjax").rglob("*") if "__pycache__" not in path.parts)
        rows.append([name, f"{whole:.2f}", f"{own:.2f}", f"{first:.1f}", f"{again:.1f}", f"{size / MIB:.1f}"])
    return rows


def import_seconds(tree: Path) -> tuple[float, float]:
    """Of a process that imports slotjax, before and after it asked for `slotjax.load`."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    code = "import time, slotjax; print(time.process_time()); slotjax.load; print(time.process_time())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    before, after = map(float, done.stdout.split())
    return before, after


def first_step(tree: Path, config: str, cache: str) -> float:
    """Until the first step's loss is written."""
    environment = os.environ | {"PYTHONPATH": str(tree), "JAX_COMPILATION_CACHE_DIR": cache}
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        command = ["train.py", "--config", config, "--workdir", str(workdir), "--config.train.log_every=1"]
        process = subprocess.Popen(
            [sys.executable, *command], cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            return until_written(workdir / "metrics.jsonl", process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def until_written(path: Path, process: subprocess.Popen) -> float:
    """Processor seconds of a process when the file has a line."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.stat().st_size:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK
        time.sleep(0.02)
    raise UserError(f"{path.name}: no step within {PATIENCE} seconds; see what train.py says")


def installed(needed: list[str]) -> dict[str, int]:
    """Bytes of every package that these requirements bring."""
    sizes: dict[str, int] = {}
    for found in dependencies(needed, set()):
        files = importlib.metadata.distribution(found).files or []
        with contextlib.suppress(OSError):
            sizes[found] = sum(Path(str(file.locate())).stat().st_size for file in files)
    return sizes


def dependencies(lines: list[str], known: set[str]) -> Iterator[str]:
    """The names of all packages that these requirements bring, those of extras left out."""
    for line in lines:
        one = Requirement(line)
        canonical = re.sub(r"[-_.]+", "-", one.name).lower()
        if canonical in known or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        known.add(canonical)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(canonical)
            yield canonical
            yield from dependencies(importlib.metadata.requires(canonical) or [], known)


if __name__ == "__main__":
    cli.run(main)
