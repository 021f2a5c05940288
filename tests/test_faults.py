"""What a run meets: signals, damage, full disks, other runs, numbers that are none. Kills: benchmarks/faults.py."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT, figures, tiny

from slotjax.errors import RunFailed, RunStopped, UserError
from slotjax.models import build_model
from slotjax.system.locks import hold
from slotjax.training import manifest
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.interruption import Interruption
from slotjax.training.loop import train
from slotjax.training.metrics_log import read_metrics
from slotjax.training.progress import Progress
from slotjax.training.restore import initial_state, restore_state


@pytest.fixture(scope="module")
def config():
    config = tiny("tetrominoes", num_steps=8, log_every=1, eval_every=4, checkpoint_every=2)
    config.parallel = "jit"
    return config


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("faults") / "whole"
    train(config, folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def state_of(config, folder):
    return jax.tree.leaves(restore_state(config, folder)[1])


def assert_same_run(config, folder, whole):
    assert figures(folder) == figures(whole)
    for ours, theirs in zip(state_of(config, folder), state_of(config, whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock's, which names the process."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


# Signals


def test_a_signal_saves_and_the_same_command_goes_on(config, whole, tmp_path, monkeypatch, capsys):
    step = 4  # an evaluation is due: it is made up for
    advance = Progress.advance

    def send(self, at):
        advance(self, at)
        if at == step:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.2)  # for the thread that reads it

    monkeypatch.setattr(Progress, "advance", send)
    with pytest.raises(RunStopped, match=r"SIGTERM: saved step \d of 8 in .*; the same command goes on"):
        train(config, tmp_path)
    assert "finishing this step, then saving; once more stops at once" in capsys.readouterr().err
    assert Checkpoints(tmp_path).latest_step in (step, step + 1)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.undo()
    train(config, tmp_path)
    assert_same_run(config, tmp_path, whole)


def test_a_second_signal_stops_at_once():
    code = """
import signal, time
from slotjax.training.interruption import Interruption
with Interruption() as asked:
    asked.may_save = True
    signal.raise_signal(signal.SIGTERM)
    while asked.asked != "SIGTERM":  # a thread reads signals, which on a busy machine takes a while
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)  # within a second it is the same: `timeout` signals a child and then its group
    time.sleep(2)
    print("went on", flush=True)
    signal.raise_signal(signal.SIGINT)
    time.sleep(30)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 128 + signal.SIGINT and "went on" in result.stdout
    assert "stopped at once" in result.stderr


def test_a_signal_before_the_first_step_stops_at_once():
    code = """
import signal, time
from slotjax.training.interruption import Interruption
with Interruption():
    signal.raise_signal(signal.SIGTERM)
    time.sleep(30)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 75
    assert "nothing is lost" in result.stderr


def test_a_signal_that_was_ignored_stays_ignored():
    """As SIGINT is in the background of a script, and SIGTERM under some supervisors."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with Interruption() as asked:
            asked.may_save = True
            signal.raise_signal(signal.SIGUSR1)
            assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert asked.asked is None
    finally:
        signal.signal(signal.SIGUSR1, before)


# Damage


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "delete" or not data:
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["flip", "truncate", "delete"])
def test_damage_to_any_file_is_noticed_and_named(whole, tmp_path, kind):
    folder = whole / "checkpoints" / "8"
    assert manifest.verify(folder)["step"] == 8
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert len(names) > 5 and manifest.NAME in names
    for name in names:
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        damage(copy / name, kind)
        with pytest.raises(manifest.Damaged, match=name):
            manifest.verify(copy)
        shutil.rmtree(copy)


def test_no_byte_of_the_manifest_can_change_unnoticed(whole, tmp_path):
    copy = Path(shutil.copytree(whole / "checkpoints" / "8", tmp_path / "copy"))
    data = (copy / manifest.NAME).read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 200):
        flipped = bytearray(data)
        flipped[place] ^= 1
        (copy / manifest.NAME).write_bytes(flipped)
        with pytest.raises((manifest.Damaged, UserError)):
            manifest.verify(copy)


