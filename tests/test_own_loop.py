"""A training loop of one's own, and the file that it ends in."""

import runpy
import sys

import jax
import numpy as np
import pytest
from helpers import ROOT, config_of, images_of
from report_pages import check_page, text

import slotjax
from slotjax import report, weights
from slotjax.errors import UserError
from slotjax.reporting import card

SPRITES = {"name": "sprites", "eval_images": 3, "options": {"max_objects": 2}}


@pytest.fixture(scope="module")
def model():
    return slotjax.build_model(config_of("quick:tiny").model)


@pytest.fixture(scope="module")
def params(model):
    return slotjax.init(model, jax.random.key(0), images_of(model))


@pytest.mark.slow
def test_the_example_trains_and_ends_in_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["own_loop.py", "2"])
    values = runpy.run_path(str(ROOT / "examples" / "own_loop.py"))
    assert "step 2  loss " in capsys.readouterr().out
    model, params = slotjax.load("own.safetensors")
    assert model == values["model"]
    jax.tree.map(np.testing.assert_array_equal, params, jax.device_get(values["params"]))
    assert weights.read(weights.find("own.safetensors"))[0]["data"]["options"] == values["DATA"]["options"]


@pytest.mark.slow
def test_saved_weights_have_a_report_and_a_card(model, params, tmp_path, monkeypatch):
    path = slotjax.save(tmp_path / "own.safetensors", model, params, data=SPRITES)
    monkeypatch.chdir(tmp_path)
    page = report.report_weights(str(path))
    assert page.name == "own_report.html"
    html = text(page)
    check_page(html)
    assert "explorer-title" in html and "scored on\n    3 held-out images" in html
    assert "curves-title" not in html and "timelapse-title" not in html and "metrics.jsonl" not in html
    said = card.card(str(path))
    assert "`sprites`: rendered scenes (max_objects=2)" in said and "Not evaluated." in said


def test_weights_that_do_not_say_their_pictures_load_but_have_no_scores(model, params, tmp_path):
    path = slotjax.save(tmp_path / "own.safetensors", model, params)
    assert slotjax.load(path)[0] == model
    with pytest.raises(UserError, match="does not say which pictures to score it on"):
        report.report_weights(str(path))
    assert "pictures that the file does not name" in card.card(str(path))


def test_what_cannot_be_saved_is_named(model, params, tmp_path):
    cases = [
        ("own.npz", params, None, "own.npz: name a file that ends in .safetensors"),
        ("own.safetensors", {"a": np.zeros(2, np.float32)}, None, "parameters are not the model's"),
        ("own.safetensors", params, {"name": "sprite"}, "data.name='sprite': choose one of"),
        ("own.safetensors", params, {"nme": "sprites"}, "data='nme': choose one of .*crop, "),
    ]
    for name, given, data, message in cases:
        with pytest.raises(UserError, match=message):
            slotjax.save(tmp_path / name, model, given, data=data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", weights.packaged_names())
def test_a_card_says_what_packaged_weights_are(name):
    said, (config, arrays) = card.card(name), weights.read(weights.find(name))
    assert said.startswith(f"# {name}\n") and f'slotjax.load("{name}")' in said
    assert f"{sum(x.size for x in arrays.values()):,} parameters" in said
    figure, title = ("ap_1", "AP@1") if "ap_1" in config["evaluation"] else ("fg_ari", "FG-ARI of the masks")
    assert f"| {title} | {config['evaluation'][figure]:.4f} |" in said
    assert f"`{config['data']['name']}`: rendered scenes" in said
    noun = "videos" if config["data"].get("num_frames") else "pictures"
    assert f" {config['train']['num_steps']:,} steps of {config['train']['batch_size']} {noun}, seed " in said
