"""The figures a report shows: their order, their titles, and which way is better."""

import math
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

# In the order in which they are shown and, for the first that a run has, ranked by. A task adds to it by `TITLES`.
TITLES = {"fg_ari": "FG-ARI", "ari": "ARI", "miou": "foreground mIoU", "mse": "MSE"}
TRAINING = {"loss": "Training loss", "images_per_second": "Images per second"}
LOWER_IS_BETTER = ("mse", "loss", "set_loss")


def title(name: str, task: ModuleType | None = None) -> str:
    """What people call a figure; a name that nobody titled is shown as it is."""
    known = TITLES | TRAINING | dict(getattr(task, "TITLES", {}))
    return known.get(name, name.replace("_", " "))


def higher_is_better(name: str) -> bool:
    return name not in LOWER_IS_BETTER


def ordered(names: Iterable[str]) -> list[str]:
    """Known figures first, in their order, then the others in the order given; counts ("num_...") are no figures.

    Those of attention are left to `slotjax.evaluate`: the page is about what the decoder draws.
    """
    left_out = ("num_", "attention_", "slot_")
    names = [name for name in dict.fromkeys(names) if not name.startswith(left_out) and name not in ("step", "time")]
    return [name for name in TITLES if name in names] + [name for name in names if name not in TITLES]


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


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The figures that at least one of the rows has a number for, in order."""
    return ordered(name for row in rows for name, value in row.items() if number(value) is not None)