def test_the_one_before_a_damaged_checkpoint_is_used(config, whole, copy, capsys):
    damage(next((copy / "checkpoints" / "8" / "state").rglob("*/d/*")), "flip")
    damage(copy / "checkpoints" / "6" / manifest.NAME, "delete")
    train(config, copy)
    out, said = capsys.readouterr()
    assert "warning: damaged checkpoint" in said and "SHA-256 differs" in said and "manifest.json is missing" in said
    assert "continuing after step 4" in out
    assert_same_run(config, copy, whole)


def test_what_was_given_up_makes_room_for_what_is_saved(copy):
    """Checkpoints of later steps, from before the run went back, do not push out the one just written."""
    state = {"x": np.zeros(3, np.float32)}
    checkpoints = Checkpoints(copy, {}, keep=1)
    checkpoints.save(5, state)
    checkpoints.save_best(1, state)
    checkpoints.close()
    assert [path.name for path in (copy / "checkpoints").iterdir()] == ["5"]
    assert [path.name for path in (copy / "best").iterdir()] == ["1"]


@pytest.mark.parametrize("moment", ["verify", "read"])
def test_a_best_checkpoint_that_is_replaced_while_it_is_read_is_the_new_one(tmp_path, monkeypatch, capsys, moment):
    """Evaluating a run that goes on: the best checkpoint may go at any moment, and another is there."""
    checkpoints = Checkpoints(tmp_path)
    state = {"x": np.ones(3, np.float32)}
    checkpoints.save_best(1, state)
    checkpoints.wait()
    owner, name = (manifest, "verify") if moment == "verify" else (Checkpoints, "read")
    original = getattr(owner, name)

    def replaced_first(*arguments):
        monkeypatch.setattr(owner, name, original)
        checkpoints.save_best(2, {"x": 2 * state["x"]})
        checkpoints.wait()
        return original(*arguments)

    monkeypatch.setattr(owner, name, replaced_first)
    restored = Checkpoints(tmp_path).restore(state, best=True)
    np.testing.assert_array_equal(restored["x"], 2 * state["x"])
    assert "warning" not in capsys.readouterr().err


def test_if_every_checkpoint_is_damaged_nothing_is_touched(config, copy):
    for folder in (copy / "checkpoints").iterdir():
        damage(folder / manifest.NAME, "truncate")
    before = contents(copy)
    with pytest.raises(UserError, match=r"none of its 3 checkpoints is intact; restore one from a copy"):
        train(config, copy)
    assert contents(copy) == before


def test_a_damaged_best_checkpoint_gives_way_to_the_newest(config, copy, capsys):
    damage(next((copy / "best").glob("*")) / manifest.NAME, "flip")
    assert int(restore_state(config, copy, best=True)[1].step) == 8
    assert "newest one is used instead of the best" in capsys.readouterr().err


def test_a_checkpoint_of_another_config_is_refused_though_config_json_is_gone(config, copy):
    (copy / "config.json").unlink()
    other = config.copy_and_resolve_references()
    other.seed = 7
    before = contents(copy)
    with pytest.raises(UserError, match=r"seed: 7 / 0"):
        train(other, copy)
    assert contents(copy) == before


def test_another_dtype_is_refused(config, whole):
    state = jax.eval_shape(lambda: initial_state(config, build_model(config.model)))
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16 if x.ndim else x.dtype), state)
    with pytest.raises(UserError, match=r"entries differ: .*float32.* there, bfloat16.* here"):
        Checkpoints(whole).restore(half)


