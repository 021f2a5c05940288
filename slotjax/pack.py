"""python -m slotjax.pack --workdir DIR --output FILE.safetensors: a trained model as one small file."""

import argparse
from pathlib import Path

from slotjax import cli
from slotjax.config import disk
from slotjax.errors import UserError
from slotjax.system.reading import read_json
from slotjax.training.restore import load_run
from slotjax.weights import save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--output", required=True, help="the file to write, ending in .safetensors")
    parser.add_argument("--half", action="store_true", help="16 bits a number: half the size, rounded to three digits")
    arguments = parser.parse_args()
    workdir, output = Path(arguments.workdir), Path(arguments.output)
    if output.suffix != ".safetensors":
        raise UserError(f"--output {output}: name a file that ends in .safetensors")
    config = disk.load(workdir / "config.json")
    _, params = load_run(workdir)
    save(output, config.to_dict() | read_evaluation(workdir), params, half=arguments.half)
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
