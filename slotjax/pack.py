"""python -m slotjax.pack --workdir DIR --output FILE.npz: a trained model as one small file for slotjax.load."""

import argparse
from pathlib import Path

from slotjax import cli, configuration
from slotjax.errors import UserError
from slotjax.loading import load_run, save_weights
from slotjax.untrusted import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--output", required=True, help="the file to write, ending in .npz")
    arguments = parser.parse_args()
    workdir, output = Path(arguments.workdir), Path(arguments.output)
    if output.suffix != ".npz":
        raise UserError(f"--output {output}: name a file that ends in .npz")
    config = configuration.load(workdir / "config.json")
    _, params = load_run(workdir)
    save_weights(output, config.to_dict() | read_evaluation(workdir), params)
    print(f"wrote {output} ({output.stat().st_size / 2**20:.1f} MiB)")
    print(f'next: model, params = slotjax.load("{output}")')


def read_evaluation(workdir: Path) -> dict:
    """The figures that `slotjax.evaluate` wrote for the run, if it has."""
    path = workdir / "evaluation.json"
    try:
        return {"evaluation": read_json(path)} if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, or write it with slotjax.evaluate") from None


if __name__ == "__main__":
    cli.run(main)
