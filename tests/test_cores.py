"""Cores as devices: they share few threads, none of which may be kept while one waits for another."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

THIRTY_STEPS = """
from pathlib import Path
import jax
from configs.quick import get_config
from slotjax.training.restore import initial_state
from slotjax.training.run import open_run

for parts in (1, 32):
    config = get_config("tiny")
    config.cores = "devices"
    config.train.update(batch_size=64, micro_batches=parts)
    run = open_run(config, Path("/nowhere"))
    state = run.parallel.replicate(run.layout.pack(jax.device_get(initial_state(config, run.model))))
    step, before = run.train_step(), None
    for _, batch in zip(range(30), run.feed.train_batches(run.parallel, 0)):
        state, metrics = step(state, batch)
        if before:
            float(before["loss"])  # one step late, as the training loop does
        before = metrics
    print(len(run.parallel.devices), "devices,", int(state.step), "steps in", parts)
"""


@pytest.mark.slow
def test_devices_do_not_wait_for_each_other_forever():
    """With as many threads as devices; XLA ends a process whose devices wait for longer than 40 seconds."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PJRT_NPROC": "2", "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", THIRTY_STEPS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "2 devices, 30 steps in 1\n2 devices, 30 steps in 32\n"
