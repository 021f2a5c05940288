"""Several seeds in one program: each as it would be on its own, in a directory of its own."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from test_training import tiny

from slotjax import configuration
from slotjax.errors import UserError
from slotjax.training import memory, processes
from slotjax.training.feed import open_feed
from slotjax.training.loop import train
from slotjax.training.parallel import Parallel
from slotjax.training.run import initial_state, open_run
from slotjax.training.side_by_side import stack_states
from slotjax.training.step import build_train_step

SEEDS = (3, 4)


def several(config, count: int = 2):
    """The same config for `count` seeds, from `SEEDS[0]` on."""
    config = config.copy_and_resolve_references()
    config.seed, config.train.num_seeds = SEEDS[0], count
    return config


# Steps


@pytest.fixture(scope="module")
def learning():
    """Gaussian slots, so that the noise counts, clipping and a moving average, and steps that change the loss.

    Three times the learning rate amplifies rounding to 5e-5 within these steps, on some processors.
    """
    return tiny("quick", warmup_steps=1, learning_rate=1e-3, clip_norm=1.0, ema_decay=0.9, num_steps=20)


def losses(config, devices: int, mode: str, micro_batches: int = 1) -> np.ndarray:
    """Of 20 steps, [20] or [20, s]."""
    run, parallel = open_run(config, Path("/nowhere")), Parallel(mode, 4, jax.devices()[:devices])
    step = build_train_step(run.step, parallel, micro_batches)
    states = [run.layout.pack(initial_state(own, run.model)) for own, _ in run.seeds]
    state = parallel.replicate(stack_states(states))
    batches, collected = run.feed.train_batches(parallel, 0), []
    for _ in range(20):
        state, metrics = step(state, next(batches))
        collected.append(np.asarray(metrics["loss"]))
    return np.array(collected)


@pytest.fixture(scope="module")
def alone(learning):
    return np.stack([losses(own, 1, "jit") for own in configuration.of_each_seed(several(learning))], 1)


@pytest.mark.parametrize(
    ("devices", "mode", "micro_batches"),
    [
        (1, "jit", 1),
        (2, "pmap", 1),
        pytest.param(1, "pmap", 1, marks=pytest.mark.slow),
        pytest.param(2, "jit", 2, marks=pytest.mark.slow),
    ],
)
def test_every_seed_learns_as_on_its_own(learning, alone, devices, mode, micro_batches):
    assert np.abs(alone[0] - alone[19]).min() > 0.01 * alone[0].max() and np.abs(alone[:, 0] - alone[:, 1]).min() > 0
    np.testing.assert_allclose(losses(several(learning), devices, mode, micro_batches), alone, rtol=1e-5)


@pytest.fixture
def folder(tmp_path):
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("kind", ["scenes", "pool", "stored"])
def test_every_seed_sees_what_it_would_see_alone(folder, kind):
    config = tiny("folder" if kind == "stored" else "quick")
    if kind == "stored":
        config.data.path = str(folder)
    elif kind == "pool":
        config.data.pool = 6
    config = several(config)
    parallel = Parallel("pmap", 4, jax.devices()[:2])

    def second(config):
        batches = open_feed(config).train_batches(parallel, 3)
        next(batches)
        return parallel.gather(next(batches))

    joint = second(config)
    singles = [second(own) for own in configuration.of_each_seed(config)]
    assert np.abs(singles[0]["image"] - singles[1]["image"]).max() > 0
    for place, single in enumerate(singles):
        np.testing.assert_array_equal(joint["image"][:, place], single["image"])
        np.testing.assert_array_equal(joint["index"], single["index"])


def test_memory_counts_every_seed(learning, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**40)
    monkeypatch.setattr(memory, "bytes_per_image", lambda *arguments: 2**38)  # two fit
    assert open_run(learning, tmp_path).micro_batches == 1
    with pytest.raises(UserError, match=r"train.num_seeds=3: one image of each needs about 768.0 GiB .* fewer seeds"):
        open_run(several(learning, 3), tmp_path)


# Mistakes


@pytest.mark.parametrize(
    ("seed", "count", "message"),
    [
        (0, 0, "train.num_seeds=0: must be at least 1"),
        (0, 1001, "train.num_seeds=1001: must be at most 1000"),
        (2**63 - 1, 2, "seed=9223372036854775807: seeds go from"),
    ],
)
def test_what_cannot_work_is_named_first(learning, tmp_path, seed, count, message):
    config = several(learning, count)
    config.seed = seed
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_config_from_before_has_one_seed(learning, tmp_path):
    configuration.save(learning, tmp_path / "config.json")
    old = json.loads((tmp_path / "config.json").read_text())
    del old["train"]["num_seeds"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert configuration.load_single(tmp_path / "config.json").train.num_seeds == 1


def test_several_processes_are_refused(learning, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "many", lambda: True)
    with pytest.raises(UserError, match="train.num_seeds=2: several seeds take one process; leave out --distributed"):
        open_run(several(learning), tmp_path)
