"""The published results: trains the recipes, and writes docs/results.md from what lies in their directories.

    python benchmarks/results.py RUN... [--minutes 10] [--seeds 0-9] [--workdir runs/results] [--tiny]
    python benchmarks/results.py --report-only

With --minutes it stops in time, saves, and prints the command that goes on; a finished run is not trained again. A
stretch that is shorter than starting and compiling gets nowhere, and saving takes some seconds more.
Figures of directories that are on another machine stay as docs/results.json has them.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sigma
from limits import limits
from measured import (
    BLANK,
    SEED_COLUMNS,
    Measured,
    conditions,
    devices_of,
    failures,
    finals,
    keep,
    mean,
    measure,
    seed_cells,
    shown,
    titles_of_runs,
    write_beside,
)
from measured import titles as titles_of
from stretches import Deadline, Program, add_flags, conclude, of_seeds, read_flags, train, with_variant
from tables import table
from timing import recipe

from slotjax import cli
from slotjax.config import disk
from slotjax.errors import UserError
from slotjax.system.writing import write_text
from slotjax.tasks import discovery
from slotjax.tasks.set_prediction import PAPER
from slotjax.training.evaluation import build_clustering_score, collect
from slotjax.training.feed import open_feed


@dataclass(frozen=True)
class Entry:
    """A recipe.

    Attributes:
      paper: mean and standard deviation of Locatello et al., 2020, tables 1 and 3, by figure.
      limit: what the scenes that it does worst on have in common.
    """

    config: str
    seeds: tuple[int, ...] = (0, 1, 2)
    paper: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    limit: str = ""


FIVE = (0, 1, 2, 3, 4)  # as many as in the paper
CLEVR6, MULTI_DSPRITES, TETROMINOES = ({"fg_ari": pair} for pair in ((0.988, 0.003), (0.913, 0.003), (0.995, 0.002)))
CLEVR_SET: dict[str, tuple[float, float | None]] = {name: (ap, None) for name, ap in PAPER.items()}
RUNS = {
    "quick": Entry("configs/quick.py", tuple(range(10))),
    "tetrominoes": Entry(
        "configs/tetrominoes.py:small",
        paper=TETROMINOES,
        limit="It fails where pieces touch: a slot draws squares of two of them, or none draws a piece.",
    ),
    "multi_dsprites": Entry(
        "configs/multi_dsprites.py:small",
        paper=MULTI_DSPRITES,
        limit="Shapes are what it lacks: squares and hearts are drawn round, as the masks then are, and what sticks"
        " out is another slot's.",
    ),
    "clevr6": Entry(
        "configs/clevr.py:small",
        paper=CLEVR6,
        limit="Large objects are what it lacks: cubes are drawn round, slots to spare take patches of one, and two of a"
        " colour, one before the other, may share a slot.",
    ),
    "clevr10": Entry(
        "configs/clevr.py:clevr10,small",
        limit="It fails as `clevr6` does, on large objects, and the masks of some small ones are ragged.",
    ),
    "clevr_set": Entry("configs/clevr_set.py:small"),
    "video": Entry("configs/video.py:small", (0, 1, 2, 3)),
    "video_clevr": Entry("configs/video.py:clevr,small"),
    # The paper's own models and schedules, for a GPU.
    "tetrominoes_paper": Entry("configs/tetrominoes.py", FIVE, TETROMINOES),
    "multi_dsprites_paper": Entry("configs/multi_dsprites.py", FIVE, MULTI_DSPRITES),
    "clevr6_paper": Entry("configs/clevr.py:bf16", FIVE, CLEVR6),
    "clevr_set_paper": Entry("configs/clevr_set.py", FIVE, CLEVR_SET),
}
HEADLINES = {  # by task: what the first tables show
    "object_discovery": tuple(f"{kind}{name}" for kind in ("posterior_", "") for name in ("fg_ari", "ari", "miou")),
    "set_prediction": tuple(PAPER),
    "video": (*(f"posterior_{name}" for name in ("fg_ari", "ari", "miou", "frame_fg_ari", "switches")), "fg_ari"),
}
CLUSTERING = {  # what pixels alone give: title, method, how much place counts
    "kmeans": ("k-means on colour", "kmeans", 0.0),
    "kmeans_place": ("k-means on colour and place", "kmeans", 1.0),
    "soft_kmeans": ("soft k-means on colour", "soft_kmeans", 0.0),
}
HEAD = """# Results

