"""What a step that was not finite started from, written down so that it can be looked at: see `slotjax.replay`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.weights import save_weights

KEPT = 5  # files in one workdir; a run that skips often does not fill the disk


def broken(figures: Mapping[str, float]) -> list[str]:
    """Names of the figures that are not finite."""
    return [name for name, value in figures.items() if not math.isfinite(value)]


def dump(workdir: Path, config: ConfigDict, step: int, params: Any, batch: Mapping[str, Any], keys: Any) -> Path | None:
    """Writes the parameters before step `step`, its batch and the keys of its slots; None if there are enough already.

    Args:
      batch: arrays [b, ...]; keys: typed random keys [b].
    """
    folder = workdir / "nonfinite"
    own = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""  # each has its rows of the batch
    path = folder / f"step_{step:07d}{own}.npz"
    if len(list(folder.glob("*.npz"))) >= KEPT:
        return None
    tree = {
        "params": jax.tree.map(np.asarray, params),
        "batch": jax.tree.map(np.asarray, dict(batch)),
        "keys": np.asarray(jax.random.key_data(keys)),
    }
    save_weights(path, config.to_dict() | {"step": step}, tree)
    return path
