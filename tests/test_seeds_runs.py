"""Runs of several seeds: a directory each, stopped, killed, damaged and gone on with."""

import json
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from test_faults import assert_same_run, contents, damage
from test_seeds import several
from test_training import figures, tiny

import slotjax
from slotjax import configuration
from slotjax.errors import RunFailed, RunStopped, UserError
from slotjax.report import default_output, report, runs_in
from slotjax.system.locks import hold
from slotjax.training.checkpoint import Checkpoints, newest_common
from slotjax.training.logging import Logger
from slotjax.training.loop import train


@pytest.fixture(scope="module")
def config():
    config = tiny("quick", num_steps=8, log_every=1, eval_every=4, checkpoint_every=2, keep_checkpoints=1)
    config.parallel = "jit"
    return several(config)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("seeds") / "whole"
    assert train(config, folder) == 8
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def own_runs(config, workdir):
    return zip(configuration.of_each_seed(config), configuration.workdirs(config, workdir), strict=True)


def assert_same_runs(config, workdir, whole):
    for (own, ours), (_, theirs) in zip(own_runs(config, workdir), own_runs(config, whole), strict=True):
        assert_same_run(own, ours, theirs)


def test_every_directory_is_that_of_a_single_run(config, whole, tmp_path):
    own, theirs = list(own_runs(config, whole))[1]
    assert theirs.name == "seed_4"
    train(own, tmp_path)
    assert json.loads((theirs / "config.json").read_text()) == json.loads((tmp_path / "config.json").read_text())

    def names(folder):  # a joint run keeps one checkpoint more
        parts = [path.relative_to(folder).parts for path in folder.rglob("*") if path.is_file()]
        return {p for p in parts if p[:2] != ("checkpoints", "6") and p[0] not in ("tensorboard", ".lock")}

    def tops(names):  # orbax's own files have names by chance
        return {p[:2] if p[0] in ("checkpoints", "best") else p for p in names}

    assert tops(names(theirs)) == tops(names(tmp_path))
    assert list((theirs / "tensorboard").iterdir())
    for joint, single in zip(figures(theirs), figures(tmp_path), strict=True):
        assert joint.keys() == single.keys()
        assert joint["step"] == single["step"]
        if "loss" in joint:
            assert joint["loss"] == pytest.approx(single["loss"], rel=1e-5)
    (_, ours), (_, expected) = slotjax.load(theirs), slotjax.load(tmp_path)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)


@pytest.mark.slow
def test_one_seed_goes_on_alone(config, copy):
    own, folder = list(own_runs(config, copy))[1]
    own.train.num_steps = 10
    assert train(own, folder) == 2
    assert Checkpoints(folder).latest_step == 10


def test_a_report_compares_the_seeds(whole, tmp_path, capsys):
    assert default_output(runs_in(whole)) == whole / "comparison.html"
    html = report([whole], tmp_path / "x.html").read_text()
    assert "seed_3" in html and "seed_4" in html
    with pytest.raises(UserError, match=r"holds the runs of 2 seeds; name one of them, such as .*/seed_3$"):
        slotjax.load(whole)


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(("at", "goes_on"), [(2, "start from the beginning"), (6, "continuing after step 4")])
def test_a_kill_between_two_seeds_saves(config, whole, tmp_path, monkeypatch, capsys, at, goes_on):
    save = Checkpoints.save

    def save_or_die(self, step, state):
        if step == at and self.workdir.name == "seed_4":
            raise Killed
        save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", save_or_die)
    with pytest.raises(Killed):
        train(config, tmp_path)
    assert [Checkpoints(folder).latest_step for _, folder in own_runs(config, tmp_path)] == [at, at - 2 or None]
    monkeypatch.undo()
    capsys.readouterr()
    train(config, tmp_path)
    assert goes_on in capsys.readouterr().out
    assert_same_runs(config, tmp_path, whole)


@pytest.mark.parametrize("kind", ["damaged", pytest.param("missing", marks=pytest.mark.slow)])
def test_where_one_seed_lacks_the_newest_all_go_back_to_the_one_before(config, whole, copy, capsys, kind):
    newest = copy / "seed_4" / "checkpoints" / "8"
    if kind == "missing":  # as a kill between two seeds' saves leaves it
        shutil.rmtree(newest)
    else:
        damage(next((newest / "state").rglob("*/d/*")), "flip")
    assert train(config, copy) == 2
    said = capsys.readouterr().out
    assert ("warning: damaged checkpoint" in said) == (kind == "damaged")
    assert "step 6 is the newest that all seeds have; those that were at step 8 go back to it" in said
    assert_same_runs(config, copy, whole)


