"""`python -m slotjax.segment`: people's own pictures, split."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import picture_size
from PIL import Image

import slotjax
from slotjax import segment, weights
from slotjax.errors import UserError
from slotjax.reporting import own_pictures


def test_segment_at_the_pictures_own_size(tiny_run, photos, tmp_path, run):
    names = [photos / name for name in ("photo.png", "photo.jpg", "photo_2.png")]
    said = run(segment, "--workdir", tiny_run, *names, "--output", tmp_path)
    assert len(list(tmp_path.iterdir())) == 12
    for path, name in zip(names, ("photo", "photo_3", "photo_2"), strict=True):
        told = next(line for line in said.splitlines() if line.startswith(f"{path}: "))
        assert "70x50, seen by the model at 32x32" in told and str(tmp_path / f"{name}_segments.png") in told
        with Image.open(tmp_path / f"{name}_segments.png") as picture:
            assert picture.mode == "P" and picture.size == (70, 50)
            ids, colours = np.asarray(picture), np.asarray(picture.convert("RGB"))
        assert int(re.search(r"(\d) of 5 slots win", told)[1]) == len(np.unique(ids)) and ids.max() < 5
        np.testing.assert_array_equal(colours, own_pictures.draw.PALETTE[ids])
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}_segments.npz")["segments"], ids)
        assert picture_size(tmp_path / f"{name}_overlay.png") == (210, 150)  # small ones are enlarged


def test_segments_are_those_of_the_responsibilities(tiny_run, photos, tmp_path, run):
    """The command, band by band, gives what the library gives for the whole picture."""
    import jax

    from slotjax.api import jitted_apply

    def found(name, *flags):
        run(segment, "--workdir", tiny_run, photos / "photo.png", "--output", tmp_path / name, *flags)
        with Image.open(tmp_path / name / "photo_segments.png") as picture:
            return np.asarray(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_pictures, "AT_ONCE", 12 * 70 * 5)  # 50 rows are no multiple of 12
        in_bands = found("bands", "--sigma", 0.5)
    np.testing.assert_array_equal(in_bands, found("whole", "--sigma", 0.5))
    model, params = slotjax.load(tiny_run)
    with Image.open(photos / "photo.png") as picture:
        image = own_pictures.as_input(picture, (32, 32), crop=False)[None]
        whole = np.asarray(picture, np.float32)[None] / 127.5 - 1
    out = jitted_apply(model, params, image, jax.random.key(0))
    shares = jax.jit(slotjax.responsibilities)
    wanted = np.asarray(shares(out, whole, sigma=0.5))[0].argmax(0)
    assert (in_bands == wanted).mean() > 0.995
    by_masks = np.asarray(shares(out, whole, sigma=math.inf))[0].argmax(0)
    assert (found("masks", "--masks", "decoder") == by_masks).mean() > 0.995
    assert (wanted != by_masks).mean() > 0.05


def test_cutouts_share_the_picture(tiny_run, photos, tmp_path, run):
    run(segment, "--workdir", tiny_run, photos / "photo.png", "--output", tmp_path, "--cutouts", "--num-slots", 3)
    slots = [np.asarray(Image.open(tmp_path / f"photo_slot_{k}.png")).astype(int) for k in range(3)]
    assert all(slot.shape == (50, 70, 4) for slot in slots)
    assert np.abs(sum(slot[..., 3] for slot in slots) - 255).max() <= 2
    with Image.open(photos / "photo.png") as picture:
        pixels = np.asarray(picture)
    for slot in slots:
        taken = slot[..., 3] > 0
        np.testing.assert_array_equal(slot[taken][:, :3], pixels[taken])


def test_nothing_is_cropped_unasked(tiny_run, photos, tmp_path, run):
    run(segment, "--workdir", tiny_run, photos / "photo.png", "--output", tmp_path / "whole")
    said = run(segment, "--workdir", tiny_run, photos / "photo.png", "--output", tmp_path / "crop", "--crop")
    assert "cropped from 70x50; 50x50, seen by the model at 32x32" in said
    assert picture_size(tmp_path / "whole" / "photo_segments.png") == (70, 50)
    assert picture_size(tmp_path / "crop" / "photo_segments.png") == (50, 50)


def test_folders_and_patterns(photos, tmp_path):
    names = ["more/Other.PNG", "photo.jpg", "photo.png", "photo_2.png"]
    inside = own_pictures.pictures_of([photos, photos / "photo.jpg"], tmp_path)
    assert [str(path.relative_to(photos)) for path in inside] == names
    assert own_pictures.pictures_of([photos / "*.png"], tmp_path) == [photos / "photo.png", photos / "photo_2.png"]
    assert own_pictures.pictures_of([photos], photos / "more") == inside[1:]  # results do not become pictures
    with pytest.raises(UserError, match="holds the pictures"):
        own_pictures.pictures_of([photos], photos)
    for empty in (tmp_path, photos / "*.gif"):
        with pytest.raises(UserError, match="no picture there"):
            own_pictures.pictures_of([empty], tmp_path / "out")


def test_a_bad_file_does_not_keep_the_others_from_being_split(tiny_run, photos, tmp_path, run, capsys):
    (tmp_path / "text.png").write_text("not a picture")
    given = (tmp_path / "text.png", photos / "photo.png", tmp_path / "missing.png")
    with pytest.raises(UserError) as error:
        run(segment, "--workdir", tiny_run, *given, "--output", tmp_path / "out")
    told = r"2 of 3 files left out: \S*text.png is no picture.*; \S*missing.png cannot .*"
    assert re.fullmatch(told, str(error.value))
    assert "1 picture split" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("photo_*"))) == 4
    with pytest.raises(UserError, match=r"^\S*text.png is no picture"):
        run(segment, "--workdir", tiny_run, given[0])


def test_segment_with_weights_that_come_with_the_library(tmp_path, monkeypatch, run):
    """In an empty folder, as right after installing; what is unlike the training's pictures is told."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("mine.png")
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save("stripes.png")
    said = run(segment, "--weights", "quick", "mine.png", "stripes.png")
    kinds = ("overlay.png", "segments.npz", "segments.png", "slots.png")
    written = [f"{name}_{what}" for name in ("mine", "stripes") for what in kinds]
    assert sorted(path.name for path in (tmp_path / "segments").iterdir()) == written
    assert re.findall(r"^note: (.*) is redrawn with \d+ times the usual error", said, re.M) == ["stripes"]