<!-- Written by `python benchmarks/results.py`; what is typed in here is lost. -->

`python benchmarks/results.py --report-only` writes this page from the directories of the runs (and from results.json,
which keeps what directories on other machines said); no figure is typed in. Each run is scored once, after its last
step, on held-out images that are the same for every seed: the last evaluation, not the best one. Two segmentations are
scored: the argmax of the responsibilities (`slotjax.responsibilities`), and that of the decoder's masks, the paper's
protocol. Spread is the sample's standard deviation over seeds; a seed that ends with the responsibilities' FG-ARI
below 0.9, or ARI or mIoU below 0.7, counts as failed, and stays in the mean. Where colours are few and far apart, as in
`sprites`, soft k-means ends where k-means does.
Minutes of training are between the lines of metrics.jsonl, evaluations included and long pauses left out; minutes in
all are of the whole commands, over all stretches, with starting, compiling, saving and the report. The GPU and its 16
cores were shared by several runs; what a recipe takes on two cores `slotjax configs` lists. The paper is
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
    if flags.report_only:
        report(flags)
        return 0
    deadline = Deadline(flags.minutes)
    programs = [program for name in flags.runs for program in programs_of(name, flags)]
    wrong = train(programs, deadline)
    complete = all([beside(name, flags, deadline) for name in flags.runs])
    report(flags)
    return conclude(programs, wrong, ["benchmarks/results.py", *(argv or sys.argv[1:])], complete)


def config_of(name: str, flags: argparse.Namespace) -> str:
    return with_variant(RUNS[name].config, "tiny") if flags.tiny else RUNS[name].config


def programs_of(name: str, flags: argparse.Namespace) -> list[Program]:
    """A run's commands, as the flags have it."""
    return of_seeds(flags.workdir / name, config_of(name, flags), (), flags.seeds or RUNS[name].seeds)


def beside(name: str, flags: argparse.Namespace, deadline: Deadline) -> bool:
    """Draws some held-out scenes, and scores what they give otherwise, once; whether all of it is there in time."""
    folder = flags.workdir / name
    first = folder / f"seed_{RUNS[name].seeds[0]}"
    if not Program(first, "").finished:
        return True
    config = recipe_of(first)
    jobs: dict[str, Callable[[], dict]] = {"limits": lambda: limits(first, flags.docs / picture_of(name))}
    feed = open_feed(config)
    if config.model.name == "object_discovery" and feed.num_true is not None:
        jobs["sigma"] = lambda: sigma.own_curve(first)
        for key, (_, method, weight) in CLUSTERING.items():
            score = build_clustering_score(method, config.model.num_slots, feed.num_true, weight)
            jobs[key] = lambda score=score: discovery.summary(collect(score, None, feed.eval_batches()))
    return write_beside(folder, jobs, deadline)


def picture_of(name: str) -> str:
    """Where the picture of a run lies, beside the page."""
    return f"figures/results/{name}.webp"


def recipe_of(workdir: Path):
    return disk.load_valid(workdir / "config.json")


def report(flags: argparse.Namespace) -> None:
    """Writes results.md and results.json."""
    configs = {name: config_of(name, flags) for name in RUNS}
    found = {name: measure(flags.workdir / name, config) for name, config in configs.items()}
    measured = keep(found, {name: (config, ()) for name, config in configs.items()}, flags.docs / "results.json")
    sections = [section(name, config, measured.get(name)) for name, config in configs.items()]
    write_text(flags.docs / "results.md", "\n".join([HEAD, *overviews(configs, measured), *sections]))
    print(f"wrote {flags.docs / 'results.md'}")


