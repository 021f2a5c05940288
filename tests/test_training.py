"""Training: the same on one device and many, in parts and whole, in one go and resumed."""

import json
import math
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import ENVIRONMENT, config_of, figures, images_of, tiny, untrained
from ml_collections import ConfigDict
from PIL import Image

import slotjax
from slotjax import weights
from slotjax.errors import RunFailed, UserError
from slotjax.models import build_model
from slotjax.nn import cpu
from slotjax.system.console import duration
from slotjax.system.rng import stream_key
from slotjax.training import memory, parallel
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.feed import open_feed
from slotjax.training.loop import train
from slotjax.training.metrics_log import MetricsFile, read_metrics
from slotjax.training.objective import build_objective
from slotjax.training.optimizer import build_optimizer, learning_rate
from slotjax.training.parallel import Parallel
from slotjax.training.progress import RECENT, Progress
from slotjax.training.restore import first_state, initial_state, restore_state
from slotjax.training.run import open_run, open_stages
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
    [(4, "pmap", 1), (4, "jit", 1), pytest.param(1, "pmap", 4, marks=pytest.mark.slow), (2, "jit", 2)],
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


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = tiny("tetrominoes", learning_rate=1e12, warmup_steps=0, checkpoint_every=1, eval_every=100, num_steps=50)
    with pytest.raises(RunFailed, match=r"step \d+: .*not finite; the last good checkpoint is .*checkpoints/\d+"):
        train(config, tmp_path)
    step = Checkpoints(tmp_path).latest_step
    assert step is not None
    assert step < 50


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
    trained = jax.tree.map(lambda x: x + 1, first(config).params)
    weights.save(path, config.to_dict(), trained)
    config.train.start_from = str(path)
    state = first(config)
    jax.tree.map(np.testing.assert_array_equal, state.params, trained)
    assert int(state.step) == 0 and not any(x.any() for x in jax.tree.leaves(state.opt_state))


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


def test_metrics_file_drops_what_comes_again_and_half_lines(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    assert [row["step"] for row in read_metrics(path)] == [1, 5]
    file = MetricsFile(path, 4)
    file.write({"step": 5, "loss": 0.5})
    file.close()
    assert [row["loss"] for row in read_metrics(path)] == [2.0, 0.5]
    assert capsys.readouterr().err == ""


def test_metrics_file_keeps_a_copy_of_what_it_cannot_read(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    damaged = '{"step": 1, "loss": 2.0}\n{"step": 2, "lo\x00\x00\n{"step": 3, "loss": 1.0}\n'
    path.write_text(damaged)
    MetricsFile(path, 3).close()
    assert [row["step"] for row in read_metrics(path)] == [1, 3]
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {path}: left out 1 line that cannot be read") and "metrics.damaged.jsonl" in said
    assert (tmp_path / "metrics.damaged.jsonl").read_text() == damaged


def test_memory_is_estimated_and_parts_are_chosen(run):
    shapes = jax.eval_shape(lambda: initial_state(run.config, run.model).params)
    image = memory.bytes_per_image(run.stages[-1].objective, shapes, run.feed.example)
    pixels = math.prod(run.model.resolution)
    assert image > 4 * pixels * 4 * 8  # at least what the decoder's widest layer keeps: 4 slots, 8 channels, float32
    assert memory.choose_micro_batches(0, 64, image, None) == 1
    assert memory.choose_micro_batches(0, 64, 100, 64 * 100) == 2
    assert memory.choose_micro_batches(8, 64, 100, 1) == 8
    with pytest.raises(UserError, match="does not divide the 64 images"):
        memory.choose_micro_batches(7, 64, 100, None)
    with pytest.raises(UserError, match="one image needs about"):
        memory.choose_micro_batches(0, 64, 2**40, 2**30)


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
        ("train", "losses", {"ssim": 1.0}, "train.losses='ssim': choose one of mse, "),
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


def test_durations_for_people():
    assert [duration(s) for s in (5, 150, 599, 600)] == ["5 s", "2.5 min", "10 min", "10 min"]
    assert [duration(s) for s in (4 * 3600, 5 * 86400)] == ["4.0 h", "5 days"]


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


def test_what_is_left_goes_by_the_recent_pace(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    logger = Progress(0, 1_000)
    logger.start_clock(0)
    for line in range(1, 1 + 2 * RECENT):
        now += 100.0 if line <= RECENT else 10.0  # ten steps a line: a busy machine, then a free one
        logger.show(10 * line, 0.5, 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[RECENT - 1].endswith(f"{duration((1_000 - 10 * RECENT) * 10.0)} left")
    assert lines[-1].endswith(f"{duration((1_000 - 20 * RECENT) * 1.0)} left")
    logger.show(1_000, 0.5, 1.0)  # what is written and scored now takes time, but no steps are left
    assert capsys.readouterr().out == "step 1000/1000  loss 0.50000  1.0 images/s\n"


def test_the_bar_tells_loss_speed_time_left_and_the_last_figure(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the stream for a terminal
    monkeypatch.setenv("COLUMNS", "100")
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    bar = Progress(0, 1_000)
    bar.start_clock(0)
    now += 5 * 60.0
    bar.show(500, 0.25, 12.5)
    bar.evaluated("fg_ari 0.9123")
    bar.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(r"500/1000 \S+ +loss 0.25000  12.5 images/s  5.0 min left fg_ari 0.9123", shown)


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
