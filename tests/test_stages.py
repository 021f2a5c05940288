"""Curricula: one objective after another."""

import json

import jax
import optax
import pytest
from helpers import figures, images_of, tiny

import slotjax
from slotjax.config.check import validate
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.training.loop import train
from slotjax.training.run import open_run, open_stages


@pytest.mark.slow
def test_a_curriculum_changes_the_step_on_the_way(tmp_path, capsys):
    """The first steps are those of a run with fewer iterations, the last ones those of a run with more."""
    config = tiny("quick", num_steps=4, log_every=1, eval_every=4, checkpoint_every=2)
    config.model.num_iterations, config.train.stages = 3, ({"until": 2, "model.num_iterations": 1},)
    train(config, tmp_path / "staged")
    assert "step 3  from here on model.num_iterations=3" in capsys.readouterr().out
    short = config.copy_and_resolve_references()
    short.model.num_iterations, short.train.stages, short.train.num_steps = 1, (), 4
    train(short, tmp_path / "one")
    losses = [[row["loss"] for row in figures(tmp_path / name) if "loss" in row] for name in ("staged", "one")]
    assert losses[0][:2] == losses[1][:2] and losses[0][2:] != losses[1][2:]
    assert json.loads((tmp_path / "staged" / "config.json").read_text())["train"]["stages"] == [
        {"until": 2, "model.num_iterations": 1}
    ]
    train(config, tmp_path / "staged")
    assert "nothing to do" in capsys.readouterr().out


def test_a_stage_may_leave_parameters_as_they_began():
    config = tiny("quick")
    config.train.stages = ({"until": 2, "model.decoder.position": "shared"},)
    objectives = [stage.objective for stage in open_stages(config)]
    model = build_model(config.model)
    images = images_of(model)
    params, keys = slotjax.init(model, jax.random.key(0), images), jax.random.split(jax.random.key(1), 2)
    gradients = [
        jax.jit(jax.grad(lambda params, minimised=minimised: minimised(params, {"image": images}, keys, 0)[0]))(params)
        for minimised in objectives
    ]
    first, then = (float(optax.tree.norm(of["decoder"]["position"]["own"])) for of in gradients)
    assert first == 0 < then
    assert all(float(optax.tree.norm(of["decoder"]["position"]["kernel"])) > 0 for of in gradients)


def test_a_stage_that_needs_further_parameters_is_refused(tmp_path):
    config = tiny("quick")
    config.train.stages = ({"until": 2, "model.selection": "gumbel"},)
    with pytest.raises(UserError, match="train.stages: the config's own model lacks .*selection"):
        open_run(config, tmp_path)


def test_a_stage_names_the_field_that_it_cannot_set():
    config = tiny("quick")
    config.train.stages = ({"until": 1, "model.num_iterations": "x"},)
    with pytest.raises(UserError, match=r"train.stages\[0\]: model.num_iterations='x': must be a whole number"):
        validate(config)


def test_a_loss_is_asked_for_in_the_stages_in_which_it_weighs_something(tmp_path):
    config = tiny("quick", num_steps=8)
    config.model.selection, config.train.stages = "gumbel", ({"until": 4, "model.selection": "all"},)
    config.train.losses = {"mse": 1.0, "kept": ((4, 0.0), (5, 0.3))}
    model = build_model(config.model)
    images = images_of(model)
    params, keys = slotjax.init(model, jax.random.key(0), images), jax.random.split(jax.random.key(1), 2)
    first, then = (stage.objective(params, {"image": images}, keys, 6)[1] for stage in open_stages(config))
    assert "kept" not in first and 0 < float(then["kept"]) < 1
    config.train.losses = {"mse": 1.0, "kept": ((2, 0.0), (5, 0.3))}
    with pytest.raises(UserError, match="train.losses.kept: all slots are drawn; choose a model.selection, or weigh"):
        open_run(config, tmp_path)


def test_a_stage_in_which_nothing_is_learned_is_refused():
    config = tiny("quick", num_steps=8)
    config.train.losses = {"mse": ((4, 0.0), (5, 1.0))}
    config.train.stages = ({"until": 4, "model.num_iterations": 1},)
    with pytest.raises(UserError, match="train.losses: nothing to learn from step 1 to 4; weigh one above 0"):
        open_stages(config)
