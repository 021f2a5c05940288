"""Training: the same on one device and many, in parts and whole, in one go and resumed."""

import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ENVIRONMENT, config_of, figures, tiny, untrained
from ml_collections import ConfigDict
from PIL import Image

from slotjax import weights
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.nn import cpu
from slotjax.system.rng import stream_key
from slotjax.training import memory, parallel
from slotjax.training.feed import open_feed
from slotjax.training.loop import train
from slotjax.training.objective import build_objective
from slotjax.training.optimizer import build_optimizer, learning_rate
from slotjax.training.parallel import Parallel
from slotjax.training.restore import first_state, initial_state, restore_state
from slotjax.training.run import open_run
from slotjax.training.step import Step, build_train_step


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Gaussian slots, so that the noise counts, and a batch of 8."""
    return open_run(tiny("tetrominoes", batch_size=8), tmp_path_factory.mktemp("run"))


def step_of(run) -> Step:
    train = run.config.train
    return Step(
        run.stages[-1].objective, build_optimizer(train, run.layout), stream_key(run.config.seed, "slots"), run.layout
    )


def one_step(run, devices: int, mode: str, micro_batches: int = 1):
    parallel = Parallel(mode, 8, jax.devices()[:devices])
    state = run.layout.pack(initial_state(run.config, run.model).replace(step=jnp.int32(3)))
    state = parallel.replicate(state)
    batch = next(run.feed.train_batches(parallel, 3))
    state, metrics = build_train_step(step_of(run), parallel, micro_batches)(state, batch)
    return jax.device_get((run.layout.params(state.params), metrics))


@pytest.fixture(scope="module")
def expected_step(run):
    return one_step(run, 1, "pmap")


@pytest.mark.parametrize(
    ("devices", "mode", "micro_batches"),
    [
        (4, "pmap", 1),
        (2, "jit", 2),
        pytest.param(4, "jit", 1, marks=pytest.mark.slow),
        pytest.param(1, "pmap", 4, marks=pytest.mark.slow),
    ],
)
def test_step_does_not_depend_on_devices_or_parts(run, expected_step, devices, mode, micro_batches):
    expected_params, expected = expected_step
    params, metrics = one_step(run, devices, mode, micro_batches)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], expected["grad_norm"], rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected_params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_batches_are_a_function_of_seed_and_step(run):
    whole, spread = Parallel("jit", 8, jax.devices()[:1]), Parallel("pmap", 8, jax.devices()[:4])
    batches = run.feed.train_batches(whole, 0)
    next(batches)
    second = np.asarray(next(batches)["image"])
    again = np.asarray(next(run.feed.train_batches(spread, 1))["image"])
    np.testing.assert_array_equal(second, again.reshape(second.shape))
    assert np.abs(second - np.asarray(next(run.feed.train_batches(whole, 0))["image"])).max() > 0


def test_held_out_scenes_do_not_depend_on_the_seed():
    first, second = (open_feed(tiny("tetrominoes")) for _ in range(2))
    second.config.seed = 5
    np.testing.assert_array_equal(next(first.eval_batches())["image"], next(second.eval_batches())["image"])


def test_reference_schedule():
    config = config_of("clevr")
    schedule = learning_rate(config.train)
    on_host = learning_rate(config.train, np)
    for step in (0, 1, 5_000, 10_000, 100_000, 400_000):
        expected = 4e-4 * min(step / 10_000, 1) * 0.5 ** (step / 100_000)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(on_host(step), expected, rtol=1e-12)


def test_cosine_ends_at_zero_and_constant_stays():
    config = tiny("tetrominoes", num_steps=100, warmup_steps=10, schedule="cosine").train
    assert learning_rate(config)(100) < 1e-9
    config.schedule = "constant"
    assert learning_rate(config)(100) == pytest.approx(config.learning_rate)


@pytest.mark.slow
def test_stop_and_resume_equals_one_go(tmp_path):
    config = tiny("tetrominoes", ema_decay=0.9, clip_norm=1.0, weight_decay=1e-4)
    train(config, tmp_path / "whole")
    config.train.num_steps = 3
    train(config, tmp_path / "parts")
    config.train.num_steps = 6
    train(config, tmp_path / "parts")
    assert figures(tmp_path / "whole") == [
        row for row in figures(tmp_path / "parts") if row["step"] != 3 or "mse" in row
    ]
    states = [restore_state(config, tmp_path / name)[1] for name in ("whole", "parts")]
    for whole, parts in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(whole, parts)
    with Image.open(tmp_path / "whole" / "pictures" / "step_0000006.png") as picture:
        assert len(np.unique(picture.convert("L"))) > 10  # something is drawn
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["train"]["ema_decay"] == 0.9
    assert list((tmp_path / "whole" / "tensorboard").iterdir())


def test_a_workdir_of_another_experiment_is_left_alone(tmp_path):
    config = tiny("tetrominoes")
    untrained(config, tmp_path)
    before = (tmp_path / "config.json").read_text()
    config.model.slot_dim = 8
    with pytest.raises(UserError, match=r"model.slot_dim: 8 / 16.*another --workdir"):
        train(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == before
    with pytest.raises(UserError, match=r"another model.*entries differ"):
        restore_state(config, tmp_path)


def first(config):
    return first_state(config, build_model(config.model))


def test_training_starts_from_the_parameters_of_another_run(run, tmp_path):
    config, path = run.config.copy_and_resolve_references(), tmp_path / "trained.safetensors"
    trained = jax.tree.map(lambda x: x + 1, jax.device_get(first(config).params))
    weights.save(path, config.to_dict(), trained)
    config.train.start_from = str(path)
    state = first(config)
    jax.tree.map(np.testing.assert_array_equal, state.params, trained)
    assert int(state.step) == 0 and not any(x.any() for x in jax.tree.leaves(state.opt_state))


def test_a_part_that_another_run_has_not_begins_anew(run, tmp_path, capsys):
    config, path = run.config.copy_and_resolve_references(), tmp_path / "trained.safetensors"
    trained = jax.tree.map(lambda x: x + 1, jax.device_get(first(config).params))
    weights.save(path, config.to_dict(), trained)
    config.model.selection = "gumbel"
    drawn = first(config).params["selection"]
    config.train.start_from = str(path)
    state = first(config)
    jax.tree.map(np.testing.assert_array_equal, state.params, trained | {"selection": drawn})
    assert "has no selection, which begins anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "train.start_from=nowhere: nowhere: no such directory or file"),
        ("quick", r"train.start_from=quick: \d+ parameters are not the model's: '.*' is "),
    ],
)
def test_parameters_that_cannot_be_started_from_are_named(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(tiny("tetrominoes", start_from=name), tmp_path)
    assert not list(tmp_path.glob("*.json*"))


def test_memory_is_estimated_and_parts_are_chosen(run):
    shapes = jax.eval_shape(lambda: initial_state(run.config, run.model).params)
    image = memory.bytes_per_image(run.stages[-1].objective, shapes, run.feed.example)
    pixels = math.prod(run.model.resolution)
    assert image > 4 * pixels * 4 * 8  # at least what the decoder's widest layer keeps: 4 slots, 8 channels, float32
    assert memory.choose_micro_batches(0, 64, image, None) == 1
    assert memory.choose_micro_batches(0, 64, 100, 64 * 100) == 2
    assert memory.choose_micro_batches(8, 64, 100, 1) == 8
    with pytest.raises(UserError, match="does not divide the 64 examples"):
        memory.choose_micro_batches(7, 64, 100, None)
    with pytest.raises(UserError, match="one example needs about"):
        memory.choose_micro_batches(0, 64, 2**40, 2**30)


def test_files_that_are_only_kept_in_memory_are_free(tmp_path):
    left = memory._left_to_container
    assert left(tmp_path) is None
    for name, text in (
        ("memory.max", "max\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 9\ninactive_file 600\n"),
    ):
        (tmp_path / name).write_text(text)
    assert left(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert left(tmp_path) == 900


def test_clevr_needs_about_what_it_takes():
    """The paper's batch of 64 at 128x128 wants some 18 GiB in float32."""
    config = config_of("clevr")
    model = build_model(config.model)
    shapes = jax.eval_shape(lambda: initial_state(config, model).params)
    example = {"image": jax.ShapeDtypeStruct((128, 128, 3), "float32")}
    image = memory.bytes_per_image(build_objective(model, config.train.losses), shapes, example)
    assert 12 < 64 * image / 2**30 < 30


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("train", "batch_size", 6, "not divisible by the 4 devices; take 8"),
        ("train", "num_steps", 0, "train.num_steps=0: must be at least 1"),
        ("train", "schedule", "linear", "choose one of exponential, cosine, "),
        ("train", "learning_rate", -1.0, "must be above 0"),
        ("train", "ema_decay", 1.0, "must be below 1"),
        ("train", "losses", {"mse": -1.0}, "train.losses.mse=-1.0: must lie between 0 and"),
        ("train", "losses", {"lpips": 1.0}, "train.losses='lpips': choose one of mse, "),
        ("train", "losses", {"set": 1.0}, "out.predictions: this model has none; take one that does"),
        ("train", "losses", {"mse": 0.0}, "nothing to learn; weigh one above 0"),
        ("train", "losses", {"mse": ((5, 1.0), (5, 2.0))}, "steps must be whole numbers that grow"),
        ("train", "learning_rates", {"head": 1.0}, "train.learning_rates='head': choose one of encoder, decoder"),
        ("train", "stages", ({"until": 6, "model.num_iterations": 2},), r"stages.0..until=6: must be a step above 0"),
        ("train", "stages", ({"until": 3, "model.num_slots": 2},), "a stage can change model.num_iterations"),
        ("train", "stages", ({"until": 3, "model.num_iterations": 0},), "model.num_iterations=0: must be at least 1"),
        ("data", "name", "mnist", "data.name='mnist': choose one of tetrominoes"),
        ("model", "num_slots", 0, "model.num_slots=0: must be at least 1"),
        ("model", "resolution", (64, 64), "tetrominoes scenes are .35, 35.; set model.resolution"),
        ("model", "update", "max", "model.update='max': choose one of mean, sum"),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_written(tmp_path, section, field, value, message):
    config = tiny("tetrominoes")
    with config.unlocked():
        config[section][field] = ConfigDict(value) if isinstance(value, dict) else value
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lowers_for_accelerators(run):
    """The whole step, and the scenes it sees, have kernels on TPU and CUDA."""
    parallel = Parallel("jit", 8, jax.devices()[:1])
    state = jax.eval_shape(lambda: run.layout.pack(initial_state(run.config, run.model)))
    batch = {"image": jax.ShapeDtypeStruct((8, 35, 35, 3), jnp.float32), "index": jax.ShapeDtypeStruct((8,), jnp.int32)}
    step = build_train_step(step_of(run), parallel, 1)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
    with cpu.plain():  # as they are there
        for platform in ("tpu", "cuda"):
            exported = jax.export.export(step, platforms=[platform])(state, batch)
            assert exported.platforms == (platform,)
            assert jax.export.export(jax.jit(run.feed.render), platforms=[platform])(keys).platforms == (platform,)


