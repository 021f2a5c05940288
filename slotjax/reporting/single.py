"""The report of one run."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from slotjax.config import disk, schema
from slotjax.errors import UserError
from slotjax.reporting import curves, page
from slotjax.reporting import scoring as judge
from slotjax.reporting import titles as figures
from slotjax.reporting.examples import Gallery
from slotjax.reporting.explorer import Explorer, explore
from slotjax.reporting.history import Record, labels
from slotjax.system.version import VERSION as __version__

BOUNDED = ("fg_ari", "ari", "miou")  # at most 1, and drawn from 0 to 1
COLOURS = {name: i for i, name in enumerate(judge.METHODS)}


@dataclass
class Seen:
    """What could be found out from the checkpoint; whatever is None is explained in `notes`."""

    trained: judge.Trained | None = None
    judgement: judge.Judgement | None = None
    gallery: Gallery | None = None
    explorer: Explorer | None = None
    notes: list[str] = field(default_factory=list)


def build(record: Record) -> tuple[str, list[str]]:
    """The page, and what it has to say about what is missing or odd."""
    seen = look(record)
    notes = [*missing(record), *seen.notes]
    html = page.render(
        "run.html",
        name=labels([record.workdir])[0],
        record=record,
        version=__version__,
        tiles=tiles(record, seen),
        notes=notes,
        seen=seen,
        explorer=for_script(seen.explorer),
        resolution=tuple(record.config.model.resolution),
        ranked_by=seen.gallery and seen.gallery.ranked_by and figures.title(seen.gallery.ranked_by, record.task),
        lower_is_better=bool(seen.gallery and seen.gallery.ranked_by in figures.LOWER_IS_BETTER),
        charts=charts(record, seen),
        table=table(record, seen),
        histograms=histograms(record, seen),
        config=config_rows(record.config),
    )
    return html, notes


def look(record: Record) -> Seen:
    """Everything that needs the checkpoint; a part that fails leaves a note, and the others stand."""
    seen = Seen()
    try:
        seen.trained = judge.open_trained(record)
        seen.judgement = judge.judge(record, seen.trained)
        seen.gallery, seen.explorer = explore(record, seen.trained, seen.judgement)
    except UserError as error:
        seen.notes.append(f"No pictures or scores of single images: {error}")
    if seen.judgement:
        seen.notes += remarks(record, seen.judgement)
    return seen


def remarks(record: Record, judgement: judge.Judgement) -> list[str]:
    """What the scores alone would not say."""
    summary, said = judgement.summaries["slots"], []
    if hasattr(record.task, "segmentation_scores") and not judgement.has_masks:
        said.append("The held-out images have no masks: no FG-ARI, ARI or mIoU, and no baselines; MSE ranks them.")
    empty = summary["num_images"] - summary.get("num_with_objects", summary["num_images"])
    if judgement.has_masks and empty:
        said.append(f"{empty} of {summary['num_images']} held-out images show no object: they have no FG-ARI or mIoU.")
    suspicion = record.task.suspicion(summary)
    return said + ([suspicion] if suspicion else [])


def missing(record: Record) -> list[str]:
    """What the metrics lack."""
    said, steps = [], record.config.train.num_steps
    if not record.rows:
        said.append("No metrics.jsonl: no curves.")
    elif not record.evaluations:
        said.append(f"Not evaluated yet: the first evaluation comes at step {record.config.train.eval_every}.")
    if record.rows and record.last_step < steps:
        said.append(f"Not finished: at step {record.last_step} of {steps}.")
    if record.broken_lines:
        lines = "1 line" if record.broken_lines == 1 else f"{record.broken_lines} lines"
        said.append(f"{lines} of metrics.jsonl could not be read, as when a run is killed while writing; left out.")
    odd = sum(isinstance(row["loss"], float) and figures.number(row["loss"]) is None for row in record.training)
    return said + ([f"The loss was not finite at {odd} logged steps."] if odd else [])


def tiles(record: Record, seen: Seen) -> list[tuple[str, str, str]]:
    """The figures one looks for first: (title, value, what it is)."""
    source = seen.judgement.summaries["slots"] if seen.judgement else (record.best or {})
    shown = [
        (figures.title(name, record.task), figures.shown(source[name]), "held-out images")
        for name in figures.columns([source])
    ]
    rates = [value for _, value in record.curve("images_per_second") if value > 0]
    if rates:
        shown.append(("Images per second", figures.shown(float(np.median(rates))), "median while training"))
    if record.took:
        shown.append(("Time", record.took, f"for {record.last_step:,} steps"))
    return shown


def charts(record: Record, seen: Seen) -> list[dict[str, Any]]:
    """Loss, held-out figures and speed over steps, with the baselines' level where there is one."""
    names = ["loss", *figures.columns(record.evaluations), "images_per_second"]
    drawn = []
    for name in names:
        points = record.curve(name)
        if name == "images_per_second":
            points = [point for point in points if point[1] > 0]  # the first line after compiling has no speed yet
        if points:
            drawn.append(_chart(name, points, record, seen))
    return drawn


