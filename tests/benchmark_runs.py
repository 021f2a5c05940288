"""The benchmarks as modules, and runs by hand for what they report on."""

import importlib
import json
from pathlib import Path

from helpers import config_of

from slotjax.config import disk

PAUSED = 100_000.0  # seconds between two stretches


def module(name: str):
    return importlib.import_module(name)


def written(folder: Path, name: str, seed: int, finals: list[float], steps: int | None = None, **fields) -> Path:
    """A run by hand, an evaluation every 10 steps and a line every 5, a second a step; once it paused."""
    config = config_of(name)
    config.seed, config.train.num_steps = seed, steps or 10 * len(finals)
    config.train.update(fields)
    disk.save(config, folder / "config.json")
    rows = []
    for step in range(5, 10 * len(finals) + 1, 5):
        rows.append({"step": step, "loss": 1 / step, "time": 1000.0 + step + (PAUSED if step > 5 else 0)})
        if step % 10 == 0:
            value = finals[step // 10 - 1]
            of_masks = {"fg_ari": value - 0.2, "ari": 0.4, "miou": 0.3, "mbo": 0.25}
            figures = {"posterior_fg_ari": value, "posterior_ari": 0.5, "posterior_miou": value / 2}
            figures |= {"posterior_mbo": 0.45, "slots_used": 4.5, **of_masks}
            rows.append({"step": step, **figures, "mse": 0.1, "num_images": 320})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]
