"""The benchmarks as modules, and runs by hand for what they report on."""

import importlib
import json
from pathlib import Path

import golden

from slotjax import configuration

PAUSED = 100_000.0  # seconds between two stretches


def module(name: str):
    return importlib.import_module(name)


def written(folder: Path, name: str, seed: int, finals: list[float], steps: int | None = None, **fields) -> Path:
    """A run by hand, an evaluation every 10 steps and a line every 5, a second a step; once it paused."""
    path, _, variants = name.partition(":")
    config = golden.load_config_file(path).get_config(variants)
    config.seed, config.train.num_steps = seed, steps or 10 * len(finals)
    config.train.update(fields)
    folder.mkdir(parents=True)
    configuration.save(config, folder / "config.json")
    rows = []
    for step in range(5, 10 * len(finals) + 1, 5):
        rows.append({"step": step, "loss": 1 / step, "time": 1000.0 + step + (PAUSED if step > 5 else 0)})
        if step % 10 == 0:
            value = finals[step // 10 - 1]
            rows.append({"step": step, "fg_ari": value, "ari": 0.5, "miou": value / 2, "mse": 0.1, "num_images": 320})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]
