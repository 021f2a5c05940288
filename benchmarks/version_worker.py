"""Training steps of the slotjax that PYTHONPATH names, when told to; `benchmarks/versions.py` starts it.

Three arguments: the config with its variants, how many steps at a time, and a file of parameters to begin with, which
is written where there is none. Prints devices and the first step's loss, then for every line read the seconds of a
step. It knows older forms of what it imports; nothing else in the project has to.
"""

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slotjax import cli
from slotjax.training import parallel
from slotjax.training.run import open_run

try:
    from slotjax.training.restore import initial_state
except ImportError:  # where it was before
    from slotjax.training.run import initial_state


def main() -> None:
    (path, _, variants), steps, parameters = sys.argv[1].partition(":"), int(sys.argv[2]), Path(sys.argv[3])
    config = runpy.run_path(path)["get_config"](variants)
    config.seed = 0  # of the noise that slots start from
    if config.get("cores") == "devices":
        parallel.one_device_per_core(config.train.batch_size)
    run = open_run(config, parameters.parent / "none")  # a workdir; nothing is written
    state = initial_state(config, run.model)
    state = state.replace(params=shared(state.params, parameters))
    if hasattr(run, "layout"):  # before it, parameters were trained as a tree
        state = run.layout.pack(jax.device_get(state))
    state, batch, train = run.parallel.replicate(state), run.parallel.shard(example(config)), run.train_step()
    state, metrics = train(state, batch)
    print(json.dumps({"devices": len(jax.devices()), "loss": float(metrics["loss"])}), flush=True)
    for _ in range(2 * steps):
        state, metrics = train(state, batch)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(steps):
            state, metrics = train(state, batch)
        jax.block_until_ready((state, metrics))
        print(json.dumps((time.perf_counter() - start) / steps), flush=True)


def shared(params: Any, path: Path) -> Any:
    """The parameters in the file, in the order of the leaves; or these, which are put there."""
    leaves, structure = jax.tree.flatten(params)
    if not path.exists():
        np.savez(path, *leaves)
    with np.load(path) as file:
        found = [file[name] for name in file.files]
    if [x.shape for x in found] != [x.shape for x in leaves]:
        raise SystemExit("its parameters have other shapes, so that it is not the same model")
    return jax.tree.unflatten(structure, found)


def example(config) -> dict[str, np.ndarray]:
    """Pictures of noise, the same for all."""
    size = config.train.batch_size
    images = np.random.default_rng(0).uniform(-1, 1, (size, *config.model.resolution, 3)).astype(np.float32)
    return {"image": images, "index": np.arange(size, dtype=np.int32)}


if __name__ == "__main__":
    cli.run(main)
