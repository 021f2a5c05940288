"""The report of one run."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from slotjax.config import disk, schema
from slotjax.errors import UserError
from slotjax.reporting import curves, page, scoring, timelapse
from slotjax.reporting.explorer import Explorer, explore
from slotjax.reporting.history import History, labels
from slotjax.reporting.player import play
from slotjax.reporting.scoring import METHODS, Scores, Trained
from slotjax.reporting.titles import columns, headlines, higher_is_better, number, shown, title
from slotjax.system.console import command
from slotjax.system.console import number as counted
from slotjax.system.version import VERSION

EXPLORERS = {"image": explore, "video": play}
COLOURS = {name: i for i, name in enumerate(METHODS)}


@dataclass
class Seen:
    """What could be found out from the checkpoint; whatever is None is explained in `notes`."""

    trained: Trained | None = None
    scores: Scores | None = None
    explorer: Explorer | None = None
    notes: list[str] = field(default_factory=list)


def build(history: History, *, brief: bool = False, reload: page.Reload | None = None) -> tuple[str, list[str]]:
    """The page, and what it has to say about what is missing or odd.

    Args:
      brief: without what takes long, the explorer and the baselines.
      reload: of a run that goes on: how the page looks for a newer one.
    """
    seen = Seen() if brief else look(history)
    notes = [] if reload else [*missing(history), *seen.notes]
    if brief and not reload:
        again = command("report --workdir {workdir}", workdir=history.workdir)
        notes.append(f"Written while it trained: {again} adds the slot explorer, and the baselines' scores.")
    ranked_by = seen.scores.ranked_by if seen.scores else None
    html = page.render(
        "run.html",
        name=labels([history.workdir])[0],
        history=history,
        version=VERSION,
        tiles=tiles(history, seen),
        notes=notes,
        reload=reload,
        seen=seen,
        frames=timelapse.embedded(history),
        explorer=for_script(seen.explorer),
        resolution=tuple(history.config.model.resolution),
        ranked_by=ranked_by and title(ranked_by, history.task),
        lower_is_better=bool(ranked_by and not higher_is_better(ranked_by)),
        charts=charts(history, seen, headlines_only=reload is not None),
        table=table(history, seen),
        histograms=histograms(history, seen),
        config=config_rows(history.config),
    )
    return html, notes


def look(history: History) -> Seen:
    """Everything that needs the checkpoint; a part that fails leaves a note, and the others stand."""
    seen = Seen()
    try:
        seen.trained = scoring.open_trained(history)
        seen.scores = scoring.score(history, seen.trained)
        seen.explorer = EXPLORERS[history.noun](history, seen.trained, seen.scores)
    except UserError as error:
        seen.notes.append(f"No pictures or scores of single {history.noun}s: {error}")
    if seen.scores:
        seen.notes += remarks(history, seen.scores)
    return seen


def remarks(history: History, scores: Scores) -> list[str]:
    """What the scores alone would not say."""
    summary, said, examples = scores.means["slots"], [], f"{history.noun}s"
    if history.task.BASELINES and not scores.has_masks:
        said.append(f"The held-out {examples} have no masks: no FG-ARI, ARI or mIoU, and no baselines; MSE ranks them.")
    empty = summary["num_images"] - summary.get("num_with_objects", summary["num_images"])
    if scores.has_masks and empty:
        of = f"{empty} of {summary['num_images']} held-out {examples}"
        said.append(f"{of} show no object: they have no FG-ARI or mIoU.")
    suspicion = history.task.suspicion(summary)
    return said + ([suspicion] if suspicion else [])


def missing(history: History) -> list[str]:
    """What the metrics lack."""
    if history.of_weights:
        return []
    said, steps = [], history.config.train.num_steps
    if not history.rows:
        said.append("No metrics.jsonl: no curves.")
    elif not history.evaluations:
        said.append(f"Not evaluated yet: the first evaluation comes at step {history.config.train.eval_every}.")
    if history.rows and history.last_step < steps:
        said.append(f"Not finished: at step {history.last_step} of {steps}.")
    if history.broken_lines:
        lines = counted(history.broken_lines, "line")
        said.append(f"{lines} of metrics.jsonl could not be read, as when a run is killed while writing; left out.")
    odd = sum(isinstance(row["loss"], float) and number(row["loss"]) is None for row in history.training)
    return said + ([f"The loss was not finite at {counted(odd, 'logged step')}."] if odd else [])


def tiles(history: History, seen: Seen) -> list[tuple[str, str, str]]:
    """The figures one looks for first: (title, value, what it is)."""
    source = seen.scores.means["slots"] if seen.scores else (history.best or {})
    what = f"held-out {history.noun}s" if seen.scores else "best evaluation"
    shown_first = [
        (title(name, history.task), shown(source[name]), what)
        for name in headlines(columns([source], history.task), history.task)
    ]
    rates = [value for _, value in history.curve("images_per_second") if value > 0]
    if rates:
        rate = title("images_per_second", history.task, history.noun)
        shown_first.append((rate, shown(float(np.median(rates))), "median while training"))
    if history.took:
        shown_first.append(("Time", history.took, f"for {history.last_step:,} steps"))
    return shown_first


def is_bounded(name: str) -> bool:
    """Whether the figure is at most 1, and drawn from 0 to 1."""
    return name.endswith(("ari", "miou", "mbo", "mbo_class", "corloc"))


def charts(history: History, seen: Seen, headlines_only: bool = False) -> list[dict[str, Any]]:
    """Loss, held-out figures and speed over steps, with the baselines' level where there is one."""
    figures = columns(history.evaluations, history.task)
    if headlines_only:  # of a run that goes on: every chart takes its time
        figures = headlines(figures, history.task)
    names = ["loss", *figures, "images_per_second"]
    drawn = []
    for name in names:
        points = history.curve(name)
        if name == "images_per_second":
            points = [point for point in points if point[1] > 0]  # the first line after compiling has no speed yet
        if points:
            drawn.append(_chart(name, points, history, seen))
    return drawn


