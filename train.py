"""Train Slot Attention.

python train.py --config configs/NAME.py[:VARIANT,...] [--config.FIELD=VALUE ...] [--workdir DIR] [--distributed]
"""

import argparse
import re
import runpy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

try:
    from absl import flags
    from ml_collections import ConfigDict, config_flags

    from slotjax import cli
    from slotjax.errors import UserError
except ModuleNotFoundError as error:  # the usual first mistake: another Python than the one that it was installed for
    raise SystemExit(f"error: {error}; run `pip install -e .` first, with the Python that runs this") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS, allow_abbrev=False)
    parser.add_argument("--config", help="start with configs/quick.py; the file's first lines name its variants")
    parser.add_argument("--config.FIELD", metavar="VALUE", help="changes one field, as in --config.train.batch_size=32")
    parser.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT,INDEX,COUNT|auto|off",
        help="one of several processes; found out where a launcher started them (docs/scaling.md)",
    )
    parser.add_argument("--workdir", help="where everything is written; runs/NAME[_VARIANT] by default")
    arguments, rest = parser.parse_known_args()
    if arguments.config is None:
        raise UserError("--config is missing; start with python train.py --config configs/quick.py")
    path, _, variants = arguments.config.partition(":")
    config = read_config(Path(path), variants)
    override(config, rest)
    name = "_".join([Path(path).stem, *filter(None, variants.split(","))])
    workdir = arguments.workdir or f"runs/{name}"
    if "://" in workdir:
        raise UserError(f"--workdir {workdir}: only directories of a file system; mount the bucket and give its path")

    from slotjax.training import parallel, processes

    if not processes.join(arguments.distributed) and config.get("cores") == "devices":
        parallel.one_device_per_core(config.train.batch_size)

    from slotjax.report import default_output, report_after_training, runs_in
    from slotjax.training.loop import train  # after the flags, so that a wrong one is answered at once

    steps = train(config, Path(workdir))
    if processes.first() and (steps or not default_output(runs_in(Path(workdir))).exists()):
        report_after_training(Path(workdir))


def read_config(path: Path, variants: str) -> ConfigDict:
    """What the file's `get_config(variants)` returns."""
    if not path.is_file():
        have = ", ".join(sorted(str(p) for p in Path("configs").glob("*.py"))) or "none in ./configs"
        raise UserError(f"--config {path}: no such file; there are {have}")
    return runpy.run_path(str(path))["get_config"](variants)


def override(config: ConfigDict, arguments: list[str]) -> None:
    """Sets fields from `--config.FIELD=VALUE`, each to a value of the type it has."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument.startswith("-") and not name.startswith("--config."):
            raise UserError(
                f"{name}: no such flag; there are --config, --config.FIELD=VALUE, --workdir and --distributed"
            )
        if argument.startswith("-"):
            check_field(config, name.removeprefix("--config."))
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["train.py", *arguments])
    try:
        rest = values(["train.py", *arguments])[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(in_words(config, str(error).splitlines()[0])) from None
    if rest:
        raise UserError(f"{rest[0]!r}: not a flag; write --config.FIELD=VALUE")


def in_words(config: ConfigDict, message: str) -> str:
    """absl's message; where a value is not of its field's type, one that says which type that is."""
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", message)
    if not found:
        return message
    field, given = found.groups()
    now: Any = reduce(getitem, field.split("."), config)
    wanted: Any = {
        bool: "True or False",
        int: "a whole number",
        float: "a number",
        tuple: "values in brackets and quotes",
    }
    if type(now) not in wanted:
        return message
    return f"--config.{field}={given}: must be {wanted[type(now)]}; it is {str(now).replace(' ', '')} now"


def check_field(config: ConfigDict, field: str) -> None:
    """Raises a `UserError` that lists the fields there are, if this is none."""
    section, where = config, ""
    for name in field.split("."):
        if not isinstance(section, ConfigDict) or name not in section:
            have = (
                f"there are {', '.join(section)}" if isinstance(section, ConfigDict) and section else "it has no fields"
            )
            raise UserError(f"--config.{field}: no field {name!r} in config{where}; {have}")
        section, where = section[name], f"{where}.{name}"


if __name__ == "__main__":
    cli.run(main)
