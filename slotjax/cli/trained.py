"""--workdir and --weights, which tell a command the trained model that it is about."""

from argparse import ArgumentParser
from pathlib import Path

from slotjax import cli
from slotjax.errors import UserError
from slotjax.system import packaged


def add_flags(parser: ArgumentParser, default: str = "") -> None:
    """Both; `default` ends the help of the second."""
    parser.add_argument("--workdir", metavar="DIR", type=cli.path, help="directory of a training run")
    help = f"trained weights: a name (slotjax segment --list has them) or a .safetensors file{default}"
    parser.add_argument("--weights", metavar="NAME", help=help)


def check(workdir: Path | None, weights: str | None) -> None:
    """Refuses what names no trained model, before anything heavy is imported.

    Raises:
      UserError: none of the two, or both; no such run, no such weights.
    """
    if (workdir is None) == (weights is None):
        known = ", ".join(packaged.weights()) or "none"
        raise UserError(
            "--workdir and --weights: give one of the two, the directory of a training run, or trained weights: there "
            f"are {known}, and files of slotjax.pack"
        )
    if workdir is not None:
        check_run(workdir)
    else:
        packaged.find_weights(str(weights))


def check_run(workdir: Path) -> None:
    """Raises a `UserError` where no run has left its config."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; is {workdir} the --workdir of a training run?")
