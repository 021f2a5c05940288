"""Runs on features and on pixels, each beside what needs no learning, on its own held-out pictures.

python benchmarks/features.py RUN [RUN ...] [--images N] [--figure FILE]

A row for each run's slots, by responsibilities and by masks; behind the first run of those that see the same, one for
k-means on that, with as many clusters as there are slots, and one for as many equal blocks. FILE gets the first
held-out pictures of the first run, their objects, and what each run finds in them.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tables import table

import slotjax
from slotjax.drawing import slots as draw
from slotjax.reporting.evaluation import Subject, changed, evaluate, open_subject
from slotjax.reporting.history import labels
from slotjax.training.feed import open_feed

FIGURES = {"fg_ari": "FG-ARI", "mbo": "mBO", "miou": "mIoU", "ari": "ARI"}
METHODS = {"kmeans": "k-means", "blocks": "blocks"}
SHOWN, SIZE = 6, (112, 112)  # pictures in the figure, and of how many pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    parser.add_argument("--images", type=int, help="held-out pictures; as in the run's config by default")
    parser.add_argument("--figure", metavar="FILE", type=Path)
    arguments = parser.parse_args()
    subjects = {
        name: open_subject(run, None)
        for run, name in zip(arguments.runs, labels(arguments.runs), strict=True)
    }  # fmt: skip
    rows, seen = [], set()
    for name, subject in subjects.items():
        rows += of_slots(subject, name, arguments.images)
        if sight(subject) not in seen:
            rows += of_baselines(subject, name, arguments.images)
        seen.add(sight(subject))
    print(table(["run", "", *FIGURES.values(), "steps"], rows))
    if arguments.figure:
        Image.fromarray(figure(subjects)).save(arguments.figure, quality=90)


def of_slots(subject: Subject, name: str, images: int | None) -> list[list[str]]:
    figures = figures_of(subject, images)
    step = f"{figures['step']:,}"
    return [[name, "slots", *shown(figures, "posterior_"), step], [name, "slots, masks", *shown(figures), step]]


def of_baselines(subject: Subject, name: str, images: int | None) -> list[list[str]]:
    return [[name, title, *shown(figures_of(subject, images, method=method)), ""] for method, title in METHODS.items()]


def sight(subject: Subject) -> tuple:
    """What the baselines depend on."""
    model, data = subject.config.model, subject.config.data
    return model.backbone.to_json(), tuple(model.resolution), model.num_slots, data.name, data.path, data.eval_images


def figures_of(subject: Subject, images: int | None, **asked: str) -> dict:
    asked |= {} if images is None else {"images": images}
    return evaluate(subject, changed(subject, asked))[0]


def shown(figures: dict, kind: str = "") -> list[str]:
    return [f"{figures[kind + name]:.3f}" for name in FIGURES]


def figure(subjects: dict[str, Subject]) -> np.ndarray:
    """Pictures, their true objects, and each run's segments by the responsibilities."""
    columns: dict[str, list[np.ndarray]] = {}
    for name, subject in subjects.items():
        model, params, _ = subject.trained
        batch = next(open_feed(subject.config).eval_batches())
        pictures, truths = (np.asarray(batch[key][:SHOWN]) for key in ("image", "segments"))
        found = np.asarray(slotjax.segments(model, params, pictures, jax.random.key(0)))
        if not columns:
            columns = {"picture": [draw.to_uint8(picture) for picture in pictures]}
            columns["objects"] = [draw.colour_segments(truth, background=True) for truth in truths]
        number = subject.config.model.num_slots
        columns[name] = [
            draw.matching_colours(segments, number, truth)[segments]
            for segments, truth in zip(found, truths, strict=True)
        ]
    panels = [[sized(panel, smooth=name == "picture") for panel in column] for name, column in columns.items()]
    return draw.grid([list(row) for row in zip(*panels, strict=True)], list(columns))


def sized(panel: np.ndarray, smooth: bool) -> np.ndarray:
    resampling = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(panel).resize(SIZE, resampling))


if __name__ == "__main__":
    main()
