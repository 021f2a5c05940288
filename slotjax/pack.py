"""python -m slotjax.pack --workdir DIR --output FILE.npz: a trained model as one small file for slotjax.load."""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slotjax import cli, configuration
from slotjax.errors import UserError
from slotjax.system.reading import read_json
from slotjax.weights import load_run, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--output", required=True, help="the file to write, ending in .npz")
    parser.add_argument("--half", action="store_true", help="16 bits a number: half the size, rounded to three digits")
    arguments = parser.parse_args()
    workdir, output = Path(arguments.workdir), Path(arguments.output)
    if output.suffix != ".npz":
        raise UserError(f"--output {output}: name a file that ends in .npz")
    config = configuration.load(workdir / "config.json")
    _, params = load_run(workdir)
    if arguments.half:
        params = halved(params)
    save_weights(output, config.to_dict() | read_evaluation(workdir), params)
    print(f"wrote {output} ({output.stat().st_size / 2**20:.1f} MiB)")
    print(f'next: model, params = slotjax.load("{output}")')


def halved(params: Any) -> Any:
    """The parameters as float16; raises a `UserError` where one is too large for it."""
    if not all(np.abs(x).max(initial=0) <= np.finfo(np.float16).max for x in jax.tree.leaves(params)):
        raise UserError("--half: the model has parameters beyond 65,504, or NaN; pack it without")
    return jax.tree.map(lambda x: np.asarray(x, np.float16), params)


def read_evaluation(workdir: Path) -> dict:
    """The figures that `slotjax.evaluate` wrote for the run, if it has."""
    path = workdir / "evaluation.json"
    try:
        return {"evaluation": read_json(path)} if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, or write it with slotjax.evaluate") from None


if __name__ == "__main__":
    cli.run(main)
