"""slotjax export --workdir DIR --to FILE, or --weights NAME --to FILE: a trained model, to run without slotjax.

FILE.stablehlo is for JAX (`jax.export`), on a CPU, GPU or TPU; FILE.onnx is for ONNX Runtime and others. Both take any
number of pictures and name what comes out; docs/deploy.md has ten lines that run each.
"""

import argparse
from pathlib import Path

from slotjax import cli
from slotjax.cli import trained
from slotjax.errors import UserError
from slotjax.system.writing import check_file

SUFFIXES = (".stablehlo", ".onnx")
MOST = 1e-3  # that the file's outputs may differ from slotjax's; usual is 1e-5


def main() -> None:
    arguments = parse()
    trained.check(arguments.workdir, arguments.weights)
    if arguments.to.suffix not in SUFFIXES:
        raise UserError(f"--to {arguments.to}: name a file that ends in {' or '.join(SUFFIXES)}")
    check_file(arguments.to, "--to")
    export(str(arguments.workdir or arguments.weights), arguments.to, arguments.seed)


def parse() -> argparse.Namespace:
    parser = cli.Parser("export", __doc__)
    trained.add_flags(parser)
    parser.add_argument("--to", metavar="FILE", required=True, type=cli.path, help="ending in .stablehlo or .onnx")
    parser.add_argument("--seed", type=cli.integer(0, 2**63 - 1), default=0, help="of the draw of the slots' start")
    return parser.parse_args()


def export(source: str, path: Path, seed: int = 0) -> None:
    """Writes the model of a run's directory or of weights, runs the file on two pictures and says what it is.

    Raises:
      UserError: no such model, one that cannot be exported, or a file that cannot be written.
    """
    from slotjax.export import onnx, stablehlo
    from slotjax.export.program import difference, example, program
    from slotjax.training.restore import load

    form = {onnx.SUFFIX: onnx, stablehlo.SUFFIX: stablehlo}[path.suffix]
    exported = program(*load(source), source, seed)
    try:
        written = form.write(exported, path)
    except OSError as error:
        raise UserError(f"--to {path}: cannot be written ({error.strerror}); name another file") from None
    images = example(exported.picture)
    apart = difference(exported.call(images), form.run(path, images))
    if not apart <= MOST:
        raise UserError(f"--to {path}: its outputs are {apart:.1e} off slotjax's own; do not use it")
    size = path.stat().st_size / 2**20
    print(f"wrote {' and '.join(map(str, written))} ({size:.1f} MiB); run again, outputs differ by {apart:.0e} at most")
    print(f"takes image [b, {', '.join(map(str, exported.picture))}] in [-1, 1], returns {', '.join(exported.outputs)}")


if __name__ == "__main__":
    cli.run(main)