def test_the_usual_error_is_that_of_the_last_evaluation(tiny_run, tmp_path):
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert own_pictures.usual_error(tiny_run) == rows[-1]["mse"]
    later = Path(shutil.copytree(tiny_run, tmp_path / "later")) / "metrics.jsonl"  # as of several losses
    later.write_text(later.read_text() + json.dumps({"step": 7, "loss": 9.0, "mse": 9.0}) + "\n")
    assert own_pictures.usual_error(later.parent) == rows[-1]["mse"]
    packaged = weights.find("quick")
    assert own_pictures.usual_error(packaged) == weights.read(packaged)[0]["evaluation"]["mse"]
    for i, unknown in enumerate(({}, {"evaluation": 3}, {"evaluation": {"mse": "low"}}, {"evaluation": {"mse": 0}})):
        weights.save(tmp_path / f"{i}.safetensors", {"model": {}} | unknown, {})
        assert own_pictures.usual_error(tmp_path / f"{i}.safetensors") == math.inf


def test_packaged_weights_say_what_they_are(run):
    said = run(segment, "--list")
    assert [line.split()[0] for line in said.splitlines()] == weights.packaged_names()
    assert "clevr, 64x64, 7 slots" in said and "sprites, 32x32, 5 slots" in said
    for name in weights.packaged_names():
        scored = weights.read(weights.find(name))[0]["evaluation"]
        figure, title = (
            ("ap_inf", "AP@inf") if "ap_inf" in scored else ("posterior_fg_ari", "FG-ARI of the responsibilities")
        )
        assert f"{title} {scored[figure]:.3f} (" in said
