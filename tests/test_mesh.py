"""Devices that share each picture: the second axis of a mesh."""

import json

import numpy as np
import pytest
from helpers import command, tiny

from slotjax.errors import UserError
from slotjax.training.loop import train
from slotjax.training.metrics_log import read_metrics

ONE, EIGHT = ({"JAX_NUM_CPU_DEVICES": count} for count in ("1", "8"))

THREE_STEPS = """
import json, sys
from pathlib import Path
import jax
from slotjax.config.command_line import read_config
from slotjax.training.restore import initial_state
from slotjax.training.run import open_run

file, variants, sharing = sys.argv[1:]
config = read_config(Path(f"configs/{file}.py"), variants)
config.parallel = "jit"
config.train.batch_size = 8
config.mesh.model = int(sharing)
run = open_run(config, Path("/nowhere"))
state = run.parallel.replicate(run.layout.pack(jax.device_get(initial_state(config, run.model))))
step, losses = run.train_step(), []
for _, batch in zip(range(3), run.feed.train_batches(run.parallel, 0)):
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"]))
print(json.dumps(losses))
"""


@pytest.mark.parametrize(
    ("mode", "data", "model", "batch", "message"),
    [
        ("pmap", 0, 2, 8, "mesh.model=2: is for parallel=jit; set that, or mesh.model=1"),
        ("jit", 0, 3, 8, "mesh.model=3: does not divide the 4 devices of a process; take a divisor, or 1"),
        ("jit", 0, 8, 8, "mesh.model=8: does not divide the 4 devices of a process"),
        ("jit", 3, 2, 8, "mesh.data=3: times mesh.model=2 is not the number of devices, 4; take 2, or 0"),
        ("pmap", 2, 1, 8, "mesh.data=2: times mesh.model=1 is not the number of devices, 4; take 4, or 0"),
        ("jit", 0, 2, 3, "train.batch_size=3: not divisible by the 4 devices over 2; take 4"),
        ("jit", 0, 0, 8, "mesh.model=0: must be at least 1"),
    ],
)
def test_devices_that_make_no_mesh_are_named(tmp_path, mode, data, model, batch, message):
    config = tiny("quick", batch_size=batch)
    config.parallel = mode
    config.mesh.update(data=data, model=model)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quick:tiny", "video:small,tiny", "features:textured,tiny"])
def test_devices_that_share_pictures_learn_as_one_does(name):
    """Eight devices, of which four share an example."""
    alone, shared = (
        command("-c", THREE_STEPS, *name.split(":"), sharing, **flags) for flags, sharing in ((ONE, "1"), (EIGHT, "4"))
    )
    assert not shared.stderr and not shared.returncode
    np.testing.assert_allclose(json.loads(shared.stdout), json.loads(alone.stdout), rtol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_another_mesh(tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    go_on(one, 4, ONE)
    go_on(many, 2, EIGHT, "--config.mesh.data=2", "--config.mesh.model=4")
    said = go_on(many, 4, EIGHT, "--config.mesh.data=4", "--config.mesh.model=2")
    assert "continuing after step 2" in said
    alone, shared = (read_metrics(path / "metrics.jsonl") for path in (one, many))
    losses = [[row["loss"] for row in rows if "loss" in row] for rows in (alone, shared)]
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(shared[-1]["mse"], alone[-1]["mse"], rtol=1e-5)  # the evaluation


def go_on(workdir, steps: int, devices: dict[str, str], *mesh: str) -> str:
    """Trains to so many steps, and returns what was said."""
    fields = {"num_steps": steps, "batch_size": 8, "log_every": 1, "eval_every": 4, "schedule": "constant"}
    changes = [f"--config.train.{field}={value}" for field, value in fields.items()]
    arguments = ["--config", "configs/quick.py:tiny", "--workdir", workdir, "--config.parallel=jit", *changes, *mesh]
    done = command("train.py", *arguments, **devices)
    assert not done.stderr and not done.returncode
    return done.stdout
