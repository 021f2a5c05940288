"""python -m slotjax.evaluate --workdir DIR: scores a trained model on its held-out images.

DIR/evaluation.json is the run's own evaluation, and says how it was made. With other images, numbers of slots or
methods the figures are written to a file of their own in DIR/evaluations/.
"""

import argparse

from slotjax import cli
from slotjax.cli import trained
from slotjax.system.console import command
from slotjax.system.writing import check_file

METHODS = ("slots", "kmeans", "soft_kmeans", "blocks")


def main() -> None:
    arguments = parse()
    trained.check(arguments.workdir, arguments.weights)
    from slotjax.reporting import evaluation  # after the flags, so that a wrong one is answered at once

    subject = evaluation.open_subject(arguments.workdir, arguments.weights)
    asked = {
        name: getattr(arguments, name)
        for name in ("method", "position_weight", "num_slots", "num_iterations", "images", "data", "data_path", "brief")
    }
    conditions = evaluation.changed(subject, {name: value for name, value in asked.items() if value is not None})
    if output := arguments.output or evaluation.file_of(subject, conditions):
        check_file(output, "--output")
    figures, table = evaluation.evaluate(subject, conditions)
    print(table)
    if output is None:
        print("the figures are not kept: name a file as --output")
    else:
        evaluation.save(figures, output)
        print(f"wrote {output}")
    if conditions.own and arguments.workdir:
        for following in subject.task.NEXT[1:]:
            print(f"next: {command(following, workdir=arguments.workdir, example=subject.noun.upper())}")


def parse() -> argparse.Namespace:
    parser = cli.Parser("evaluate", __doc__)
    trained.add_flags(parser)
    parser.add_argument(
        "--method", choices=METHODS, default="slots", help="the model's slots, clustered pixels, or equal blocks"
    )
    parser.add_argument(
        "--position-weight",
        type=cli.number(0, 1e6),
        default=0.0,
        help="clustering: how much place counts beside colour; 0 by default",
    )
    parser.add_argument("--num-slots", type=cli.integer(1, 1000), help="another number than in training")
    parser.add_argument("--num-iterations", type=cli.integer(1, 1000), help="another number than in training")
    parser.add_argument(
        "--brief", action="store_true", help="set prediction: leave out other numbers of objects and iterations"
    )
    parser.add_argument(
        "--images", type=cli.integer(1, 10**6), help="how many held-out images; as in the config by default"
    )
    parser.add_argument("--data", help="other images: the name of a scene family or a stored data set")
    parser.add_argument("--data-path", type=cli.path, help="other images: their file or folder")
    parser.add_argument("--output", type=cli.path, help="another file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
