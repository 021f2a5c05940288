"""Learning curves of all seeds as one picture: the two figures that matter most, over steps and over minutes."""

from pathlib import Path

import numpy as np
from measured import minutes_at, titles
from stretches import progress

from slotjax.reporting import history

SHOWN = {"object_discovery": ("fg_ari", "miou"), "set_prediction": ("ap_inf", "ap_0.5")}


def draw(name: str, folder: Path, path: Path) -> bool:
    """Draws the runs `folder/seed_N`; False where there is no evaluation yet, or no matplotlib."""
    records = [history.read(run) for run in sorted(folder.glob("seed_[0-9]*")) if (progress(run) or (0,))[0]]
    records = [found for found in records if found.evaluations]
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not records:
        return False
    task = records[0].config.model.name
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, measured in zip(axes, SHOWN[task], strict=True):
        row[0].set_ylabel(titles(task)[measured])
        for found in records:
            steps, values = np.array(found.curve(measured) or [(np.nan, np.nan)]).T
            row[0].plot(steps, values, label=f"seed {found.config.seed}")
            if times := minutes_at(found.rows):
                row[1].plot(np.interp(steps, *times), values)
    for axis, label in zip(axes[1], ("steps", "minutes of training"), strict=True):
        axis.set_xlabel(label)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{name}: held-out images")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
