"""What the recipes for two CPU cores take: python benchmarks/costs.py [NAME ...] [--steps 40 440] [--config.FIELD=V]

Trains each twice, for a few steps, in a process of its own, and writes configs/costs.json, which `slotjax configs`
shows: the largest memory that a process had, and how long all of the recipe's steps take. The time comes from the
processor time of a further step, and of all that is done once (starting, compiling, rendering a pool of scenes, one
evaluation and the report), over the number of cores, so that other jobs beside it hardly count. Evaluations on the
way are left out. A recipe for data of one's own needs `--config.data.path=...` besides, as train.py does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from slotjax import cli
from slotjax.config.command_line import read_config
from slotjax.config.experiments import find
from slotjax.system import writing

ROOT = Path(__file__).parent.parent
RECIPES = (
    "quick",
    "tetrominoes:small",
    "multi_dsprites:small",
    "clevr:small",
    "clevr:clevr10,small",
    "clevr_set:small",
    "video:small",
    "video:clevr,small",
)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"by default {' '.join(RECIPES)}")
    parser.add_argument("--steps", type=int, nargs=2, default=(40, 440), help="of the two runs")
    parser.add_argument("--output", type=Path, default=ROOT / "configs" / "costs.json", help="what is there is kept")
    flags, fields = parser.parse_known_args(argv)
    if strange := [field for field in fields if not field.startswith("--config.")]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    for name in flags.names or RECIPES:
        file, _, variants = name.partition(":")
        steps = read_config(find(file), variants).train.num_steps
        (few, memory), (more, _) = (measure(name, count, fields) for count in flags.steps)
        a_step = (more - few) / (flags.steps[1] - flags.steps[0])
        minutes = (few + a_step * (steps - flags.steps[0])) / (os.cpu_count() or 1) / 60
        costs = json.loads(flags.output.read_text()) if flags.output.exists() else {}
        costs[name] = {"minutes": round(minutes, 1), "gib": round(memory / 2**30, 1)}
        writing.write_json(flags.output, dict(sorted(costs.items())))
        print(name, json.dumps(costs[name]), f"{1000 * a_step:.1f} ms of processor time a step", flush=True)


def measure(name: str, steps: int, own: Sequence[str]) -> tuple[float, int]:
    """Processor seconds, and the most bytes of memory, of a run of so many steps."""
    fields = {"num_steps": steps, "eval_every": steps, "checkpoint_every": steps, "stages": "()"}
    changes = [f"--config.train.{field}={value}" for field, value in fields.items()]
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "slotjax.train", "--config", name, "--workdir", f"{folder}/run", *changes, *own]
        environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {name}: {' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


if __name__ == "__main__":
    cli.run(main)
