"""Scores on genuine CLEVR scenes: which slots a model gets, and how sure the figures are."""

import shutil

import jax
import numpy as np
import pytest
from benchmark_runs import module
from helpers import config_of, images_of
from PIL import Image

import slotjax
from slotjax import weights
from slotjax.errors import UserError

pytestmark = pytest.mark.usefixtures("as_commands_do")


def test_the_bootstrap_interval_is_the_normal_one_for_many_images():
    values = np.random.default_rng(1).normal(0.7, 0.2, 400)
    low, high = module("genuine").bootstrap(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.1 * error)
    assert module("genuine").bootstrap(values) == (low, high)
    assert module("genuine").with_interval(np.array([0.5, np.nan, 0.5])) == "0.500 (0.500 to 0.500)"


def test_genuine_scenes_get_every_slot_that_has_a_learned_start():
    names = ("clevr:small", "clevr:small,clevr10", "clevr:tiny")
    found = [module("genuine").learned_slots(slotjax.build_model(config_of(name).model)) for name in names]
    assert found == [7, 11, None]


@pytest.fixture
def untrained(tmp_path):
    """A file of weights."""
    config = config_of("clevr:tiny")
    model = slotjax.build_model(config.model)
    params = slotjax.init(model, jax.random.key(0), images_of(model))
    weights.save(tmp_path / "model.safetensors", config.to_dict(), params)
    return tmp_path / "model.safetensors"


@pytest.mark.slow
def test_genuine_scenes_are_scored_with_both_numbers_of_slots(untrained, shared_data, capsys):
    sample, figure = untrained.with_name("sample.tfrecords"), untrained.with_name("a.png")
    shutil.copy(shared_data / "clevr_with_masks_sample.tfrecords", sample)
    flags = ["--weights", str(untrained), "--sample", str(sample), "--sigma", "--figure", str(figure)]
    module("genuine").main(flags)
    out = capsys.readouterr().out
    assert "| any number | 11 | 64 | " in out and "| at most 6 | 7 | " in out
    assert "FG-ARI of the responsibilities (95% interval)" in out and "FG-ARI of the masks (95% interval)" in out
    with Image.open(figure) as picture:
        assert picture.height > 6 * 32  # a row for each scene


def test_pictures_smaller_than_the_models_own_are_refused(untrained):
    with pytest.raises(UserError, match="--size 16: must be at least the model's own, 32"):
        module("genuine").main(["--weights", str(untrained), "--sample", "none.tfrecords", "--size", "16"])


@pytest.mark.slow
def test_pictures_are_scored_at_any_size_and_seen_at_the_models_own(untrained):
    genuine = module("genuine")
    model, params = slotjax.load(untrained)
    scenes = jax.vmap(lambda key: slotjax.data.scenes.clevr(key, resolution=(64, 64)))(
        jax.random.split(jax.random.key(0), 2)
    )
    truth, images = np.asarray(scenes.segments), np.asarray(scenes.image)
    objects = {"present": np.ones(10, bool)}
    examples = [{"image": images[i], "segments": truth[i], "objects": objects} for i in range(2)]
    figures = genuine.score(model, params, examples, 7)
    keys = genuine.slots_keys(np.arange(2))
    found = slotjax.segments(model, params, images, keys, num_slots=7)
    miou = slotjax.metrics.mean_iou(truth, found, num_true=11, num_pred=7)
    np.testing.assert_allclose(figures["posterior_miou"], miou, atol=1e-3)  # of pixels whose slots tie rounding decides


@pytest.mark.slow
def test_over_sigma_responsibilities_go_from_the_pictures_to_the_masks(untrained, monkeypatch):
    sigma = module("sigma")
    monkeypatch.setattr(sigma, "SIGMAS", (0.01, 1e4))
    curve = sigma.own_curve(untrained, images=4)
    assert curve["10000.0"] == curve["masks"] != curve["0.01"]
