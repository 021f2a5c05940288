"""What a report calls figures, which of them it shows, and which way is better."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from slotjax.tasks import Task

LOWER_IS_BETTER = ("mse", "loss", "set_loss")
LEFT_OUT = ("num_", "attention_", "slot_", "mask_")  # counts, and what only `slotjax.evaluate` tells


def title(name: str, task: Task, noun: str = "image") -> str:
    """What people call a figure; a name that the task has no title for is shown as it is."""
    training = {"loss": "Training loss", "images_per_second": f"{noun.capitalize()}s per second"}
    return (training | dict(task.TITLES)).get(name, name.replace("_", " "))


def higher_is_better(name: str) -> bool:
    return name not in LOWER_IS_BETTER


def ordered(names: Iterable[str], task: Task) -> list[str]:
    """The figures that are shown: the task's in its order, which ranks by the first, then others in the order given."""
    names = [name for name in dict.fromkeys(names) if not name.startswith(LEFT_OUT) and name not in ("step", "time")]
    return [name for name in task.TITLES if name in names] + [name for name in names if name not in task.TITLES]


def columns(rows: Iterable[Mapping[str, Any]], task: Task) -> list[str]:
    """The figures that at least one of the rows has a number for, in order."""
    return ordered((name for row in rows for name, value in row.items() if number(value) is not None), task)


def headlines(names: Iterable[str], task: Task) -> list[str]:
    """Of some figures those that one looks for first."""
    return [name for name in names if name in task.HEADLINES]


def number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def shown(value: Any, digits: int = 3) -> str:
    """A figure for people: "0.943", "1240", "3e-05", or a dash where there is none."""
    value = number(value)
    if value is None:
        return "–"
    if value == 0 or 10**-digits <= abs(value) < 10:
        return f"{value:.{digits}f}"
    if abs(value) < 10**-digits:
        return f"{value:.1g}"
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.{digits}g}"
