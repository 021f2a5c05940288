"""The report of several runs: how they compare, and what sets them apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slotjax.reporting import curves, page, timelapse
from slotjax.reporting.history import History, labels
from slotjax.reporting.settings import Criterion, Setting, common_curve, criterion, final, measured, settings, spread
from slotjax.reporting.single import is_bounded, missing
from slotjax.reporting.titles import headlines, higher_is_better, number, shown, title
from slotjax.system.console import number as counted
from slotjax.system.version import VERSION

SHEET_WIDTH = 720  # pixels of a run's last pictures
BUDGET = 3_000_000  # bytes of pictures in all


def build(histories: Sequence[History], limit: float | None = None) -> tuple[str, list[str]]:
    """The page, and what it has to say about what is missing.

    Args:
      limit: a run fails if the figure that runs are ranked by ends worse than this; 0.9 for FG-ARI by default.
    """
    task, names = histories[0].task, labels([history.workdir for history in histories])
    apart, failing, figures = settings(histories), criterion(histories, limit), measured(histories)
    notes = [f"{name}: {note}" for name, history in zip(names, histories, strict=True) for note in missing(history)]
    pictures, left_out = last_pictures(histories)
    if left_out:
        notes.append(f"The pictures of {counted(left_out, 'more run')} are left out, to keep this page small.")
    if not figures:
        notes.append("No run has been evaluated yet: there is nothing to compare but the loss.")
    elif failing is None:
        notes.append(f"Nobody said what fails: --failed-below X counts runs by {title(figures[0], task)}.")
    first = headlines(figures, task) or figures
    html = page.render(
        "comparison.html",
        version=VERSION,
        names=names,
        noun=histories[0].noun,
        settings=apart,
        notes=notes,
        failing=failing and in_words(failing, title(failing.figure, task)),
        first=[title(name, task) for name in first],
        ranked_by=title(figures[0], task) if figures else None,
        runs=[run_row(history, first, figures, failing) for history in histories],
        setting_of=[next(i for i, one in enumerate(apart) if run in one.members) for run in range(len(histories))],
        figures=[title(name, task) for name in figures],
        spreads=[setting_row(one, histories, figures, failing) for one in apart],
        charts=charts(histories, apart, figures),
        pictures=pictures,
    )
    return html, notes


def in_words(failing: Criterion, what: str) -> str:
    return f"{what} {'below' if higher_is_better(failing.figure) else 'above'} {failing.limit:g}"


def run_row(
    history: History, first: Sequence[str], figures: Sequence[str], failing: Criterion | None
) -> dict[str, Any]:
    rates = [value for _, value in history.curve("images_per_second") if value > 0]
    return {
        "seed": history.config.seed,
        "step": history.last_step,
        "final": [final(history, name) for name in first],
        "best": number((history.best or {}).get(figures[0])) if figures else None,
        "rate": float(np.median(rates)) if rates else None,
        "took": history.took or "–",
        "failed": failing.failed(history) if failing else None,
        "finished": history.finished,
    }


def setting_row(
    one: Setting, histories: Sequence[History], figures: Sequence[str], failing: Criterion | None
) -> dict[str, Any]:
    """Mean, deviation, median and extremes of every figure at the end, and how many runs failed."""
    members = [histories[i] for i in one.members]
    failed = sum(map(failing.failed, members)) if failing else None
    spreads = [spread([final(history, name) for history in members]) for name in figures]
    return {"count": len(members), "failed": failed, "spreads": spreads}


def charts(histories: Sequence[History], apart: Sequence[Setting], figures: Sequence[str]) -> list[dict[str, Any]]:
    """Every run thin, the mean of each setting bold in a band from its lowest to its highest run."""
    drawn = []
    for name in ["loss", *figures, "images_per_second"]:
        chart = overlay(name, histories, apart)
        if chart.lines:
            drawn.append({"title": title(name, histories[0].task, histories[0].noun), "svg": curves.draw_chart(chart)})
    return drawn


def overlay(name: str, histories: Sequence[History], apart: Sequence[Setting]) -> curves.Chart:
    lines, bands, words = [], [], []
    for colour, one in enumerate(apart):
        points = [[p for p in histories[i].curve(name) if name != "images_per_second" or p[1] > 0] for i in one.members]
        points = [curve for curve in points if curve]
        alone = len(points) == 1
        lines += [curves.Line(curve, colour, 1.6 if alone else 0.6, 1.0 if alone else 0.55) for curve in points]
        steps, values = common_curve(points)
        if len(points) > 1 and steps:
            lines.append(curves.Line(list(zip(steps, values.mean(0).tolist(), strict=True)), colour, 2.2))
            bands.append(curves.Band(steps, values.min(0), values.max(0), colour))
        if steps:
            last = f"{shown(float(values[:, -1].mean()))} at step {steps[-1]}"
            words.append(f"{one.name}: {'mean ' if len(points) > 1 else ''}{last}")
    label = f"{title(name, histories[0].task, histories[0].noun)} over steps. " + "; ".join(words)
    return curves.Chart(label, lines, bands, unit_range=is_bounded(name))


def last_pictures(histories: Sequence[History]) -> tuple[list[str | None], int]:
    """Each run's newest pictures as a data URI, None where there are none; and how many did not fit."""
    uris: list[str | None] = []
    used = left_out = 0
    for history in histories:
        files = sorted((history.workdir / "pictures").glob("step_*.png"))
        uri = timelapse.read_sheet(files[-1], SHEET_WIDTH) if files and used < BUDGET else None
        left_out += bool(files) and used >= BUDGET
        used += len(uri or "")
        uris.append(uri)
    return uris, left_out
