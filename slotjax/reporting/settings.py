"""Runs that differ in nothing but the seed, and what they have in common."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slotjax.config import disk
from slotjax.reporting.history import Record
from slotjax.reporting.titles import columns, higher_is_better, number
from slotjax.training.run import MAY_CHANGE

FAILED_BELOW = {"fg_ari": 0.9}  # a run that ends below has not learnt to tell objects apart
# Fields that may differ within a group. Those that a continued run may change, but for the two that tell runs apart.
NOT_A_SETTING = {"seed", *MAY_CHANGE} - {"train.num_steps", "data.path"}


@dataclass(frozen=True)
class Criterion:
    """When a run counts as failed: its last evaluation's `figure` is missing or worse than `limit`."""

    figure: str
    limit: float

    def failed(self, record: Record) -> bool:
        value = final(record, self.figure)
        if value is None:
            return True
        return value < self.limit if higher_is_better(self.figure) else value > self.limit


@dataclass(frozen=True)
class Group:
    """Runs of one setting; `name` says what sets it apart."""

    name: str
    members: list[int]


@dataclass(frozen=True)
class Spread:
    """What several runs' figures have in common; `deviation` is the sample's (None for one run)."""

    count: int
    mean: float
    deviation: float | None
    median: float
    low: float
    high: float


def final(record: Record, name: str) -> float | None:
    """The figure of the last evaluation, which is what a run ends with; None if it has none."""
    return number(record.evaluations[-1].get(name)) if record.evaluations else None


def criterion(records: Sequence[Record], limit: float | None) -> Criterion | None:
    """Failure by the first figure that the runs are ranked by; None if nobody said what fails."""
    names = columns(row for record in records for row in record.evaluations)
    if not names:
        return None
    limit = FAILED_BELOW.get(names[0]) if limit is None else limit
    return None if limit is None else Criterion(names[0], limit)


def differing(records: Sequence[Record]) -> dict[str, list[str]]:
    """Fields of the config in which runs differ, {field: a value for each run}."""
    flats = [disk.flat(record.config.to_dict()) for record in records]
    fields = sorted({name for flat in flats for name in flat})
    values = {name: [flat.get(name, "(absent)") for flat in flats] for name in fields}
    return {name: row for name, row in values.items() if len(set(row)) > 1}


def group(records: Sequence[Record]) -> list[Group]:
    """Groups in the order of their first runs."""
    fields = {name: row for name, row in differing(records).items() if name not in NOT_A_SETTING}
    members: dict[tuple, list[int]] = {}
    for i in range(len(records)):
        members.setdefault(tuple((name, row[i]) for name, row in fields.items()), []).append(i)
    if len(members) == 1:
        return [Group("all runs", list(range(len(records))))]
    return [Group(", ".join(f"{name} = {_plain(value)}" for name, value in key), runs) for key, runs in members.items()]


def _plain(value: str) -> str:
    """JSON strings without their quotes."""
    return json.loads(value) if value.startswith('"') else value


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of the runs that have the figure; None if none has."""
    have = np.array([value for value in values if value is not None])
    if not len(have):
        return None
    deviation = float(have.std(ddof=1)) if len(have) > 1 else None
    low, median, high = (float(np.quantile(have, q)) for q in (0, 0.5, 1))
    return Spread(len(have), float(have.mean()), deviation, median, low, high)


def common_curve(curves: Sequence[Sequence[tuple[int, float]]]) -> tuple[list[int], np.ndarray]:
    """The steps that every curve has, and the values there [runs, steps]; a mean over fewer runs would jump."""
    tables = [dict(curve) for curve in curves if curve]
    steps = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return steps, np.array([[table[step] for step in steps] for table in tables]).reshape(len(tables), len(steps))
