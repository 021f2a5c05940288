"""How much faster than an older one a training step is: python benchmarks/versions.py COMMIT [--config FILE]

Each in a process of its own, the step of COMMIT, which is unpacked into a temporary folder, and that of this working
tree take turns, each with its own config, as its own `train.py` would run it, without the rendering of scenes. Prints
both losses of the first step, from the same parameters, pictures and noise, which are equal where both compute the
same, then medians, spreads, and the median over the rounds of their ratio. Where a recipe had another name, say so with
--config-then.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from house import unpack
from tables import table
from timing import FOLDER, ROOT, TIMES, at_least, in_turns, machine, ratio, times
from workers import Worker

from slotjax import cli
from slotjax.errors import UserError

HERE = "this tree"


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        then, parameters = Path(folder, "tree"), Path(folder, "parameters.npz")
        unpack(options.commit, then)
        workers = [
            start(options.commit, then, options.config_then, options.steps, parameters),
            start(HERE, ROOT, options.config, options.steps, parameters),
        ]
        seconds = in_turns({worker.name: worker.seconds for worker in workers}, options.rounds)
        for worker in workers:
            worker.close()
    print(f"\n{machine()}\n{options.config}; {options.rounds} rounds of {options.steps} steps\n")
    rows = [[name, *times(took), f"{ratio(seconds[options.commit], took):.2f}"] for name, took in seconds.items()]
    print(table(["step of", *TIMES, f"{options.commit} / it"], rows))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", metavar="COMMIT", help="that this working tree is compared with")
    parser.add_argument("--config", default="configs/quick.py", help="of object discovery, FILE[:VARIANT]")
    parser.add_argument("--config-then", metavar="CONFIG", help="what COMMIT called it; the same by default")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    options = parser.parse_args(arguments)
    options.config_then = options.config_then or options.config
    at_least(options, 1, ["rounds", "steps"])
    check_config(HERE, ROOT, options.config)
    return options


def check_config(name: str, tree: Path, config: str) -> None:
    if not (tree / config.partition(":")[0]).is_file():
        raise UserError(f"--config={config}: {name} has no such file")


def start(name: str, tree: Path, config: str, steps: int, parameters: Path) -> Worker:
    """The step of a tree, compiled; prints what it runs on, and its first loss."""
    check_config(name, tree, config)
    command = [sys.executable, str(FOLDER / "version_worker.py"), config, str(steps), str(parameters)]
    worker = Worker(name, command, cwd=tree, env={"PYTHONPATH": str(tree)})
    devices, loss = worker.first["devices"], worker.first["loss"]
    print(f"{name}: {devices} device{'s' * (devices > 1)}, loss of the first step {loss:.6f}", flush=True)
    return worker


if __name__ == "__main__":
    cli.run(main)