def _chart(name: str, points: curves.Points, history: History, seen: Seen) -> dict[str, Any]:
    label, levels = curves.in_words(title(name, history.task, history.noun), points, shown), []
    for method, means in (seen.scores.means if seen.scores else {}).items():
        value = number(means.get(name))
        if method != "slots" and value is not None:
            levels.append((value, COLOURS[method]))
            label += f"; {METHODS[method]} {shown(value)}"
    marked = history.best["step"] if history.best and name in columns([history.best], history.task) else None
    chart = curves.Chart(label, [curves.Line(points)], levels=levels, marked=marked, unit_range=is_bounded(name))
    last = f"{shown(points[-1][1])} at step {points[-1][0]:,}"
    return {"title": title(name, history.task, history.noun), "last": last, "svg": curves.draw_chart(chart)}


def table(history: History, seen: Seen) -> dict[str, Any] | None:
    """Means over what is held out, a row for each method."""
    if not seen.scores:
        return None
    means = seen.scores.means
    names = columns([means["slots"]], history.task)
    rows = [
        (METHODS[method], COLOURS[method], [shown(some.get(name), 4) for name in names])
        for method, some in means.items()
    ]
    return {"titles": [title(name, history.task) for name in names], "rows": rows}


def histograms(history: History, seen: Seen) -> list[dict[str, Any]]:
    """How the single images score, for each figure."""
    if not seen.scores:
        return []
    drawn = []
    for name in seen.scores.shown:
        values = {COLOURS[method]: some[name] for method, some in seen.scores.images.items() if name in some}
        values = {colour: array for colour, array in values.items() if np.isfinite(array).any()}
        what = title(name, history.task)
        low, median, high = np.nanquantile(seen.scores.images["slots"][name], (0.1, 0.5, 0.9)).tolist()
        text = f"median {shown(median)}; 8 of 10 {history.noun}s between {shown(low)} and {shown(high)}"
        svg = curves.draw_histogram(values, f"{what} of single {history.noun}s: {text}", what, history.noun)
        drawn.append({"title": what, "text": text, "svg": svg})
    return drawn


def for_script(explorer: Explorer | None) -> dict[str, Any] | None:
    """What the script reads; the inputs stand in the page already, as the pictures to choose from."""
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
