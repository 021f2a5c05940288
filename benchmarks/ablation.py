"""What makes the background a slot of its own, instead of stripes: one change at a time to configs/quick.py:learned.

    python benchmarks/ablation.py [--seeds 3] [--steps 4000] [--only NAME...] [--minutes 10] [--tiny]

All variants have the same number of steps and of scenes. Every variant's first seed is trained before any second, so
that a table is of use early. Writes docs/ablation.md; --minutes and the rest are as in benchmarks/results.py.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measured import Measured, failures, finals, keep, measure, titles
from stretches import Deadline, Experiment, Program, add_flags, conclude, read_flags, train, with_variant
from tables import SEED_COLUMNS, conditions, mean, seed_cells, table, write

from slotjax import cli
from slotjax.errors import UserError

CONFIG, STEPS = "configs/quick.py:learned", 4000


@dataclass(frozen=True)
class Variant:
    """What differs from the baseline, and why one would try it."""

    reason: str
    changes: tuple[str, ...] = ()


VARIANTS = {
    "baseline": Variant("the config as it is"),
    "gaussian": Variant(
        "the paper's start: every slot from one Gaussian (Locatello et al., 2020)", ("model.initializer.name=gaussian",)
    ),
    "background": Variant("one slot starts apart from the others", ("model.initializer.name=background",)),
    "bo_qsa": Variant(
        "BO-QSA: gradient of the last iteration, which the start gets as it is (Jia et al., 2023)",
        ("model.gradient=straight_through",),
    ),
    "last": Variant(
        "gradient of the last iteration only, as at a fixed point (implicit slot attention, Chang et al., 2022)",
        ("model.gradient=last",),
    ),
    "iterations_1": Variant("no competition over time", ("model.num_iterations=1",)),
    "iterations_3": Variant("the paper's iterations", ("model.num_iterations=3",)),
    "lr_4e-4": Variant("the paper's learning rate", ("train.learning_rate=4e-4",)),
    "lr_7e-4": Variant("the learning rate of configs/quick.py", ("train.learning_rate=7e-4",)),
    "no_warmup": Variant("the paper has a long one", ("train.warmup_steps=0",)),
    "no_clip": Variant("the paper clips no gradients", ("train.clip_norm=0.0",)),
    "glorot": Variant("the original's kernels in the encoder", ("model.encoder.kernel_init=glorot",)),
    "decoder_64": Variant(
        "a weaker decoder, for which two objects at once are harder to draw", ("model.decoder.hidden=(64,64)",)
    ),
    "decoder_256": Variant("a stronger decoder", ("model.decoder.hidden=(256,256)",)),
    "frequencies_2": Variant("smoother masks", ("model.decoder.frequencies=2",)),
    "relative": Variant(
        "a slot is drawn around where it attends (slot-centric frames, Biza et al., 2023, the decoder's half)",
        ("model.decoder.relative=True",),
    ),
    "gaussian_relative": Variant(
        "the same from the paper's start", ("model.initializer.name=gaussian", "model.decoder.relative=True")
    ),
    "chroma_8": Variant(
        "errors of colour weigh more than those of brightness (after Jäckl et al., 2024)", ("train.chroma_weight=8.0",)
    ),
    "groups_8": Variant(
        "what is there is measured against the rest of the picture (GroupNorm, as in SAVi, Kipf et al., 2022)",
        ("model.encoder.groups=8",),
    ),
    "centered": Variant(
        "matches count from their mean over the picture (a step towards optimal transport, Zhang et al., 2023)",
        ("model.centered=True",),
    ),
    "hyper": Variant(
        "every slot has a first layer of its own in the decoder (HyperNetworks, Ha et al., 2017)",
        ("model.decoder.hyper=True",),
    ),
    "slots_7": Variant("slots to spare", ("model.num_slots=7",)),
    "no_ema": Variant("the paper evaluates the parameters themselves", ("train.ema_decay=0.0",)),
    "colored": Variant("the background costs something to draw", ("data.options.background=colored",)),
}
HEAD = """# What makes the background a slot of its own

<!-- Written by `python benchmarks/ablation.py`; what is typed in here is lost. -->

