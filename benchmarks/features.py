"""Runs on features and on pixels, each beside what needs no learning, on its own held-out pictures.

python benchmarks/features.py RUN [RUN ...] [--images N]

A row for each run's slots, by responsibilities and by masks, for k-means on what these slots see, with as many clusters
as there are slots, and for as many equal blocks. The time is that between the run's first and last logged step.
"""

import argparse
from pathlib import Path

from tables import table

from slotjax.reporting.evaluation import changed, evaluate, open_subject
from slotjax.reporting.history import labels, read

FIGURES = {"fg_ari": "FG-ARI", "mbo": "mBO", "miou": "mIoU", "ari": "ARI"}
METHODS = {"kmeans": "k-means", "blocks": "blocks"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    parser.add_argument("--images", type=int, help="held-out pictures; as in the run's config by default")
    arguments = parser.parse_args()
    names = dict(zip(arguments.runs, labels(arguments.runs), strict=True))
    rows = [row for run, name in names.items() for row in rows_of(run, name, arguments.images)]
    print(table(["run", "", *FIGURES.values(), "steps", "time"], rows))


def rows_of(run: Path, name: str, images: int | None) -> list[list[str]]:
    slots = figures_of(run, images)
    spent = [f"{slots['step']:,}", read(run).took or ""]
    rows = [[name, "slots", *shown(slots, "posterior_"), *spent], [name, "slots, masks", *shown(slots), *spent]]
    return rows + [
        [name, title, *shown(figures_of(run, images, method=method)), "", ""] for method, title in METHODS.items()
    ]


def figures_of(run: Path, images: int | None, **asked: str) -> dict:
    subject = open_subject(run, None)
    asked |= {} if images is None else {"images": images}
    return evaluate(subject, changed(subject, asked))[0]


def shown(figures: dict, kind: str = "") -> list[str]:
    return [f"{figures[kind + name]:.3f}" for name in FIGURES]


if __name__ == "__main__":
    main()
