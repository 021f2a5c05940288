"""Runs that differ in nothing but the seed, and what they have in common."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slotjax.config import disk
from slotjax.reporting.history import History, labels
from slotjax.reporting.titles import columns, higher_is_better, number
from slotjax.training.run import MAY_CHANGE

FAILED_BELOW = {"posterior_fg_ari": 0.9, "fg_ari": 0.9}  # a run that ends below has not learnt to tell objects apart
FEW = 2  # fields that still make a name for a setting
# Fields that may differ within a setting. Those that a continued run may change, but for the two that tell runs apart.
NOT_A_SETTING = {"seed", *MAY_CHANGE} - {"train.num_steps", "data.path"}


@dataclass(frozen=True)
class Criterion:
    """When a finished run counts as failed: its last evaluation's `figure` is missing or worse than `limit`."""

    figure: str
    limit: float

    def failed(self, history: History) -> bool:
        if not history.finished:
            return False
        value = final(history, self.figure)
        if value is None:
            return True
        return value < self.limit if higher_is_better(self.figure) else value > self.limit


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but the seed.

    Attributes:
      name: what sets them apart, in short.
      members: their positions among all runs.
      fields: the fields of the config in which settings differ, {field: value}.
    """

    name: str
    members: list[int]
    fields: dict[str, str]


@dataclass(frozen=True)
class Spread:
    """What several runs' figures have in common; `deviation` is the sample's (None for one run)."""

    count: int
    mean: float
    deviation: float | None
    median: float
    low: float
    high: float


def final(history: History, name: str) -> float | None:
    """The figure of the last evaluation, which is what a run ends with; None if it has none."""
    return number(history.evaluations[-1].get(name)) if history.evaluations else None


def measured(histories: Sequence[History]) -> list[str]:
    """The figures that at least one run was evaluated by, in order."""
    return columns((row for history in histories for row in history.evaluations), histories[0].task)


def criterion(histories: Sequence[History], limit: float | None) -> Criterion | None:
    """Failure by the first figure that the runs are ranked by; None if nobody said what fails."""
    names = measured(histories)
    if not names:
        return None
    limit = FAILED_BELOW.get(names[0]) if limit is None else limit
    return None if limit is None else Criterion(names[0], limit)


def differing(histories: Sequence[History]) -> dict[str, list[str]]:
    """Fields of the config that make runs differ in more than the seed, {field: a value for each run}."""
    flats = [disk.flat(history.config.to_dict()) for history in histories]
    fields = sorted({name for flat in flats for name in flat} - NOT_A_SETTING)
    values = {name: [_plain(flat.get(name, "(absent)")) for flat in flats] for name in fields}
    return {name: row for name, row in values.items() if len(set(row)) > 1}


def settings(histories: Sequence[History]) -> list[Setting]:
    """In the order of their first runs."""
    fields = differing(histories)
    members: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(histories)):
        members.setdefault(tuple(row[i] for row in fields.values()), []).append(i)
    names = labels([history.workdir for history in histories])
    found = [Setting("", runs, dict(zip(fields, values, strict=True))) for values, runs in members.items()]
    return [replace(one, name=name) for one, name in zip(found, _named(found, names), strict=True)]


def _named(found: Sequence[Setting], names: Sequence[str]) -> list[str]:
    """By the values of a field or two; where more differ, by what the runs are called."""
    if len(found) == 1:
        return ["all runs"]
    if len(found[0].fields) <= FEW:
        return [", ".join(f"{k.rpartition('.')[2]} {shortened(v)}" for k, v in one.fields.items()) for one in found]
    of_runs = [_shared([names[i] for i in one.members]) for one in found]
    return [name or f"setting {i}" for i, name in enumerate(of_runs, 1)]


def _shared(names: Sequence[str]) -> str:
    """How all of the names begin: "wide" for "wide/seed_0" and "wide/seed_1"."""
    if len(names) == 1:
        return names[0]
    return os.path.commonprefix(names).rstrip("/_-. ").removesuffix("seed").rstrip("/_-. ")


def shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:20]}…{text[-19:]}"


def _plain(value: str) -> str:
    """JSON strings without their quotes."""
    return json.loads(value) if value.startswith('"') else value


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of the runs that have the figure; None if none has."""
    have = np.array([value for value in values if value is not None])
    if not len(have):
        return None
    deviation = float(have.std(ddof=1)) if len(have) > 1 else None
    if deviation and deviation < 1e-12 * np.abs(have).max():  # rounding
        deviation = 0.0
    low, median, high = (float(np.quantile(have, q)) for q in (0, 0.5, 1))
    return Spread(len(have), float(have.mean()), deviation, median, low, high)


def common_curve(curves: Sequence[Sequence[tuple[int, float]]]) -> tuple[list[int], np.ndarray]:
    """The steps that every curve has, and the values there [runs, steps]; a mean over fewer runs would jump."""
    tables = [dict(curve) for curve in curves if curve]
    steps = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return steps, np.array([[table[step] for step in steps] for table in tables]).reshape(len(tables), len(steps))
