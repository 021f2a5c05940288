"""The published results: trains the runs, and writes docs/results.md from what lies in their directories.

    python benchmarks/results.py RUN... [--minutes 10] [--seeds 0-9] [--workdir runs/results] [--tiny]
    python benchmarks/results.py --report-only

With --minutes it stops in time, saves, and prints the command that goes on; a finished run is not trained again. A
stretch that is shorter than starting and compiling gets nowhere, and saving takes some seconds more.
Figures of directories that are on another machine stay as docs/results.json has them.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curves import draw
from measured import Measured, failures, finals, keep, measure, named_config, titles
from stretches import Deadline, Experiment, add_flags, conclude, progress, read_flags, run, train, with_variant
from tables import BLANK, SEED_COLUMNS, conditions, mean, seed_cells, shown, table, write

from slotjax import cli, configuration
from slotjax.errors import UserError
from slotjax.reporting.settings import spread
from slotjax.tasks.set_prediction import PAPER


@dataclass(frozen=True)
class Entry:
    """A row of the paper's tables, or a run of our own.

    Attributes:
      paper: mean and standard deviation of Locatello et al., 2020, tables 1 and 3, by figure.
    """

    config: str
    changes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    together: bool = False
    paper: dict[str, tuple[float, float | None]] = field(default_factory=dict)


RUNS = {
    "clevr6": Entry("configs/clevr.py:bf16", together=True, paper={"fg_ari": (0.988, 0.003)}),
    "multi_dsprites": Entry("configs/multi_dsprites.py", together=True, paper={"fg_ari": (0.913, 0.003)}),
    "tetrominoes": Entry("configs/tetrominoes.py", together=True, paper={"fg_ari": (0.995, 0.002)}),
    "clevr_set": Entry("configs/clevr_set.py", together=True, paper={name: (ap, None) for name, ap in PAPER.items()}),
    "clevr6_brief": Entry("configs/clevr.py:bf16,brief", seeds=(0,)),
    "multi_dsprites_brief": Entry("configs/multi_dsprites.py:brief", seeds=(0,)),
    "tetrominoes_brief": Entry("configs/tetrominoes.py:brief", seeds=(0,)),
    "quick": Entry("configs/quick.py", seeds=tuple(range(10))),
    "quick_learned": Entry("configs/quick.py:learned", seeds=(0, 1, 2)),
    "tetrominoes_quick": Entry("configs/tetrominoes.py:quick", seeds=(0, 1, 2)),
    "tetrominoes_hyper": Entry("configs/tetrominoes.py:quick,hyper", seeds=(0, 1, 2)),
    "multi_dsprites_quick": Entry("configs/multi_dsprites.py:quick", seeds=(0, 1, 2)),
    "clevr6_quick": Entry("configs/clevr.py:quick", seeds=(0, 1, 2)),
    "clevr10_quick": Entry("configs/clevr.py:clevr10,quick,relative", seeds=(0, 1, 2)),
    "clevr6_refined": Entry("configs/clevr.py:quick,relative,refine", seeds=(0, 1, 2)),
    "clevr10_refined": Entry("configs/clevr.py:clevr10,quick,relative,refine", seeds=(0, 1, 2)),
    "clevr6_longer": Entry("configs/clevr.py:quick,relative,longer", seeds=(0, 1)),
    "clevr6_hyper": Entry("configs/clevr.py:quick,relative,hyper", seeds=(0,)),
    "clevr10_hyper": Entry("configs/clevr.py:clevr10,quick,relative,hyper", seeds=(0,)),
    "clevr_set_quick": Entry("configs/clevr_set.py:quick", seeds=(0, 1, 2)),
}
HEADLINES = {"object_discovery": ("fg_ari",), "set_prediction": tuple(PAPER)}  # by task: what the first table shows
CLUSTERING = {  # file: title, and what slotjax.evaluate takes
    "kmeans": ("k-means on colour", "kmeans", 0),
    "kmeans_1": ("k-means on colour and position (weight 1)", "kmeans", 1),
    "kmeans_2": ("k-means on colour and position (weight 2)", "kmeans", 2),
    "soft_kmeans": ("soft k-means on colour", "soft_kmeans", 0),
}
HEAD = """# Results

<!-- Written by `python benchmarks/results.py`; what is typed in here is lost. -->

`python benchmarks/results.py --report-only` writes this page from the directories of the runs (and from results.json,
which keeps what directories on other machines said); no figure is typed in. Each run is scored once, after its last
step, on held-out images that are the same for every seed: the last evaluation, not the best one. Spread is the sample's
standard deviation over seeds; a seed whose FG-ARI ends below 0.9 counts as failed, and stays in the mean.
Minutes of training are between the lines of metrics.jsonl, evaluations included and long pauses left out; minutes in
all are of the whole commands, over all stretches, with starting, compiling, saving and the report. The paper is
Locatello et al., 2020, which trains on the original data sets; here scenes are rendered while training, unless a config
says otherwise.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=", ".join(RUNS))
    add_flags(parser, "runs/results")
    flags = read_flags(parser, argv)
    if unknown := [name for name in flags.runs if name not in RUNS]:
        raise UserError(f"RUN {unknown[0]}: choose among {', '.join(RUNS)}")
    if not flags.runs and not flags.report_only:
        raise UserError(f"RUN is missing: choose among {', '.join(RUNS)}, or give --report-only")
    experiments = {name: experiment(name, flags) for name in RUNS}
    chosen = [experiments[name] for name in flags.runs]
    programs = [program for one in chosen for program in one.programs()]
    if flags.report_only:
        report(experiments, flags.docs)
        return 0
    deadline = Deadline(flags.minutes)
    wrong = train(programs, deadline)
    complete = all([cluster(one, deadline) for one in chosen])
    report(experiments, flags.docs)
    return conclude(programs, wrong, ["benchmarks/results.py", *(argv or sys.argv[1:])], complete)


