"""How much faster than an older one a training step is: python benchmarks/versions.py COMMIT [--config FILE]

Each in a process of its own, the step of COMMIT, which is unpacked into a temporary folder, and that of this working
tree take turns, each with its own config, as its own `train.py` would run it, without the rendering of scenes. Prints
both losses of the first step, from the same parameters, pictures and noise, which are equal where both compute the
same, then medians, spreads, and the median over the rounds of their ratio.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from step import machine
from workers import Worker

from slotjax import cli
from slotjax.errors import UserError

FOLDER = Path(__file__).parent
HERE = "this tree"


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        then, parameters = Path(folder, "tree"), Path(folder, "parameters.npz")
        unpack(options.commit, then)
        trees = {options.commit: then, HERE: FOLDER.parent}
        workers = [start(name, tree, parameters, options) for name, tree in trees.items()]
        seconds = {worker.name: [] for worker in workers}
        for _ in range(options.rounds):
            for worker in workers:
                seconds[worker.name].append(worker.seconds())
        for worker in workers:
            worker.close()
    print(f"\n{options.config}; {options.rounds} rounds of {options.steps} steps\n")
    print_table(seconds, options.commit)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", metavar="COMMIT", help="that this working tree is compared with")
    parser.add_argument("--config", default="configs/quick.py", help="of object discovery, in both; with its variants")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    options = parser.parse_args(arguments)
    for name in ("rounds", "steps"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name}={getattr(options, name)}: must be at least 1")
    if not config_file(FOLDER.parent, options).is_file():
        raise UserError(f"--config={options.config}: no such file in {FOLDER.parent}")
    return options


def config_file(tree: Path, options: argparse.Namespace) -> Path:
    return tree / options.config.partition(":")[0]


def unpack(commit: str, folder: Path) -> None:
    """Puts the files of a commit of this repository into a folder."""
    command = ["git", "-C", str(FOLDER.parent), "archive", "--format=tar", f"{commit}^{{commit}}"]
    packed = subprocess.run(command, capture_output=True, check=False)
    if packed.returncode:
        raise UserError(f"COMMIT {commit}: this repository has none of that name; `git log --oneline` lists them")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def start(name: str, tree: Path, parameters: Path, options: argparse.Namespace) -> Worker:
    """The step of a tree, compiled; prints what it runs on, and its first loss."""
    if not config_file(tree, options).is_file():
        raise UserError(f"--config={options.config}: {name} has no such file")
    command = [sys.executable, str(FOLDER / "version_worker.py")]
    command += [options.config, str(options.steps), str(parameters)]
    worker = Worker(name, command, cwd=tree, env={"PYTHONPATH": str(tree)})
    devices, loss = worker.first["devices"], worker.first["loss"]
    print(f"{name}: {devices} device{'s' * (devices > 1)}, loss of the first step {loss:.6f}", flush=True)
    return worker


def print_table(seconds: dict[str, list[float]], commit: str) -> None:
    print(f"{machine()}\n\n| step of | median ms | min to max | {commit} / it |\n| --- | --- | --- | --- |")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[commit], values, strict=True))
        spread = f"{1e3 * min(values):.1f} to {1e3 * max(values):.1f}"
        print(f"| {name} | {1e3 * statistics.median(values):.1f} | {spread} | {ratio:.2f} |")


if __name__ == "__main__":
    cli.run(main)