def _chart(name: str, points: curves.Points, record: Record, seen: Seen) -> dict[str, Any]:
    label, levels = curves.in_words(figures.title(name, record.task), points, figures.shown), []
    summaries = seen.judgement.summaries if seen.judgement else {}
    for method, summary in summaries.items():
        value = figures.number(summary.get(name))
        if method != "slots" and value is not None:
            levels.append((value, COLOURS[method]))
            label += f"; {judge.METHODS[method]} {figures.shown(value)}"
    marked = record.best["step"] if record.best and name in figures.columns([record.best]) else None
    chart = curves.Chart(label, [curves.Line(points)], levels=levels, marked=marked, unit_range=name in BOUNDED)
    last = f"{figures.shown(points[-1][1])} at step {points[-1][0]:,}"
    return {"title": figures.title(name, record.task), "last": last, "svg": curves.draw_chart(chart)}


def table(record: Record, seen: Seen) -> dict[str, Any] | None:
    """Means over the held-out images, a row for each method."""
    if not seen.judgement:
        return None
    summaries = seen.judgement.summaries
    names = figures.columns([summaries["slots"]])
    rows = [
        (judge.METHODS[method], COLOURS[method], [figures.shown(summary.get(name), 4) for name in names])
        for method, summary in summaries.items()
    ]
    return {"titles": [figures.title(name, record.task) for name in names], "rows": rows}


def histograms(record: Record, seen: Seen) -> list[dict[str, Any]]:
    """How the single images score, for each figure."""
    if not seen.judgement:
        return []
    drawn = []
    for name in seen.judgement.figures:
        values = {COLOURS[method]: scores[name] for method, scores in seen.judgement.scores.items() if name in scores}
        values = {colour: array for colour, array in values.items() if np.isfinite(array).any()}
        title = figures.title(name, record.task)
        low, median, high = np.nanquantile(seen.judgement.scores["slots"][name], (0.1, 0.5, 0.9)).tolist()
        text = f"median {figures.shown(median)}; 8 of 10 images between {figures.shown(low)} and {figures.shown(high)}"
        svg = curves.draw_histogram(values, f"{title} of single images: {text}", title)
        drawn.append({"title": title, "text": text, "svg": svg})
    return drawn


def for_script(explorer: Explorer | None) -> dict[str, Any] | None:
    """What the script reads; the inputs stand in the page already, as the gallery's pictures."""
    if explorer is None:
        return None
    left_out = ("input", "group")
    examples = [{k: v for k, v in example.items() if k not in left_out} for example in explorer.examples]
    return {"settings": explorer.settings, "examples": examples}


def config_rows(config: ConfigDict) -> list[tuple[str, str, str | None]]:
    """(field, value, the default it differs from); the model has no defaults, so nothing is said there."""
    defaults = disk.flat(schema.defaults().to_dict())
    rows = disk.flat(config.to_dict())
    return [
        (name, value, defaults[name] if defaults.get(name, value) != value else None)
        for name, value in sorted(rows.items())
    ]