def test_cores_that_divide_the_batch_become_devices():
    assert [parallel.devices_for(batch, cores) for batch, cores in ((16, 2), (15, 2), (4, 64), (512, 64), (7, 1))] == [
        2, 1, 4, 8, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(("variables", "expected"), [({}, 0), ({"JAX_NUM_CPU_DEVICES": "3"}, 3)])
def test_a_device_for_each_core_unless_the_user_said_otherwise(variables, expected):
    code = (
        "from slotjax.training import parallel as p; p.one_device_per_core(16); import jax; print(jax.device_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT | variables, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == (expected or parallel.devices_for(16, parallel.usable_cores()))


@pytest.mark.slow
def test_a_model_trains_and_loads_in_64_bit_mode(tmp_path):
    code = """
import jax, numpy as np, slotjax, sys
sys.path[:0] = ["tests"]
from pathlib import Path
from helpers import tiny
from slotjax.training.loop import train
model, params = slotjax.load("quick")
out = slotjax.apply(model, params, np.zeros((1, 32, 32, 3)), jax.random.key(0))
assert {x.dtype.name for x in jax.tree.leaves((params, out))} == {"float32"}, out
train(tiny("tetrominoes", num_steps=2, eval_every=2, ema_decay=0.9, weight_decay=0.1), Path(sys.argv[1]))
train(tiny("tetrominoes", num_steps=3, eval_every=2, ema_decay=0.9, weight_decay=0.1), Path(sys.argv[1]))
"""
    environment = os.environ | {"JAX_ENABLE_X64": "1"}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Follower:
    """A logger that writes down what it is told."""

    name = "the follower"

    def __init__(self, fails_at: int | None = None):
        self.told, self.fails_at = [], fails_at

    def start(self, config, workdir, step):
        self.told.append(("start", step))
        return "following"

    def figures(self, step, figures):
        if step == self.fails_at:
            raise ConnectionError("away")
        self.told.append(("evaluation" if "num_images" in figures else "training", step))

    def picture(self, step, path):
        assert path.is_file()
        self.told.append(("picture", step))

    def checkpoint(self, step, folder):
        self.told.append(("checkpoint", step))

    def close(self, finished):
        self.told.append(("finished" if finished else "stopped", None))


@pytest.mark.slow
def test_loggers_are_told_of_everything_and_change_nothing(tmp_path, capsys):
    """One that fails is named once, and the run goes on as it would have."""
    config = tiny("quick", num_steps=2, log_every=1, eval_every=2, checkpoint_every=2)
    whole, broken = Follower(), Follower(fails_at=1)
    train(config, tmp_path / "followed", [broken, whole])
    said = capsys.readouterr().out
    assert said.count("following") == 2
    assert said.count("note: the follower is not told of the rest of the run (ConnectionError: away)") == 1
    assert broken.told == [("start", 0), ("picture", 0)]
    at_two = [("training", 2), ("evaluation", 2), ("checkpoint", 2), ("picture", 2)]
    assert whole.told == [("start", 0), ("picture", 0), ("training", 1), *at_two, ("finished", None)]
    train(config, tmp_path / "alone")
    assert figures(tmp_path / "followed") == figures(tmp_path / "alone")
    again = Follower()
    train(config, tmp_path / "followed", [again])  # nothing to do, nothing to tell
    assert again.told == []
    lines = (tmp_path / "followed" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "followed" / "metrics.jsonl").write_text("".join(line for line in lines if '"step": 2' not in line))
    train(config, tmp_path / "followed", [again])  # stopped in its last step, before the evaluation
    assert [event for event, _ in again.told] == ["start", "evaluation", "checkpoint", "picture", "finished"]
