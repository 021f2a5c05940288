"""The parts of the literature side by side: one change at a time, on the same scenes, for as many pictures.

    python benchmarks/parts.py [--scenes sprites clevr textured] [--only NAME...] [--seeds 3] [--minutes 10] [--tiny]

Every row's first seed is trained before any second, so that a table is of use early. Writes docs/parts.md; --minutes
and the rest are as in benchmarks/results.py.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import how_many
import jax
import numpy as np
from measured import (
    BLANK,
    SEED_COLUMNS,
    Measured,
    conditions,
    failures,
    finals,
    keep,
    mean,
    measure,
    seed_cells,
    titles_of_runs,
    write_beside,
)
from measured import titles as titles_of
from memory import MIB, compiled_bytes
from parts_rows import ROWS, SCENES
from stretches import Deadline, Program, add_flags, conclude, of_seeds, read_flags, train, with_variant
from tables import table
from timing import clocked, in_turns, noise_batch, ratio, recipe, run_on, training_step

import slotjax
from slotjax import cli
from slotjax.config import disk
from slotjax.errors import UserError
from slotjax.system.writing import write_text
from slotjax.training.feed import open_feed

ROUNDS = 15  # steps that are timed
MERGED = ("slots_11",)  # rows that are scored a second time, with slots that overlap made one
HEAD = """# Parts of the literature, side by side

<!-- Written by `python benchmarks/parts.py`; what is typed in here is lost. -->

One change at a time to a recipe, for the same number of pictures, scored after the last step on held-out images that
are the same for all. `python benchmarks/parts.py --report-only` writes this page from the runs' directories (and from
parts.json, which keeps what those on other machines said). FG-ARI leaves the background out, ARI counts it, and
foreground mIoU compares outlines: stripes have a high FG-ARI and a low ARI and mIoU. Both segmentations are scored: the
argmax of the responsibilities (`slotjax.responsibilities`), and that of the decoder's masks. Slots in use win at least
one pixel in a hundred; slots drawn are those that a selection leaves. Recipes are cut short: that for sprites to half
of its steps, that for CLEVR to 10,000 steps of 64x64 pictures; what changes on the way changes sooner. Mean and sample
standard deviation over seeds; a seed that ends with the responsibilities' FG-ARI below 0.9, or ARI or mIoU below 0.7,
counts as failed, and stays in the mean. Of a step there are the processor time over that of the baseline, turn by turn,
and what memory each further picture takes. Minutes are as in [results.md](results.md).
"""
TAKE = """## What to take when

By the rows for sprites. Three seeds of the recipe as it is lie between 0.936 and 0.971, so that a difference below
0.02 says nothing.

- More slots than objects, if their cost is no matter: by the responsibilities nothing is ahead of `slots_11`. Slots to
  spare stay empty where undecided masks and objects that are shared have a price. To leave them out, `needed`, which
  learns nothing: it draws about one for each object, and one. `adaslot` drew too few in one seed, and `stick_breaking`
  one slot in one seed, and all of them in two: they depend on their price. On CLEVR, begun from a trained model,
  `gumbel` draws about as many as `needed`, and `stick_breaking` more; the ARI and mIoU of both are lower
  ([how many](how_many.md)). With `distinct` one seed of three fails.
- A start of each slot's own, where a background is to be one segment: from a common Gaussian, or from what is
  predicted, it is everybody's, and no seed of six has an ARI above 0.7.
- A first slot that draws the same in every picture (`common_background`), where scenes share a background and the
  recipe's slots do not: it fails in one seed of three here, but Tetrominoes failed in two of three without it.
- The weighted mean, and the softmax over slots. A sum is unreliable unless it is scaled; normalised ones and
  four heads are behind by 0.04 or more; optimal transport costs more and finds no more, where objects are few.
- The gradient of all iterations, while they are few: with that of the last alone, or with BO-QSA's, the background was
  shared in one seed of three; implicit ones depend on the seed altogether.
- The picture's frame: with so few steps slots' own are behind (`frame_slot`) or fail (`isa`). On CLEVR it is the other
  way round (`frame_picture`).
- A decoder that draws each slot on its own. The mixer parts the picture into territories, and the transformer, which is
  told the patches before, asks one slot for everything. Both are for [features](features.md).
- Muon in place of Adam, at the same learning rate, for a smaller error and sharper masks: in every seed the squared
  error is lower, by three tenths in the mean, and the masks' FG-ARI higher. The responsibilities' is no different. So
  small a model's steps take a third longer.
