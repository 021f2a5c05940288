"""Several real processes on the loopback interface, with gloo: as `train.py --distributed` starts them."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import ENVIRONMENT, ROOT

from slotjax.errors import UserError
from slotjax.training import processes
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.metrics_log import read_metrics

STEPS = 20


def start(workdir: Path, count: int, *arguments: str, workdirs: list[Path] | None = None) -> list[subprocess.Popen]:
    """`count` processes of one run of `STEPS` steps."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "train.py", "--config", "configs/quick.py:tiny", f"--config.train.num_steps={STEPS}"]
    command += ["--config.train.log_every=1", "--config.train.eval_every=10", *arguments]
    places = workdirs or [workdir] * count
    return [
        subprocess.Popen(
            [*command, "--workdir", str(place)]
            + ([f"--distributed=127.0.0.1:{port},{index},{count}"] if count > 1 else []),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, place in enumerate(places)
    ]


def finish(running: list[subprocess.Popen], seconds: int = 400) -> list[tuple[int, str, str]]:
    results = []
    for process in running:
        out, err = process.communicate(timeout=seconds)
        results.append((process.returncode, out, err))
    return results


def losses(workdir: Path) -> list[float]:
    rows = [row for row in read_metrics(workdir / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return [row["loss"] for row in rows]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed") / "alone"
    assert finish(start(folder, 1))[0][0] == 0
    return losses(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "mode"), [(2, "pmap"), (2, "jit"), (4, "pmap")])
def test_processes_train_as_one_does(alone, tmp_path, count, mode):
    results = finish(start(tmp_path / "run", count, f"--config.parallel={mode}"))
    assert [code for code, _, _ in results] == [0] * count, results
    np.testing.assert_allclose(losses(tmp_path / "run"), alone, rtol=1e-5)
    assert f"of {count} processes" in results[0][1]
    assert all("step" not in out for _, out, _ in results[1:])  # one speaks for all


@pytest.mark.slow
def test_a_killed_process_ends_the_job_and_any_number_goes_on(alone, tmp_path):
    workdir = tmp_path / "run"
    running = start(workdir, 2)
    deadline = time.time() + 300
    while (Checkpoints(workdir).latest_step or 0) < 6 and time.time() < deadline:
        time.sleep(0.05)
    running[1].send_signal(signal.SIGKILL)
    killed = time.time()
    (code, _, said), _ = finish(running, 120)
    assert time.time() - killed < 90
    assert code != 0 and ("another process is gone" in said or "fatal errors" in said), said
    assert finish(start(workdir, 1))[0][0] == 0  # onto another number of processes
    np.testing.assert_allclose(losses(workdir), alone, rtol=1e-5)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_at_the_same_step(tmp_path):
    running = start(tmp_path / "run", 2, "--config.train.num_steps=100000")
    deadline = time.time() + 300
    while (Checkpoints(tmp_path / "run").latest_step or 0) < 6 and time.time() < deadline:
        time.sleep(0.05)
    running[1].send_signal(signal.SIGTERM)
    results = finish(running, 120)
    assert [code for code, _, _ in results] == [75, 75], results
    said = [err.split("saved step ")[1].split()[0] for _, _, err in results]
    assert said[0] == said[1] == str(Checkpoints(tmp_path / "run").latest_step)


@pytest.mark.slow
def test_workdirs_must_be_shared(tmp_path):
    results = finish(start(tmp_path, 2, workdirs=[tmp_path / "a", tmp_path / "b"]))
    assert [code for code, _, _ in results] == [2, 2], results
    assert all("process 1 of 2 does not see the one of process 0" in err for _, _, err in results)


@pytest.mark.parametrize(
    ("asked", "message"),
    [("10.0.0.1", "write HOST:PORT,INDEX,COUNT"), ("h:1,2,2", "the last of 2 is 1"), ("h,0,2", "write HOST:PORT")],
)
def test_what_cannot_be_joined(asked, message):
    with pytest.raises(UserError, match=message):
        processes.parse(asked)
