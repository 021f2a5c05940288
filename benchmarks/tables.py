"""How measured runs read: cells, rows and tables in Markdown."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from measured import Measured

from slotjax.reporting.settings import spread

BLANK = ""
SEED_COLUMNS = ("steps", "minutes of training", "minutes in all")  # what `seed_cells` ends with


def shown(value: float | None) -> str:
    return BLANK if value is None else f"{value:.3f}"


def mean(values: Sequence[float | None]) -> str:
    """Mean and sample standard deviation."""
    found = spread(values)
    if found is None:
        return BLANK
    return f"{found.mean:.3f}" + ("" if found.deviation is None else f" ± {found.deviation:.3f}")


def seed_cells(one: Measured | None, names: Sequence[str]) -> list[str]:
    """A run's figures, steps and minutes; what is not there yet is blank."""
    if one is None:
        return [*[BLANK] * len(names), "not measured yet", BLANK, BLANK]
    minutes = [BLANK if one[name] is None else f"{one[name]:.1f}" for name in ("minutes", "minutes_in_all")]
    if one["figures"] is None:
        return [*[BLANK] * len(names), f"step {one['step']:,} of {one['steps']:,}", *minutes]
    return [*(shown(one["figures"][name]) for name in names), f"{one['steps']:,}", *minutes]


def conditions(measured: Collection[Measured]) -> str:
    """Where runs were trained and on how many images they were scored, in sentences."""
    devices = sorted({one for found in measured for run in found["runs"].values() for one in run["machines"]})
    images = sorted({found["images"] for found in measured})
    where = "; ".join(devices) or "a device that was not recorded"
    said = [f"On {where}; scored on {' or '.join(f'{count:,}' for count in images)} held-out images."]
    if any(found["together"] for found in measured):
        said.append("Seeds were trained side by side in one program: minutes are of all of them together.")
    if changed := sorted({line for found in measured for line in found["changed"]}):
        said.append(f"Not as the config has it (run / config): {'; '.join(changed)}.")
    return " ".join(said)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(text: str, path: Path) -> None:
    """Whole or not at all; says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(text)
    temporary.replace(path)
    print(f"wrote {path}")
