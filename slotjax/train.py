"""Train a model of slots.

NAME is an experiment that comes with slotjax (`slotjax configs` lists them) or a file such as configs/quick.py. `python
train.py` is the same command.
"""

from slotjax import cli
from slotjax.errors import UserError
from slotjax.training.loggers import LOGGERS

USAGE = "%(prog)s --config NAME[:VARIANT,...] [--config.FIELD=VALUE ...] [--workdir DIR] [--watch] [--log NAME] [...]"


def main() -> None:
    parser = cli.Parser("train", __doc__, usage=USAGE)
    parser.add_argument("--config", metavar="NAME", help="start with quick; slotjax configs lists the others")
    parser.add_argument("--config.FIELD", metavar="VALUE", help="changes one field, as in --config.train.batch_size=32")
    parser.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT,INDEX,COUNT",
        help="this is one of several processes; without a value JAX finds the others (docs/scaling.md)",
    )
    parser.add_argument("--workdir", type=cli.path, help="where everything is written; runs/NAME[_VARIANT] by default")
    parser.add_argument("--watch", action="store_true", help="opens the report, which is renewed while the run goes on")
    parser.add_argument(
        "--log",
        action="append",
        choices=LOGGERS,
        default=[],
        help="also to Weights & Biases or MLflow, as their own variables say; give it twice for both",
    )
    arguments, rest = parser.parse_known_args()
    for argument in rest:
        if argument.startswith("-") and not argument.startswith("--config."):
            parser.refuse(argument)
    if arguments.config is None:
        raise UserError(
            f"--config is missing; {f'did you mean --config {rest[0]}?' if rest else 'start with --config quick'}"
        )

    from slotjax.config import experiments  # what takes long to import comes after what can be told without it

    name, _, variants = arguments.config.partition(":")
    path = experiments.find(name)
    experiments.check_variants(path, variants)

    from slotjax.config.command_line import override, read_config

    config = read_config(path, variants)
    override(config, rest)
    name = "_".join([path.stem, *filter(None, variants.split(","))])
    workdir = arguments.workdir or cli.path(f"runs/{name}")

    from slotjax.training import parallel, processes

    if arguments.distributed is not None:
        processes.join(arguments.distributed)
    elif config.get("cores") == "devices":
        parallel.one_device_per_core(config.train.batch_size)

    from slotjax.report import default_output, report_after_training
    from slotjax.reporting.live import LiveReport
    from slotjax.training.loop import train

    loggers = [LOGGERS[name]() for name in dict.fromkeys(arguments.log)]
    steps = train(config, workdir, [LiveReport(default_output([workdir]), arguments.watch), *loggers])
    if processes.first() and (steps or not default_output([workdir]).exists()):
        report_after_training(workdir)


if __name__ == "__main__":
    cli.run(main, large_pages=True)
