"""What each choice of configs/quick.py gives: one change at a time, from three seeds.

    python benchmarks/ablation.py [--only NAME...] [--seeds 3] [--minutes 10] [--tiny]

Every row's first seed is trained before any second, so that a table is of use early. Writes docs/ablation.md; --minutes
and the rest are as in benchmarks/results.py.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain, zip_longest

from measured import (
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
)
from measured import titles as titles_of
from stretches import Deadline, Program, add_flags, conclude, of_seeds, read_flags, train, with_variant
from tables import table

from slotjax import cli
from slotjax.errors import UserError
from slotjax.system.writing import write_text

CONFIG = "configs/quick.py"
ROWS: dict[str, tuple[str, str]] = {  # the changes, and why one would try them
    "baseline": ("", "the config as it is"),
    "gaussian": (
        "model.initializer.name=gaussian",
        "the paper's start: every slot from one Gaussian (Locatello et al., 2020)",
    ),
    "frame_slot": (
        "model.decoder.frame=slot",
        "a slot is drawn around where it attends (the decoder's half of slot-centric frames, Biza et al., 2023)",
    ),
    "position_shared": (
        "model.decoder.position=shared",
        "slot and place only add up in the decoder, as in the paper; no first layer of each slot's own",
    ),
    "mse_alone": (
        "train.losses.entropy=((1,0.0),) train.losses.expected=((1,0.0),)",
        "the paper's loss: undecided masks and shared objects have no price",
    ),
    "iterations_3": ("model.num_iterations=3", "the paper's iterations"),
    "centered": (
        "model.centered=True",
        "matches count from their mean over the picture (a step towards optimal transport, Zhang et al., 2023)",
    ),
    "groups_8": (
        "model.encoder.groups=8",
        "what is there is measured against the rest of the picture (GroupNorm, as in SAVi, Kipf et al., 2022)",
    ),
    "glorot": ("model.encoder.kernel_init=glorot", "the original's kernels in the encoder"),
    "chroma_7": (
        "train.losses.chroma=7.0",
        "errors of colour weigh more than those of brightness (after Jäckl et al., 2024)",
    ),
    "bo_qsa": (
        "model.gradient=straight_through",
        "BO-QSA: gradient of the last iteration, which the start gets as it is (Jia et al., 2023)",
    ),
    "update_sum": (
        "model.update=sum",
        "a slot gathers a sum and no mean (Locatello et al., 2020, sec. 4.3)",
    ),
    "normalize_inputs": ("model.normalize=inputs", "no competition: the softmax of ordinary attention"),
}
HEAD = """# What each choice of `configs/quick.py` gives

<!-- Written by `python benchmarks/ablation.py`; what is typed in here is lost. -->

One change at a time to `configs/quick.py`, scored after the last step on held-out images that are the same for all.
`python benchmarks/ablation.py --report-only` writes this page from the runs' directories (and from ablation.json, which
keeps what those on other machines said). FG-ARI leaves the background out, ARI counts it, and foreground mIoU compares
outlines: stripes have a high FG-ARI and a low ARI and mIoU. Both segmentations are scored: the argmax of the
responsibilities (`slotjax.responsibilities`), and that of the decoder's masks. Mean and sample standard deviation over
seeds; a seed that ends with the responsibilities' FG-ARI below 0.9 or mIoU below 0.7 counts as failed, and stays in the
mean. Minutes are as in [results.md](results.md).
"""
FIGURES = tuple(f"{kind}{name}" for kind in ("posterior_", "") for name in ("fg_ari", "ari", "miou"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(ROWS), help=", ".join(ROWS))
    add_flags(parser, "runs/ablation")
    flags = read_flags(parser, argv)
    if unknown := [name for name in flags.only if name not in ROWS]:
        raise UserError(f"--only {unknown[0]}: choose among {', '.join(ROWS)}")
    if flags.report_only:
        report(flags)
        return 0
    programs = by_seed([programs_of(name, flags) for name in flags.only])
    wrong = train(programs, Deadline(flags.minutes))
    report(flags)
    return conclude(programs, wrong, ["benchmarks/ablation.py", *(argv or sys.argv[1:])])


def config_of(flags: argparse.Namespace) -> str:
    return with_variant(CONFIG, "tiny") if flags.tiny else CONFIG


def changes_of(name: str) -> tuple[str, ...]:
    return tuple(ROWS[name][0].split())


def programs_of(name: str, flags: argparse.Namespace) -> list[Program]:
    return of_seeds(flags.workdir / name, config_of(flags), changes_of(name), flags.seeds or (0, 1, 2))


def by_seed(programs: Sequence[Sequence[Program]]) -> list[Program]:
    """All first ones before any second."""
    return [program for program in chain(*zip_longest(*programs)) if program]


def report(flags: argparse.Namespace) -> None:
    """Writes ablation.md and ablation.json."""
    config = config_of(flags)
    found = {name: measure(flags.workdir / name, config, changes_of(name)) for name in ROWS}
    made = {name: (config, changes_of(name)) for name in ROWS}
    measured = keep(found, made, flags.docs / "ablation.json")
    said = [f"{conditions(measured.values())}\n"] if measured else []
    seeds = ["\n## Every seed\n", seeds_table(measured)] if measured else []
    write_text(flags.docs / "ablation.md", "\n".join([HEAD, *said, rows_table(measured), *seeds]) + "\n")
    print(f"wrote {flags.docs / 'ablation.md'}")


def rows_table(measured: dict[str, Measured]) -> str:
    """What differs, and mean and deviation over seeds."""
    rows = []
    for name, (change, reason) in ROWS.items():
        found = measured.get(name)
        figures = [mean(finals(found, figure)) for figure in FIGURES]
        changes = "<br>".join(f"`{one}`" for one in change.split())
        rows.append([name, changes, reason, *figures, failures(found) or "not measured yet"])
    titles = [titles_of("object_discovery")[figure] for figure in FIGURES]
    return table(["row", "change", "why one would try it", *titles, "failed"], rows)


def seeds_table(measured: dict[str, Measured]) -> str:
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
