"""python -m slotjax.pack --workdir DIR --output FILE.safetensors: a trained model as one small file."""

import json
from pathlib import Path

from slotjax import cli
from slotjax.errors import UserError


def main() -> None:
    parser = cli.Parser("pack", __doc__)
    parser.add_argument("--workdir", metavar="DIR", required=True, type=cli.path, help="of a training run")
    parser.add_argument(
        "--output", metavar="FILE", required=True, type=cli.path, help="the file to write, ending in .safetensors"
    )
    parser.add_argument("--half", action="store_true", help="16 bits a number: half the size, rounded to three digits")
    arguments = parser.parse_args()
    if arguments.output.suffix != ".safetensors":
        raise UserError(f"--output {arguments.output}: name a file that ends in .safetensors")
    pack(arguments.workdir, arguments.output, half=arguments.half)
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size / 2**20:.1f} MiB)")
    print(f"next: model, params = slotjax.load({json.dumps(str(arguments.output), ensure_ascii=False)})")


def pack(workdir: Path, output: Path, *, half: bool = False) -> None:
    """Writes the best checkpoint of a run with its config, and its own evaluation where there is one.

    Raises:
      UserError: no checkpoint, an evaluation that is not the run's own, or a file that cannot be written.
    """
    from slotjax.reporting.evaluation import check_own, open_subject
    from slotjax.weights import save

    subject = open_subject(workdir, None)
    _, params, _ = subject.trained
    evaluation = read_evaluation(workdir)
    if evaluation:
        check_own(evaluation["evaluation"], subject, workdir / "evaluation.json")
    save(output, subject.config.to_dict() | evaluation, params, half=half)


def read_evaluation(workdir: Path) -> dict:
    """The figures that `slotjax.evaluate` wrote for the run, if it has."""
    from slotjax.system.reading import read_json

    path = workdir / "evaluation.json"
    try:
        return {"evaluation": read_json(path)} if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, or write it with slotjax.evaluate") from None


if __name__ == "__main__":
    cli.run(main)