def test_nothing_is_touched_where_no_step_is_left_in_all(config, copy):
    shutil.rmtree(copy / "seed_4" / "checkpoints")
    before = contents(copy)
    with pytest.raises(UserError, match=r"copy: no step's checkpoint is intact in all 2 seeds; restore one"):
        train(config, copy)
    assert contents(copy) == before


@pytest.mark.slow
def test_a_signal_saves_every_seed(config, whole, tmp_path, monkeypatch):
    advance = Logger.advance

    def send(self, at):
        advance(self, at)
        if at == 3:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.2)  # for the thread that reads it

    monkeypatch.setattr(Logger, "advance", send)
    with pytest.raises(RunStopped, match=r"SIGTERM: saved step \d of 8 in .*/seed_\*/checkpoints"):
        train(config, tmp_path)
    first, second = (Checkpoints(folder).latest_step for _, folder in own_runs(config, tmp_path))
    assert first == second and first in (3, 4, 5)
    monkeypatch.undo()
    train(config, tmp_path)
    assert_same_runs(config, tmp_path, whole)


@pytest.fixture
def poisoned(poison):
    """The fifth batch of the second seed holds a number that is none."""
    poison((0, 1, 0, 0, 0))


@pytest.mark.slow
def test_a_bad_batch_of_one_seed_stops_the_run_and_names_it(config, tmp_path, poisoned):
    with pytest.raises(RunFailed, match=r"^seed 4  step 5: .*loss.* not finite; .*seed_4/checkpoints/4; .*seed_4/nonf"):
        train(config, tmp_path)
    assert [Checkpoints(folder).latest_step for _, folder in own_runs(config, tmp_path)] == [4, 4]
    with np.load(tmp_path / "seed_4" / "nonfinite" / "step_0000005.npz", allow_pickle=False) as dumped:
        assert dumped["batch/image"].shape == (4, 32, 32, 3) and np.isnan(dumped["batch/image"]).sum() == 1
        assert json.loads(str(dumped["config.json"]))["seed"] == 4
    assert not (tmp_path / "seed_3" / "nonfinite").exists()


@pytest.mark.slow
def test_a_bad_batch_of_one_seed_is_left_out_by_that_one_alone(config, whole, tmp_path, poisoned):
    skipping = config.copy_and_resolve_references()
    skipping.train.on_nonfinite = "skip"
    train(skipping, tmp_path)
    untouched, skipped = (figures(folder) for _, folder in own_runs(config, tmp_path))
    assert untouched == figures(whole / "seed_3")
    assert [row["step"] for row in skipped if "loss" in row and row["loss"] is None] == [5]


def test_the_number_of_seeds_stays(config, copy):
    before = contents(copy)
    for other in (several(config, 3), next(own_runs(config, copy))[0]):
        with pytest.raises(
            UserError, match=r"another config .*train.num_seeds: [31] / 2.* the same config to continue"
        ):
            train(other, copy)
    assert contents(copy) == before


def test_a_seed_that_is_another_run_is_left_alone(config, copy):
    (copy / "config.json").unlink()
    other = config.copy_and_resolve_references()
    other.model.slot_dim = 8
    with pytest.raises(UserError, match=r"copy/seed_3: holds a run with another config \(model.slot_dim"):
        train(other, copy)


def test_a_seed_that_is_at_work_alone_keeps_the_others_out(config, copy):
    with hold(copy / "seed_4"), pytest.raises(UserError, match="copy/seed_4: another run is at work there"):
        train(config, copy)


def test_any_step_that_all_have_will_do_and_later_ones_go(tmp_path):
    """Without training: which checkpoints are chosen, and what is left of the others."""

    def seeds(*saved):
        folders = [tmp_path / f"{len(list(tmp_path.iterdir()))}" for _ in saved]
        for i, (folder, steps) in enumerate(zip(folders, saved, strict=True)):
            folders[i] = folder.with_name(f"{folder.name}_{i}")
            checkpoints = Checkpoints(folders[i], keep=9)
            for step in steps:
                checkpoints.save(step, {"x": np.float32(step)})
            checkpoints.close()
        return [Checkpoints(folder) for folder in folders]

    said: list[str] = []
    some = seeds((1, 2, 4), (2, 3), (1, 2, 3, 4))
    assert [found.step for found in newest_common(some, said.append) or []] == [2, 2, 2]
    assert said == ["step 2 is the newest that all seeds have; those that were at step 4 go back to it"]
    some[2].forget_after(2)
    assert some[2].steps == {1, 2}
    assert newest_common(seeds((), ()), said.append) is None and len(said) == 1
    assert newest_common(seeds((3,), ()), said.append) is None
    assert "not all seeds have a checkpoint of step 3, their first" in said[-1]
    for saved in (((3, 6), ()), ((3,), (6,))):
        with pytest.raises(UserError, match="no step's checkpoint is intact in all 2 seeds"):
            newest_common(seeds(*saved), said.append)
