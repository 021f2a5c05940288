"""The report of several runs: what they have in common, and what sets them apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data.pictures import unpack
from slotjax.errors import UserError
from slotjax.reporting import curves, page
from slotjax.reporting import images as pixels
from slotjax.reporting import titles as figures
from slotjax.reporting.history import Record, labels
from slotjax.reporting.settings import Criterion, Group, common_curve, criterion, differing, final, group, spread
from slotjax.reporting.single import BOUNDED, missing
from slotjax.system.version import VERSION as __version__

SHEET_WIDTH = 720  # pixels of a run's last pictures
BUDGET = 3_000_000  # bytes of pictures in all


def build(records: Sequence[Record], limit: float | None = None) -> tuple[str, list[str]]:
    """The page, and what it has to say about what is missing.

    Args:
      limit: a run fails if the figure that runs are ranked by ends worse than this; 0.9 for FG-ARI by default.
    """
    names = labels([record.workdir for record in records])
    groups, judged_by = group(records), criterion(records, limit)
    notes = [f"{name}: {note}" for name, record in zip(names, records, strict=True) for note in missing(record)]
    pictures, left_out = last_pictures(records)
    if left_out:
        notes.append(f"The pictures of {left_out} more runs are left out, to keep this page small.")
    measured = figures.columns(row for record in records for row in record.evaluations)
    if not measured:
        notes.append("No run has been evaluated yet: there is nothing to compare but the loss.")
    elif judged_by is None:
        notes.append(f"Nobody said what fails: --failed-below X counts runs by {title(measured[0], records)}.")
    html = page.render(
        "comparison.html",
        version=__version__,
        names=names,
        records=records,
        groups=groups,
        notes=notes,
        judged_by=judged_by and f"{title(judged_by.figure, records)} {_worse(judged_by)} {judged_by.limit:g}",
        titles=[title(name, records) for name in measured],
        settings=[setting_row(one, records, measured, judged_by) for one in groups],
        runs=[run_row(record, measured, judged_by) for record in records],
        group_of=[next(i for i, one in enumerate(groups) if run in one.members) for run in range(len(records))],
        charts=charts(records, groups, measured),
        differences=differing(records),
        pictures=pictures,
    )
    return html, notes


def title(name: str, records: Sequence[Record]) -> str:
    return figures.title(name, records[0].task)


def _worse(judged_by: Criterion) -> str:
    return "below" if figures.higher_is_better(judged_by.figure) else "above"


def setting_row(
    one: Group, records: Sequence[Record], measured: Sequence[str], judged_by: Criterion | None
) -> dict[str, Any]:
    """Mean, deviation, median and extremes of every figure at the end, and how many runs failed."""
    members = [records[i] for i in one.members]
    failed = sum(map(judged_by.failed, members)) if judged_by else None
    spreads = [spread([final(record, name) for record in members]) for name in measured]
    return {"name": one.name, "count": len(members), "failed": failed, "spreads": spreads}


def run_row(record: Record, measured: Sequence[str], judged_by: Criterion | None) -> dict[str, Any]:
    rates = [value for _, value in record.curve("images_per_second") if value > 0]
    return {
        "seed": record.config.seed,
        "step": record.last_step,
        "final": [final(record, name) for name in measured],
        "best": figures.number((record.best or {}).get(measured[0])) if measured else None,
        "rate": float(np.median(rates)) if rates else None,
        "took": record.took or "–",
        "failed": judged_by.failed(record) if judged_by else None,
    }


def charts(records: Sequence[Record], groups: Sequence[Group], measured: Sequence[str]) -> list[dict[str, Any]]:
    """Every run thin, the mean of each group bold in a band from its lowest to its highest run."""
    drawn = []
    for name in ["loss", *measured, "images_per_second"]:
        chart = overlay(name, records, groups)
        if chart.lines:
            drawn.append({"title": title(name, records), "svg": curves.draw_chart(chart), "text": chart.label})
    return drawn


def overlay(name: str, records: Sequence[Record], groups: Sequence[Group]) -> curves.Chart:
    lines, bands, words = [], [], []
    for colour, one in enumerate(groups):
        points = [[p for p in records[i].curve(name) if name != "images_per_second" or p[1] > 0] for i in one.members]
        points = [curve for curve in points if curve]
        alone = len(points) == 1
        lines += [curves.Line(curve, colour, 1.6 if alone else 0.6, 1.0 if alone else 0.55) for curve in points]
        steps, values = common_curve(points)
        if len(points) > 1 and steps:
            lines.append(curves.Line(list(zip(steps, values.mean(0).tolist(), strict=True)), colour, 2.2))
            bands.append(curves.Band(steps, values.min(0), values.max(0), colour))
        if steps:
            last = f"{figures.shown(float(values[:, -1].mean()))} at step {steps[-1]}"
            words.append(f"{one.name}: {'mean ' if len(points) > 1 else ''}{last}")
    label = f"{title(name, records)} over steps. " + "; ".join(words)
    return curves.Chart(label, lines, bands, unit_range=name in BOUNDED)


def last_pictures(records: Sequence[Record]) -> tuple[list[str | None], int]:
    """Each run's newest contact sheet as a data URI, None where there is none; and how many did not fit."""
    uris: list[str | None] = []
    used = left_out = 0
    for record in records:
        sheets = sorted((record.workdir / "pictures").glob("step_*.png"))
        uri = read_sheet(sheets[-1]) if sheets and used < BUDGET else None
        left_out += bool(sheets) and used >= BUDGET
        used += len(uri or "")
        uris.append(uri)
    return uris, left_out


def read_sheet(path: Path) -> str | None:
    """A PNG at most `SHEET_WIDTH` wide; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            picture = unpack(file, path, ("PNG",))[0].convert("RGB")
            picture.thumbnail((SHEET_WIDTH, 4 * SHEET_WIDTH))
            return pixels.data_uri(np.asarray(picture), lossless=False)
    except (OSError, UserError):
        return None
