"""A long run stays as it is: no growth of memory, open files or threads, and nothing compiled again."""

import os
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import tiny

from slotjax.training.loop import train
from slotjax.training.progress import Progress

STEPS, SETTLED = 2000, 600
MOST_GROWTH = 24 * 2**20  # bytes over the 1,400 steps: less than 20 KiB a step, for what allocators keep


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux' /proc")
def test_two_thousand_steps_stay_flat(tmp_path, monkeypatch):
    config = tiny("quick", num_steps=STEPS, log_every=10, eval_every=200, checkpoint_every=100)
    compiled: list[int] = []
    seen: dict[int, tuple[int, int, int]] = {}
    step = 0

    def count(event: str, duration: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(step)

    advance = Progress.advance

    def look(self, at):
        nonlocal step
        advance(self, at)
        step = at
        if at % 50 == 0:
            seen[at] = (resident(), len(os.listdir("/proc/self/fd")), threading.active_count())

    jax.monitoring.register_event_duration_secs_listener(count)
    monkeypatch.setattr(Progress, "advance", look)
    try:
        train(config, tmp_path)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert compiled, "nothing was counted: has the event another name?"
    assert max(compiled) <= config.train.eval_every, "compiled again after the first evaluation"
    memory, files, threads = (np.array(column) for column in zip(*(seen[at] for at in sorted(seen)), strict=True))
    settled = np.array(sorted(seen)) >= SETTLED
    middle = len(memory[settled]) // 2
    assert np.median(memory[settled][middle:]) - np.median(memory[settled][:middle]) < MOST_GROWTH
    assert files[settled].max() <= files[~settled].max() + 2
    assert threads[settled].max() <= threads[~settled].max() + 2
