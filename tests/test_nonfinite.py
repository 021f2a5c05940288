"""A step that was not finite: stops the run or is left out, and can be done again."""

import sys

import jax
import numpy as np
import pytest
from slotjax.training.logging import read_metrics
from test_training import tiny

from slotjax import replay
from slotjax.errors import RunFailed, UserError
from slotjax.training.loop import train
from slotjax.training.run import restore_state
from slotjax.weights import load_entries, save_weights, unflatten


@pytest.fixture(scope="module")
def config():
    config = tiny("tetrominoes", num_steps=8, log_every=1, eval_every=4, checkpoint_every=2)
    config.parallel = "jit"
    return config


@pytest.fixture
def poisoned(poison):
    """The fifth batch holds a number that is none."""
    poison((0, 0, 0, 0))


def test_a_bad_batch_stops_the_run_and_can_be_looked_at(config, tmp_path, poisoned, monkeypatch, capsys):
    with pytest.raises(
        RunFailed, match=r"step 5: .*loss.* not finite; .*checkpoints/4; .*slotjax.replay .*step_0*5.npz"
    ):
        train(config, tmp_path)
    state = restore_state(config, tmp_path)[1]
    assert int(state.step) == 4 and all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    path = tmp_path / "nonfinite" / "step_0000005.npz"
    with np.load(path, allow_pickle=False) as dumped:  # exactly what the step started from
        np.testing.assert_array_equal(dumped["params/attention/project_q"], state.params["attention"]["project_q"])
    monkeypatch.setattr(sys, "argv", ["replay", str(path)])
    capsys.readouterr()
    replay.main()
    said = capsys.readouterr().out
    assert "step 5" in said and "loss nan" in said and "1 of " in said and "NOT FINITE" in said
    fields, entries = load_entries(path)
    fields["train"]["chroma_weight"] = "much"
    save_weights(path, fields, unflatten(entries))
    with pytest.raises(UserError, match=r"step_0*5.npz: train.chroma_weight='much': must be a number"):
        replay.main()
    save_weights(path, {"model": [], "step": 5}, unflatten(entries))
    with pytest.raises(UserError, match=r"step_0*5.npz: .* is missing"):
        replay.main()


def test_a_bad_batch_can_be_skipped(config, tmp_path, poisoned, capsys):
    skipping = config.copy_and_resolve_references()
    skipping.train.on_nonfinite = "skip"
    train(skipping, tmp_path)
    assert "step 5: grad_norm, loss, update_norm not finite: left out" in capsys.readouterr().out
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows if row["loss"] is None] == [5]
    state = restore_state(config, tmp_path)[1]
    assert int(state.step) == 8 and all(np.isfinite(x).all() for x in jax.tree.leaves(state))
