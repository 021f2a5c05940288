"""What run directories say, as a JSON-like dict: figures, steps, minutes, devices; and how that reads in tables."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from stretches import Deadline, progress, stretches
from timing import recipe

from slotjax.config import disk
from slotjax.reporting import history
from slotjax.reporting.settings import spread
from slotjax.reporting.titles import number
from slotjax.system.writing import write_json
from slotjax.tasks import TASKS
from slotjax.training.run import MAY_CHANGE

PAUSE = 30  # times the usual time between two lines of metrics.jsonl: in between nothing was trained
LEFT_OUT = ("attention_", "set_loss")  # figures for slotjax.evaluate
BLANK = ""
# A run that ends below one of them has failed: objects are not told apart, slots share the background, or segments are
# not the objects' (stripes, say).
FAILED_BELOW = {"posterior_fg_ari": 0.9, "posterior_ari": 0.7, "posterior_miou": 0.7}
SEED_COLUMNS = ("steps", "minutes of training", "minutes in all", "on")  # what `seed_cells` ends with

Measured = dict[str, Any]


def measure(folder: Path, config: str, changes: Sequence[str] = ()) -> Measured | None:
    """What the directories `folder/seed_N` say of a config's runs; None where there are none."""
    folders = {int(path.name.removeprefix("seed_")): path for path in folder.glob("seed_[0-9]*")}
    found = {seed: history.read(folders[seed]) for seed in sorted(folders) if (progress(folders[seed]) or (0,))[0]}
    if not found:
        return None
    own = next(iter(found.values())).config
    return {
        "config": config,
        "recipe": digest(own),
        "changes": list(changes),
        "task": own.model.name,
        "images": own.data.eval_images,
        "differs": sorted({line for one in found.values() for line in differences(one, config, changes)}),
        "runs": {str(seed): measure_run(one) for seed, one in found.items()},
        "beside": {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("beside/*.json"))},
    }


def write_beside(folder: Path, jobs: Mapping[str, Callable[[], dict]], deadline: Deadline) -> bool:
    """Writes what each job finds to `folder/beside/NAME.json`, once; whether all of it is there in time."""
    for name, job in jobs.items():
        path = folder / "beside" / f"{name}.json"
        if path.exists():
            continue
        if deadline.passed:
            return False
        print(f"{folder}: {name}", flush=True)
        write_json(path, job())
    return True


