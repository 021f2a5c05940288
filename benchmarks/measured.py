"""What run directories say, as a JSON-like dict: figures, steps, minutes, devices."""

import json
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from stretches import ROOT, STRETCHES, Experiment, progress, stretches, write_json

from slotjax import configuration
from slotjax.reporting import history
from slotjax.reporting.settings import FAILED_BELOW
from slotjax.reporting.titles import number
from slotjax.tasks import TASKS
from slotjax.training.run import MAY_CHANGE

PAUSE = 30  # times the usual time between two lines of metrics.jsonl: in between nothing was trained
LEFT_OUT = ("attention_", "set_loss")  # figures for slotjax.evaluate

Measured = dict[str, Any]


def measure(experiment: Experiment) -> Measured | None:
    """What the run directories of an experiment say; None where there are none."""
    folders = {int(path.name.removeprefix("seed_")): path for path in experiment.folder.glob("seed_[0-9]*")}
    records = {seed: history.read(folders[seed]) for seed in sorted(folders) if (progress(folders[seed]) or (0,))[0]}
    if not records:
        return None
    config = next(iter(records.values())).config
    return {
        "task": config.model.name,
        "images": config.data.eval_images,
        "changed": sorted({line for found in records.values() for line in changed(experiment, found)}),
        "together": (experiment.folder / STRETCHES).exists(),
        "runs": {str(seed): measure_run(found) for seed, found in records.items()},
        "clustering": {path.stem: json.loads(path.read_text()) for path in experiment.folder.glob("clustering/*.json")},
    }


def measure_run(found: history.History) -> Measured:
    """One run: the figures of its last step, none before it is there, and what it took."""
    last, steps = found.last_step, found.config.train.num_steps
    ends = [row for row in found.evaluations if row["step"] >= steps]
    commands = stretches(found.workdir) or stretches(found.workdir.parent)
    minutes = minutes_at(found.rows)
    return {
        "step": last,
        "steps": steps,
        "figures": {name: number(ends[-1].get(name)) for name in titles(found.config.model.name)} if ends else None,
        "minutes": minutes[1][-1] if minutes else None,
        "minutes_in_all": sum(command["seconds"] for command in commands) / 60 if commands else None,
        "machines": sorted({f"{command['device']}, {command['versions']}" for command in commands}),
    }


def minutes_at(rows: Iterable[Mapping[str, Any]]) -> tuple[list[int], list[float]] | None:
    """Logged steps, and the minutes from the start to each; None where fewer than two lines tell the time.

    Evaluations count. What came before the first line, compiling too, and pauses between two stretches, are counted at
    the usual pace of the steps.
    """
    logged = [(row["step"], time) for row in rows if (time := number(row.get("time"))) is not None]
    if len(logged) < 2:
        return None
    steps, times = np.array(logged, np.float64).T
    count, seconds = np.diff(steps), np.diff(times)
    pace = float(np.median(seconds / count))
    seconds = np.where((seconds < 0) | (seconds > PAUSE * pace * count), pace * count, seconds)
    return steps.astype(int).tolist(), (np.cumsum([pace * steps[0], *seconds]) / 60).tolist()


def changed(experiment: Experiment, found: history.History) -> list[str]:
    """Where a run's config is not the one that the experiment names, "field: the run's / the config's"."""
    named = named_config(experiment.config)
    stated = {change.partition("=")[0] for change in experiment.changes}
    different = configuration.differences(found.config, configuration.completed(named))
    ignored = ({"seed", "train.num_seeds", *MAY_CHANGE} - {"train.num_steps"}) | stated
    return [line for line in different if line.partition(":")[0] not in ignored]


def named_config(name: str) -> ConfigDict:
    """The config of "configs/clevr.py:bf16", say."""
    path, _, variants = name.partition(":")
    return runpy.run_path(str(ROOT / path))["get_config"](variants)


def keep(measured: Mapping[str, Measured | None], path: Path) -> dict[str, Measured]:
    """Adds what was measured to the file, and returns all of it: runs whose directories are elsewhere stay."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {name: found for name, found in measured.items() if found}
    if known:
        write_json(known, path)
    return known


def titles(task: str) -> dict[str, str]:
    """The figures of a task that the tables show."""
    return {name: title for name, title in TASKS[task].TITLES.items() if not name.startswith(LEFT_OUT)}


def finals(found: Measured | None, name: str) -> list[float | None]:
    """A figure of every finished run."""
    runs = found["runs"].values() if found else ()
    return [run["figures"].get(name) for run in runs if run["figures"]]


def failures(found: Measured) -> str | None:
    """How many finished runs failed, and by which rule; None for a task that has no rule."""
    values, limit = finals(found, "fg_ari"), FAILED_BELOW["fg_ari"]
    if "fg_ari" not in titles(found["task"]) or not values:
        return None
    return f"{sum(value is None or value < limit for value in values)} of {len(values)} (FG-ARI below {limit})"
