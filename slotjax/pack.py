"""A trained model as one small file.

python -m slotjax.pack --workdir DIR --output FILE.safetensors
python -m slotjax.pack --tf2 PREFIX --config configs/clevr.py --output FILE.safetensors
"""

import json
from pathlib import Path

from slotjax import cli
from slotjax.cli import trained
from slotjax.errors import UserError
from slotjax.system.writing import check_file


def main() -> None:
    parser = cli.Parser("pack", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", metavar="DIR", type=cli.path, help="of a training run")
    source.add_argument(
        "--tf2", metavar="PREFIX", type=cli.path, help="of a checkpoint of the original program: PREFIX.index and data"
    )
    parser.add_argument("--config", metavar="FILE[:VARIANT]", help="with --tf2: the experiment whose model it is")
    parser.add_argument(
        "--output", metavar="FILE", required=True, type=cli.path, help="the file to write, ending in .safetensors"
    )
    parser.add_argument("--half", action="store_true", help="16 bits a number: half the size, rounded to three digits")
    arguments = parser.parse_args()
    if arguments.output.suffix != ".safetensors":
        raise UserError(f"--output {arguments.output}: name a file that ends in .safetensors")
    check_file(arguments.output, "--output")
    if (arguments.tf2 is None) != (arguments.config is None):
        raise UserError("--tf2 and --config go together: a checkpoint of the original, and the config of its model")
    if arguments.tf2:
        pack_tf2(arguments.tf2, arguments.config, arguments.output, half=arguments.half)
    else:
        trained.check_run(arguments.workdir)
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
    model, params, _ = subject.trained
    params = {name: value for name, value in params.items() if name not in model.pretrained()}
    evaluation = read_evaluation(workdir)
    if evaluation:
        check_own(evaluation["evaluation"], subject, workdir / "evaluation.json")
    save(output, subject.config.to_dict() | evaluation, params, half=half)


def pack_tf2(prefix: Path, name: str, output: Path, *, half: bool = False) -> None:
    """Writes the weights of a checkpoint of the original program with the config of the same model.

    Args:
      name: of the config, as in `configs/clevr.py:tfds`.

    Raises:
      UserError: no such config or checkpoint, weights of another model, or a file that cannot be written.
    """
    from slotjax import convert
    from slotjax.config import experiments
    from slotjax.config.check import validate
    from slotjax.config.command_line import read_config
    from slotjax.models import build_model
    from slotjax.weights import check_parameters, save

    experiment, _, variants = name.partition(":")
    config = read_config(experiments.find(experiment), variants)
    validate(config)
    weights = convert.read_tf2(prefix)
    try:
        params = convert.from_tf2(weights)
        check_parameters(build_model(config.model), params)
    except UserError as error:
        raise UserError(
            f"--tf2 {prefix}: {error}; give a checkpoint of the original and the --config of its model"
        ) from None
    save(output, config.to_dict(), params, half=half)


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