def measure_run(found: history.History) -> Measured:
    """One run: the figures of its last step, none before it is there, and what it took."""
    steps = found.config.train.num_steps
    ends = [row for row in found.evaluations if row["step"] >= steps]
    commands, minutes = stretches(found.workdir), minutes_at(found.rows)
    return {
        "step": found.last_step,
        "steps": steps,
        "figures": {name: number(ends[-1].get(name)) for name in recorded(found.config.model.name)} if ends else None,
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


def digest(config: ConfigDict) -> str:
    """A short name of all that a run's figures depend on but the seed: runs with the same one belong together."""
    fields = {name: value for name, value in disk.flat(config.to_dict()).items() if name not in ("seed", *MAY_CHANGE)}
    fields = {name: value for name, value in fields.items() if value or not name.startswith("train.losses.")}
    told = json.dumps(fields | {"train.num_steps": config.train.num_steps}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def differences(found: history.History, config: str, changes: Sequence[str]) -> list[str]:
    """Where a run's config is not the one that is named, "field: the run's / the config's"."""
    ignored = {"seed", *MAY_CHANGE} - {"train.num_steps"}
    lines = disk.differences(found.config, recipe(config, *changes))
    return [line for line in lines if line.partition(":")[0] not in ignored]


def keep(measured: Mapping[str, Measured | None], names: Mapping[str, tuple], path: Path) -> dict[str, Measured]:
    """Adds what was measured to the file, and returns all of it: seeds whose directories are elsewhere stay.

    Args:
      names: {name: (config, changes)}; what was measured of others, which no command makes any more, goes.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {name: beside_known(found, known.get(name)) for name, found in measured.items() if found}
    known = {name: found for name, found in known.items() if names.get(name) == made_by(found)}
    write_json(path, known, indent=1)
    return known


def beside_known(found: Measured, known: Measured | None) -> Measured:
    """What was found, with the seeds that were known before, unless another recipe made them."""
    if not known or any(known.get(field) != found[field] for field in ("recipe", "config", "changes")):
        return found
    runs = known["runs"] | found["runs"]
    return found | {
        "runs": {seed: runs[seed] for seed in sorted(runs, key=int)},
        "beside": known["beside"] | found["beside"],
    }


def made_by(found: Measured) -> tuple[str, tuple[str, ...]]:
    return found["config"], tuple(found["changes"])


def titles(task: str) -> dict[str, str]:
    """The figures of a task that the tables show."""
    return {name: title for name, title in TASKS[task].TITLES.items() if not name.startswith(LEFT_OUT)}


def recorded(task: str) -> tuple[str, ...]:
    """The figures of a task that are kept of a run: those with a title, and how many slots it uses and draws."""
    return (*titles(task), "slots_used", "slots_drawn")


def titles_of_runs(task: str, measured: Iterable[Measured]) -> dict[str, str]:
    """Those that a finished run has a value of: pictures have no flow, scenes no classes."""
    measured = list(measured)
    return {
        name: title
        for name, title in titles(task).items()
        if any(value is not None for found in measured for value in finals(found, name))
    }


def finals(found: Measured | None, name: str) -> list[float | None]:
    """A figure of every finished run."""
    runs = found["runs"].values() if found else ()
    return [run["figures"].get(name) for run in runs if run["figures"]]


def failures(found: Measured | None) -> str:
    """How many finished runs failed; "" for none, or for a task that has no rule."""
    rules = {name: limit for name, limit in FAILED_BELOW.items() if found and name in titles(found["task"])}
    ends = list(zip(*(finals(found, name) for name in rules), strict=True))
    if not ends:
        return BLANK
    failed = [
        any(value is None or value < limit for value, limit in zip(end, rules.values(), strict=True)) for end in ends
    ]
    return f"{sum(failed)} of {len(ends)}"


def shown(value: float | None) -> str:
    return BLANK if value is None else f"{value:.3f}"


def mean(values: Sequence[float | None]) -> str:
    """Mean and sample standard deviation."""
    found = spread(values)
    if found is None:
        return BLANK
    return f"{found.mean:.3f}" + ("" if found.deviation is None else f" ± {found.deviation:.3f}")


def seed_cells(one: Measured | None, names: Sequence[str]) -> list[str]:
    """A run's figures, steps, minutes and devices; what is not there yet is blank."""
    if one is None:
        return [*[BLANK] * len(names), "not measured yet", *[BLANK] * (len(SEED_COLUMNS) - 1)]
    minutes = [BLANK if one[name] is None else f"{one[name]:.1f}" for name in ("minutes", "minutes_in_all")]
    rest = [*minutes, devices_of(one)]
    if one["figures"] is None:
        return [*[BLANK] * len(names), f"step {one['step']:,} of {one['steps']:,}", *rest]
    return [*(shown(one["figures"].get(name)) for name in names), f"{one['steps']:,}", *rest]


def devices_of(one: Measured) -> str:
    """On what a run was trained, without versions."""
    return "; ".join(sorted({machine.partition(",")[0] for machine in one["machines"]}))


def conditions(measured: Collection[Measured]) -> str:
    """Where runs were trained and on how many images they were scored, in sentences."""
    devices = sorted({one for found in measured for run in found["runs"].values() for one in run["machines"]})
    images = sorted({found["images"] for found in measured})
    what = "videos" if all(found["task"] == "video" for found in measured) else "images"
    where = "; ".join(devices) or "a device that was not recorded"
    said = f"On {where}; scored on {' or '.join(f'{count:,}' for count in images)} held-out {what}."
    if differs := sorted({line for found in measured for line in found["differs"]}):
        said += f" Not as the config has it (run / config): {'; '.join(differs)}."
    return said
