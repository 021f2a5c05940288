"""python -m slotjax.report --workdir DIR [DIR ...]: a page about a run, or one that compares several.

With --weights NAME it is about trained weights: those of the library by name, or a file.

The page is one file that needs no network: curves, scores, baselines, and an explorer of what every slot sees.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from slotjax import cli
from slotjax.cli import trained
from slotjax.errors import UserError, first_line
from slotjax.system.console import command
from slotjax.system.writing import check_file, write_text


def main() -> None:
    arguments = parse()
    for workdir in arguments.workdir or [None]:
        trained.check(workdir, arguments.weights)
    if arguments.failed_below is not None and len(arguments.workdir or ()) < 2:
        raise UserError(f"--failed-below {arguments.failed_below:g}: is for a comparison; name several --workdir")
    if arguments.weights:
        report_weights(arguments.weights, arguments.output)
        return
    report(arguments.workdir, arguments.output, arguments.failed_below)


def parse() -> argparse.Namespace:
    parser = cli.Parser("report", __doc__)
    parser.add_argument(
        "--workdir",
        nargs="+",
        metavar="DIR",
        type=cli.path,
        help="directory of a training run; several are compared",
    )
    parser.add_argument("--weights", metavar="NAME", help="trained weights: a name, or a .safetensors file")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=cli.path,
        help="the file to write; DIR/report.html, comparison.html in the folder that holds the runs, NAME_report.html",
    )
    parser.add_argument(
        "--failed-below",
        type=cli.number(-1e30, 1e30),
        metavar="X",
        help="comparison: a run whose ranked figure ends below counts as failed (default: FG-ARI 0.9)",
    )
    return parser.parse_args()


def report(workdirs: Sequence[Path], output: Path | None = None, failed_below: float | None = None) -> Path:
    """Writes the page, says what is in it, and returns where it is.

    Args:
      workdirs: one training run, or several to compare.
      output: the file to write; see `default_output`.
      failed_below: when a compared run counts as failed; see `slotjax.reporting.comparison.build`.

    Raises:
      UserError: a workdir that holds no run, the same one twice, or an output that cannot be written.
    """
    from slotjax.reporting import comparison, history, single, timelapse  # they bring matplotlib and jinja2

    check_distinct(workdirs)
    output = output or default_output(workdirs)
    check_file(output, "--output")
    histories = [history.read(workdir) for workdir in workdirs]
    if len(histories) == 1:
        html, notes = single.build(histories[0])
    else:
        html, notes = comparison.build(histories, failed_below)
    write(html, output)
    if len(histories) == 1:
        own = output == default_output(workdirs)
        animation = output.with_name("timelapse.webp" if own else f"{output.stem}_timelapse.webp")
        try:
            if timelapse.animate(histories[0], animation):
                print(f"wrote {animation}: how it learned, in pictures")
        except OSError as error:
            raise UserError(f"{animation}: cannot be written ({error.strerror}); name another --output") from None
    tell(html, notes, output)
    return output


def report_weights(name: str, output: Path | None = None) -> Path:
    """Writes the page about trained weights, their scores and what their slots see, and returns where it is.

    Args:
      name: of weights that come with the library, or a file that says which pictures it is for.
      output: the file to write; NAME_report.html in the current folder.

    Raises:
      UserError: no such weights, or an output that cannot be written.
    """
    from slotjax.reporting import evaluation, history, single  # they bring matplotlib and jinja2

    subject = evaluation.open_subject(None, name)
    path = Path(subject.name)
    output = output or Path(f"{path.stem}_report.html")
    check_file(output, "--output")
    html, notes = single.build(history.History(path, subject.config, [], 0))
    write(html, output)
    tell(html, notes, output)
    return output


def tell(html: str, notes: Sequence[str], output: Path) -> None:
    for note in notes:
        print(f"note: {note}")
    print(f"wrote {output} ({len(html.encode()) / 1e6:.1f} MB); open it in a browser")


def default_output(workdirs: Sequence[Path]) -> Path:
    """DIR/report.html; for several runs comparison.html in the folder they share, or else in the current one."""
    if len(workdirs) == 1:
        return workdirs[0] / "report.html"
    parents = {workdir.absolute().parent for workdir in workdirs}
    return (workdirs[0].parent if len(parents) == 1 else Path()) / "comparison.html"


def check_distinct(workdirs: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for workdir in workdirs:
        if (name := os.path.realpath(workdir)) in seen:
            raise UserError(f"--workdir {workdir}: given twice; name every run once")
        seen[name] = workdir


def write(html: str, output: Path) -> None:
    try:
        write_text(output, html)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror}); name another --output") from None


def report_after_training(workdir: Path) -> None:
    """The report of a run that has just ended. Whatever befalls it, the run stays a success; it says so."""
    try:
        report([workdir])
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        print(f"the report was not written ({kind}{first_line(error)})")
        again = command("report --workdir {workdir}", workdir=workdir)
        print(f"the run itself is complete; try again with {again}")


if __name__ == "__main__":
    cli.run(main)