One change at a time to `configs/quick.py:learned`, {steps} steps each, scored after the last on held-out images that
are the same for all (but `colored`, whose backgrounds are). `python benchmarks/ablation.py{flag} --report-only` writes
this page from the runs' directories (and from ablation.json, which keeps what those on other machines said). FG-ARI
leaves the background out, ARI counts it, and foreground mIoU compares outlines: stripes have a high FG-ARI and a low
ARI and mIoU. Mean and sample standard deviation over seeds; a seed whose FG-ARI ends below 0.9 counts as failed, and
stays in the mean. Minutes are as in [results.md](results.md).
"""
TASK, FIGURES = "object_discovery", ("fg_ari", "ari", "miou")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of every run; {STEPS}")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(VARIANTS), help=", ".join(VARIANTS))
    add_flags(parser, "runs/ablation")
    flags = read_flags(parser, argv)
    if unknown := [name for name in flags.only if name not in VARIANTS]:
        raise UserError(f"--only {unknown[0]}: choose among {', '.join(VARIANTS)}")
    if flags.steps < 1:
        raise UserError(f"--steps {flags.steps}: must be at least 1")
    experiments = {name: experiment(name, flags) for name in VARIANTS}
    if flags.report_only:
        report(experiments, flags.steps, flags.docs)
        return 0
    programs = by_seed([experiments[name] for name in flags.only])
    wrong = train(programs, Deadline(flags.minutes))
    report(experiments, flags.steps, flags.docs)
    return conclude(programs, wrong, ["benchmarks/ablation.py", *(argv or sys.argv[1:])])


def experiment(name: str, flags: argparse.Namespace) -> Experiment:
    """A variant as the flags have it; another number of steps is another experiment, in folders of its own."""
    config = with_variant(CONFIG, "tiny") if flags.tiny else CONFIG
    changes = (*VARIANTS[name].changes, f"train.num_steps={flags.steps}")
    seeds = flags.seeds or (0, 1, 2)
    return Experiment(flags.workdir / f"{flags.steps}_steps" / name, config, changes, seeds, bool(flags.together))


def by_seed(experiments: Sequence[Experiment]) -> list[Program]:
    """The programs, all first ones before any second."""
    columns = [one.programs() for one in experiments]
    return [programs[i] for i in range(max(map(len, columns))) for programs in columns if i < len(programs)]


def report(experiments: dict[str, Experiment], steps: int, docs: Path) -> None:
    """Writes ablation.md and ablation.json."""
    keys = {name: f"{name}, {steps} steps" for name in VARIANTS}
    kept = keep({keys[name]: measure(one) for name, one in experiments.items()}, docs / "ablation.json")
    measured = {name: kept[keys[name]] for name in VARIANTS if keys[name] in kept}
    head = HEAD.format(steps=f"{steps:,}", flag="" if steps == STEPS else f" --steps {steps}")
    said = [f"{conditions(measured.values())}\n"] if measured else []
    tables = [variants_table(measured), "\n## Every seed\n", seeds_table(measured)]
    write("\n".join([head, *said, *tables]) + "\n", docs / "ablation.md")


def variants_table(measured: dict[str, Measured]) -> str:
    """A row for each variant: what differs, and mean and deviation over seeds."""
    rows = []
    for name, variant in VARIANTS.items():
        found = measured.get(name)
        figures = [mean(finals(found, figure)) for figure in FIGURES]
        failed = (found and failures(found)) or "not measured yet"
        rows.append([name, "<br>".join(map(code, variant.changes)), variant.reason, *figures, failed])
    return table(
        ["variant", "change", "why one would try it", *(titles(TASK)[figure] for figure in FIGURES), "failed"], rows
    )


def seeds_table(measured: dict[str, Measured]) -> str:
    """A row for each run."""
    names = titles(TASK)
    rows = [
        [name, seed, *seed_cells(run, list(names))]
        for name, found in measured.items()
        for seed, run in found["runs"].items()
    ]
    return table(["variant", "seed", *names.values(), *SEED_COLUMNS], rows)


def code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    cli.run(main)