- The losses `entropy` (undecided masks) and `expected` (pixels that slots share): the squared error alone is behind, in
  FG-ARI and by its masks. `perceptual` doubles a step and finds no more. The mixture's likelihood does not train.

The rows for CLEVR are of 10,000 steps of an earlier recipe, after which no seed is good enough, so they say what is
sooner. The U-Net, whose mIoU is the highest, and BO-QSA's gradient are in the recipe now. `frame_picture` and
`predicted` fail. With `isa` objects part best, but no seed has an ARI above 0.62.
In FG-ARI no other row is further from the recipe as it is than that one's seeds are from each other, 0.771 to 0.879.

On patterned scenes (`textured`) no row is good after as many steps: slots part the ground, as
[Karazija et al. (2021)](https://arxiv.org/abs/2111.10265) found of models that draw pixels. The U-Net, whose tokens see
their surroundings, has the higher ARI and mIoU there, in every seed, than the recipe as it is. For photographs there
are the [features](features.md) of a backbone.
"""
TAIL = """## What is not here, and why

- *A codebook of prototypes* (MetaSlot) is made by running averages and by replacing entries that nobody uses, a state
  beside the parameters. What it is for there, to leave out slots that are alike, is `selection=distinct`.
- *SlotContrast* compares the slots of a video with those of other videos too; `contrast` keeps to the same video, as a
  step is the mean of what each gives, over any number of devices. It is for videos, and has no row in these tables of
  pictures.
"""
FIGURES = tuple(f"{kind}{name}" for kind in ("posterior_", "") for name in ("fg_ari", "ari", "miou"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", metavar="NAME", default=["sprites"], help=", ".join(SCENES))
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(ROWS), help=", ".join(ROWS))
    add_flags(parser, "runs/parts")
    flags = read_flags(parser, argv)
    for flag, names, known in (("--scenes", flags.scenes, SCENES), ("--only", flags.only, ROWS)):
        if unknown := [name for name in names if name not in known]:
            raise UserError(f"{flag} {unknown[0]}: choose among {', '.join(known)}")
    if flags.report_only:
        report(flags)
        return 0
    deadline = Deadline(flags.minutes)
    wanted = [(scenes, name) for scenes in flags.scenes for name in SCENES[scenes].rows if name in flags.only]
    programs = by_seed([programs_of(scenes, name, flags) for scenes, name in wanted])
    wrong = train(programs, deadline)
    complete = all([beside(scenes, name, flags, deadline) for scenes, name in wanted])
    report(flags)
    return conclude(programs, wrong, ["benchmarks/parts.py", *(argv or sys.argv[1:])], complete)


def config_of(scenes: str, flags: argparse.Namespace) -> str:
    return with_variant(SCENES[scenes].config, "tiny") if flags.tiny else SCENES[scenes].config


def changes_of(scenes: str, name: str, tiny: bool = False) -> tuple[str, ...]:
    """The fields of a row, the last of those that are set twice."""
    common, own = () if tiny else SCENES[scenes].changes, ROWS[name].changes
    if any(change.startswith("model.encoder.name=") for change in own):  # whose fields are others
        common = tuple(change for change in common if not change.startswith("model.encoder."))
    return tuple({change.partition("=")[0]: change for change in (*common, *own)}.values())


def programs_of(scenes: str, name: str, flags: argparse.Namespace) -> list[Program]:
    folder, changes = flags.workdir / scenes / name, changes_of(scenes, name, flags.tiny)
    return of_seeds(folder, config_of(scenes, flags), changes, flags.seeds or (0, 1, 2))


def by_seed(programs: Sequence[Sequence[Program]]) -> list[Program]:
    """All first ones before any second."""
    return [program for program in chain(*zip_longest(*programs)) if program]


def beside(scenes: str, name: str, flags: argparse.Namespace, deadline: Deadline) -> bool:
    """Measures what a step costs, once; whether it is there, or nothing was trained."""
    configs = [recipe(config_of(scenes, flags), *changes_of(scenes, one, flags.tiny)) for one in ("baseline", name)]
    folder, jobs = flags.workdir / scenes / name, {"cost": lambda: cost(*configs)}
    for seed in sorted(folder.glob("seed_*")) if name in MERGED else ():
        if Program(seed, "").finished:
            jobs[f"merged_{seed.name}"] = functools.partial(merged, seed)
    return not folder.exists() or write_beside(folder, jobs, deadline)


def cost(baseline, config) -> dict[str, float]:
    """The processor time of a step, over the baseline's, and MiB of memory for each further picture."""
    steps = {
        name: clocked(training_step(run_on(one, jax.devices()[:1]), noise_batch(one)), time.process_time)
        for name, one in (("own", config), ("baseline", baseline))
    }
    seconds = in_turns(steps, ROUNDS)
    jax.clear_caches()  # LLVM finds no memory for the programs of thirty rows together
    return {
        "ms": 1e3 * statistics.median(seconds["own"]),
        "times": ratio(seconds["own"], seconds["baseline"]),
        "mib": compiled_bytes(config, config.train.batch_size) / MIB,
    }


def merged(folder: Path) -> dict[str, float]:
    """The figures of a run whose slots are merged where their responsibilities overlap."""
    feed = open_feed(disk.load_valid(folder / "config.json"))
    scored = how_many.figures(*slotjax.load(folder), feed.eval_batches(), feed.num_true)[1]
    names = {name: name if name == "slots_used" else f"posterior_{name}" for name in scored}
    return {names[name]: float(np.nanmean(values)) for name, values in scored.items()}


def report(flags: argparse.Namespace) -> None:
    """Writes parts.md and parts.json."""
    found, made = {}, {}
    for scenes in SCENES:
        config = config_of(scenes, flags)
        for name in SCENES[scenes].rows:
            key, changes = f"{scenes}/{name}", changes_of(scenes, name, flags.tiny)
            found[key], made[key] = measure(flags.workdir / key, config, changes), (config, changes)
    measured = keep(found, made, flags.docs / "parts.json")
    sections = [section(scenes, measured) for scenes in SCENES]
    write_text(flags.docs / "parts.md", "\n".join([HEAD, *sections, TAKE, TAIL]))
    print(f"wrote {flags.docs / 'parts.md'}")


def section(scenes: str, measured: Mapping[str, Measured]) -> str:
    """The tables of one kind of scenes."""
    own = {name: measured.get(f"{scenes}/{name}") for name in SCENES[scenes].rows}
    trained = {name: found for name, found in own.items() if found}
    common = "".join(f" `{change}`" for change in SCENES[scenes].changes)
    said = f"`{SCENES[scenes].config}`{' with' if common else ''}{common}"
    head = f"## {scenes}\n\n`python benchmarks/parts.py --scenes {scenes}` trains {said}"
    if not trained:
        return f"{head}: not measured yet.\n"
    parts = [f"{head}. {conditions(trained.values())}\n", rows_table(own), "\n### Every seed\n", seeds_table(trained)]
    return "\n".join(parts) + "\n"


def rows_table(own: Mapping[str, Measured | None]) -> str:
    """What differs, mean and deviation over seeds, and costs."""
    rows = []
    for name, found in own.items():
        figures = [mean(finals(found, figure)) for figure in (*FIGURES, "slots_used", "slots_drawn")]
        changes = "<br>".join(f"`{change}`" for change in ROWS[name].changes)
        rows.append([name, changes, ROWS[name].reason, *figures, failures(found) or "not measured yet", *costs(found)])
        if scored := [one for job, one in found["beside"].items() if job.startswith("merged_")] if found else []:
            figures = [mean([one.get(figure) for one in scored]) for figure in (*FIGURES, "slots_used")]
            rows.append([f"{name}, merged", "", "slots whose responsibilities overlap are one", *figures, *[BLANK] * 4])
    titles = [*(titles_of("object_discovery")[figure] for figure in FIGURES), "slots in use", "slots drawn"]
    return table(["row", "change", "what it is", *titles, "failed", "times a step", "MiB"], rows)


def costs(found: Measured | None) -> list[str]:
    one = found["beside"].get("cost") if found else None
    return [f"{one['times']:.2f}", f"{one['mib']:.1f}"] if one else [BLANK, BLANK]


def seeds_table(measured: Mapping[str, Measured]) -> str:
    """A row for each run."""
    titles = titles_of_runs("object_discovery", measured.values())
    rows = [
        [name, seed, *seed_cells(run, list(titles))]
        for name, found in measured.items()
        for seed, run in found["runs"].items()
    ]
    return table(["row", "seed", *titles.values(), *SEED_COLUMNS], rows)


if __name__ == "__main__":
    cli.run(main)