def overviews(configs: dict[str, str], measured: dict[str, Measured]) -> list[str]:
    """For each task what was measured, beside what the paper says."""
    rows: dict[str, list] = {task: [] for task in HEADLINES}
    for name, config in configs.items():
        task, found, paper = recipe(config).model.name, measured.get(name), RUNS[name].paper
        done = finals(found, "mse") if task == "object_discovery" else finals(found, HEADLINES[task][0])
        figures = [mean(finals(found, figure)) for figure in HEADLINES[task]]
        said = ", ".join(published(pair) for pair in paper.values()) or BLANK
        cells = [f"[{name}](#{name})", str(len(done)) if done else "not measured yet", minutes(found), *figures]
        rows[task].append([*cells, said, failures(found)])
    return [overview(task, rows[task]) for task in HEADLINES]


def overview(task: str, rows: list[list[str]]) -> str:
    paper = "paper, FG-ARI of the masks" if task == "object_discovery" else "paper"
    titles = [titles_of(task)[figure] for figure in HEADLINES[task]]
    return table(["run", "seeds", "minutes", *titles, paper, "failed"], rows) + "\n"


def minutes(found: Measured | None) -> str:
    """What a finished seed took on average, on each kind of device."""
    took: dict[str, list[float]] = {}
    for run in (found or {"runs": {}})["runs"].values():
        if run["figures"] and run["minutes_in_all"] is not None:
            took.setdefault(devices_of(run), []).append(run["minutes_in_all"])
    return "; ".join(f"{sum(each) / len(each):.0f} on {device}" for device, each in took.items())


def published(figure: tuple[float, float | None] | None) -> str:
    if figure is None:
        return BLANK
    value, deviation = figure
    return f"{value:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def section(name: str, config: str, found: Measured | None) -> str:
    """A run: how it was made, every seed, and what all have in common."""
    command = f"`python benchmarks/results.py {name}` trains `{config}`"
    if found is None:
        return f"## {name}\n\n{command}: not measured yet.\n"
    lines = [f"## {name}\n", f"{command}. {conditions([found])}\n", seeds_table(name, found), ""]
    if limit := found["beside"].get("limits"):
        lines += [said_limits(limit, RUNS[name].limit), f"![Scenes as {name} splits them]({picture_of(name)})\n"]
    if curve := found["beside"].get("sigma"):
        lines += ["Segments of the responsibilities over sigma, one seed:\n", sigma.curve_table(curve), ""]
    return "\n".join(lines)


def said_limits(found: dict, seen: str) -> str:
    """What a picture shows, and what errors cost."""
    count, worst = found["first"], ", ".join(f"{value:.3f}" for value in found.get("worst", []))
    scenes = f"The first {count} held-out scenes" if count > 1 else "The first held-out scene"
    if not worst:
        return f"{scenes}, by the first seed:\n"
    names = {"split": "slots of the same object were one", "shared": "objects that share a slot had their own"}
    costs = ", ".join(f"{found[key]:.3f} if {title}" for key, title in names.items())
    return (
        f"The responsibilities' FG-ARI of the first seed's best checkpoint, {found['own']:.3f}, would be {costs}, and"
        f" {found['both']:.3f} with both. {seen}{' ' if seen else ''}{scenes}, and those it does worst on"
        f" (FG-ARI {worst}):\n"
    )


def seeds_table(name: str, found: Measured) -> str:
    """A row for each seed, their mean, the paper's figures, and what clustering finds."""
    titles, paper, rows = titles_of_runs(found["task"], [found]), RUNS[name].paper, []
    for seed in sorted({*map(str, RUNS[name].seeds), *found["runs"]}, key=int):
        rows.append([seed, *seed_cells(found["runs"].get(seed), list(titles))])
    rest = [BLANK] * len(SEED_COLUMNS)
    rows.append(["mean ± std", *(mean(finals(found, figure)) for figure in titles), *rest])
    if paper:
        rows.append(["paper", *(published(paper.get(figure)) for figure in titles), *rest])
    for key, (title, *_) in CLUSTERING.items():
        if scored := found["beside"].get(key):
            segments = {
                name: shown(scored.get(name.removeprefix("posterior_")))
                for name in discovery.POSTERIOR
                if name != "posterior_mbo"
            }
            rows.append([title, *(segments.get(figure, BLANK) for figure in titles), *rest])
    return table(["seed", *titles.values(), *SEED_COLUMNS], rows)


if __name__ == "__main__":
    cli.run(main)