def test_a_newer_format_says_so(copy):
    path = copy / "checkpoints" / "8" / manifest.NAME
    content = json.loads(path.read_text()) | {"format_version": manifest.FORMAT_VERSION + 1}
    content.pop("sha256")
    path.write_text(manifest._render(content))
    with pytest.raises(UserError, match="written by a newer slotjax .* pip install --upgrade slotjax"):
        manifest.verify(path.parent)


# Numbers that are none


@pytest.fixture
def poisoned(poison):
    """The fifth batch holds a number that is none."""
    poison((0, 0, 0, 0))


def finite(state) -> bool:
    return all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_a_bad_batch_stops_the_run(config, tmp_path, poisoned):
    with pytest.raises(RunFailed, match=r"step 5: .*loss.* not finite; .*checkpoints/4; try a lower train.learn"):
        train(config, tmp_path)
    state = restore_state(config, tmp_path)[1]
    assert int(state.step) == 4 and finite(state)


def test_a_bad_batch_can_be_skipped(config, tmp_path, poisoned, capsys):
    skipping = config.copy_and_resolve_references()
    skipping.train.on_nonfinite = "skip"
    train(skipping, tmp_path)
    assert "step 5: grad_norm, loss, update_norm not finite: left out" in capsys.readouterr().out
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows if row["loss"] is None] == [5]
    state = restore_state(config, tmp_path)[1]
    assert int(state.step) == 8 and finite(state)


# Places and times


def test_two_runs_on_one_workdir(config, copy):
    with hold(copy), pytest.raises(UserError, match=rf"another run is at work there \(process {os.getpid()} on "):
        train(config, copy)
    assert train(config, copy) == 0


def test_a_place_that_cannot_be_written(config):
    with pytest.raises(UserError, match="--workdir /proc/slotjax: cannot be written"):
        train(config, Path("/proc/slotjax"))


def nearly_full(folder):
    return shutil._ntuple_diskusage(2**30, 2**30 - 2**10, 2**10)


def test_a_full_disk_loses_nothing(config, whole, tmp_path, monkeypatch):
    advance = Progress.advance

    def fill(self, at):
        advance(self, at)
        if at == 5:
            monkeypatch.setattr(shutil, "disk_usage", nearly_full)

    monkeypatch.setattr(Progress, "advance", fill)
    with pytest.raises(
        RunFailed, match=r"cannot be written \(No space left on device\); the last one is .*/4; make room"
    ):
        train(config, tmp_path)
    assert not list((tmp_path / "checkpoints").glob(".*"))
    monkeypatch.undo()
    train(config, tmp_path)
    assert_same_run(config, tmp_path, whole)


@pytest.mark.slow
def test_metrics_that_cannot_be_written_stop_the_run(config, whole, tmp_path, monkeypatch):
    """A limit on the size of files, which any user may set, stands in for a full disk."""
    advance, before = Progress.advance, resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, at):
        advance(self, at)
        if at == 5:
            time.sleep(1)  # until the checkpoint of step 4 is on the disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))

    monkeypatch.setattr(Progress, "advance", fill)
    try:
        with pytest.raises(RunFailed, match=r"cannot be written \(File too large\); .* the same command again"):
            train(config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monkeypatch.undo()
    train(config, tmp_path)
    assert_same_run(config, tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("days", [-400, 400])
def test_the_clock_may_jump(config, whole, tmp_path, monkeypatch, days):
    advance, true_time = Progress.advance, time.time

    def jump(self, at):
        advance(self, at)
        if at == 3:
            time.sleep(1)  # orbax gives up a save, with an error, if the clock leaps ahead in the middle of it
            monkeypatch.setattr(time, "time", lambda: true_time() + days * 86400)

    monkeypatch.setattr(Progress, "advance", jump)
    short = config.copy_and_resolve_references()
    short.train.num_steps = 6
    train(short, tmp_path)
    monkeypatch.undo()
    train(config, tmp_path)
    ours = [row for row in figures(tmp_path) if row["step"] != 6 or "mse" not in row]  # scored there, as its last step
    assert ours == figures(whole)
