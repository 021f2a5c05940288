"""Scores on genuine CLEVR scenes: which slots a model gets, and how sure the figures are."""

import shutil

import jax
import numpy as np
import pytest
from benchmark_runs import module

import slotjax
from slotjax.weights import save_weights

pytestmark = pytest.mark.usefixtures("as_commands_do")


def test_the_bootstrap_interval_is_the_normal_one_for_many_images():
    values = np.random.default_rng(1).normal(0.7, 0.2, 400)
    low, high = module("genuine").bootstrap(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.1 * error)
    assert module("genuine").bootstrap(values) == (low, high)
    assert module("genuine").with_interval(np.array([0.5, np.nan, 0.5])) == "0.500 (0.500 to 0.500)"


def test_genuine_scenes_get_every_slot_that_has_a_learned_start():
    learned_slots, get_config = module("genuine").learned_slots, config_file("clevr").get_config
    learned, more, gaussian = (
        slotjax.build_model(get_config(variants).model) for variants in ("quick", "quick,clevr10", "tiny")
    )
    assert (learned_slots(learned), learned_slots(more), learned_slots(gaussian)) == (7, 11, None)


@pytest.mark.slow
def test_genuine_scenes_are_scored_with_both_numbers_of_slots(tmp_path, shared_data, capsys):
    config = config_of("clevr:tiny")
    model = slotjax.build_model(config.model)
    params = slotjax.init(model, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    save_weights(tmp_path / "model.npz", config.to_dict(), params)
    sample = tmp_path / "sample.tfrecords"
    shutil.copy(shared_data / "clevr_with_masks_sample.tfrecords", sample)
    module("genuine").main(
        ["--weights", str(tmp_path / "model.npz"), "--sample", str(sample), "--figure", str(tmp_path / "a.png")]
    )
    assert (tmp_path / "a.png").stat().st_size > 5000
    out = capsys.readouterr().out
    assert "| any number | 11 | 64 | " in out and "| at most 6 | 7 | " in out