def experiment(name: str, flags: argparse.Namespace) -> Experiment:
    """The entry as the flags have it."""
    entry = RUNS[name]
    config = with_variant(entry.config, "tiny") if flags.tiny else entry.config
    together = entry.together if flags.together is None else flags.together
    return Experiment(flags.workdir / name, config, entry.changes, flags.seeds or entry.seeds, together)


def cluster(experiment: Experiment, deadline: Deadline) -> bool:
    """Scores clustering of the same images' pixels, once; whether all of it is there, or none is to be had."""
    directory = next((path for path in sorted(experiment.folder.glob("seed_[0-9]*")) if progress(path)), None)
    if directory is None or configuration.load(directory / "config.json").model.name != "object_discovery":
        return True
    for name, (title, method, weight) in CLUSTERING.items():
        output = (experiment.folder / "clustering" / f"{name}.json").absolute()
        if output.exists():
            continue
        if deadline.passed:
            return False
        print(f"{experiment.folder}: {title}", flush=True)
        output.parent.mkdir(exist_ok=True)
        flags = ("--method", method, "--position-weight", str(weight), "--output", str(output))
        try:
            run("-m", "slotjax.evaluate", "--workdir", str(directory.absolute()), *flags)
        except UserError as error:  # data without masks, say: the runs' own figures are still worth a table
            print(f"note: {error}")
            break
    return True


def report(experiments: dict[str, Experiment], docs: Path) -> None:
    """Writes results.md, results.json and the curves."""
    measured = keep({name: measure(one) for name, one in experiments.items()}, docs / "results.json")
    for name, one in experiments.items():
        draw(name, one.folder, docs / "figures" / f"results_{name}.png")
    sections = [section(name, measured.get(name), docs) for name in RUNS]
    write("\n".join([HEAD, overview(measured), *sections]), docs / "results.md")


def overview(measured: dict[str, Measured]) -> str:
    """What the paper says beside what was measured."""
    rows = []
    for name, entry in RUNS.items():
        found, task = measured.get(name), named_config(entry.config).model.name
        for i, figure in enumerate(HEADLINES[task]):
            done, paper = finals(found, figure), entry.paper.get(figure)
            cells = [mean(done) or "not measured yet", str(len(done)), (found and failures(found)) or BLANK]
            link = f"[{name}](#{name})" if i == 0 else BLANK
            rows.append([link, titles(task)[figure], published(paper), *cells])
    return table(["run", "figure", "paper", "here", "seeds", "failed"], rows) + "\n"


def published(figure: tuple[float, float | None] | None) -> str:
    if figure is None:
        return BLANK
    value, deviation = figure
    return f"{value:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def section(name: str, found: Measured | None, docs: Path) -> str:
    """A run: how it was made, every seed, and what all have in common."""
    entry = RUNS[name]
    command = f"`python benchmarks/results.py {name}` trains `{entry.config}`"
    command += f" with {', '.join(entry.changes)}" if entry.changes else ""
    if found is None:
        return f"## {name}\n\n{command}: not measured yet.\n"
    lines = [f"## {name}\n", f"{command}. {conditions([found])}\n", seeds_table(entry, found), ""]
    if failed := failures(found):
        lines.append(f"Failed: {failed}.\n")
    if (docs / "figures" / f"results_{name}.png").exists():
        lines.append(f"![{name}: held-out figures over steps and over minutes](figures/results_{name}.png)\n")
    return "\n".join(lines)


def seeds_table(entry: Entry, found: Measured) -> str:
    """A row for each seed, their mean and median, the paper's figures, and what clustering finds."""
    names, rows = titles(found["task"]), []
    for seed in sorted({*map(str, entry.seeds), *found["runs"]}, key=int):
        rows.append([seed, *seed_cells(found["runs"].get(seed), list(names))])
    rows.append(["mean ± std", *(mean(finals(found, figure)) for figure in names), BLANK, BLANK, BLANK])
    medians = [middle.median if (middle := spread(finals(found, figure))) else None for figure in names]
    rows.append(["median", *map(shown, medians), BLANK, BLANK, BLANK])
    if entry.paper:
        rows.append(["paper", *(published(entry.paper.get(figure)) for figure in names), BLANK, BLANK, BLANK])
    for key, (title, *_) in CLUSTERING.items():
        if scored := found["clustering"].get(key):
            rows.append([title, *(shown(scored.get(figure)) for figure in names), BLANK, BLANK, BLANK])
    return table(["seed", *names.values(), *SEED_COLUMNS], rows)


if __name__ == "__main__":
    cli.run(main)
