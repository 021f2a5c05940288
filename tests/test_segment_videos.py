"""`segment` takes videos where the model does."""

import jax
import numpy as np
import pytest
from helpers import config_of, untrained
from PIL import Image

import slotjax
from slotjax.errors import UserError
from slotjax.reporting import own_videos
from slotjax.reporting.own_pictures import Options, open_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return open_trained(untrained(config_of("video:small,tiny"), tmp_path_factory.mktemp("run")), None)


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 30, 40, 3), np.uint8)


def test_an_animation_and_a_folder_of_frames_become_overlays(trained, tmp_path, capsys):
    pictures = [Image.fromarray(frame) for frame in frames(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=True)
    (tmp_path / "b").mkdir()
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / "b" / f"{i}.png")
    own_videos.segment(trained, [tmp_path / "a.webp", tmp_path / "b"], tmp_path / "out", Options())
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all(": 3 frames; " in line for line in said)
    a, b = (np.load(tmp_path / "out" / f"{name}_segments.npz")["segments"] for name in "ab")
    assert a.shape == (3, 30, 40)
    np.testing.assert_array_equal(a, b)
    with Image.open(tmp_path / "out" / "a_overlay.webp") as overlay:
        assert overlay.n_frames == 3 and overlay.size == (240, 180)


def test_a_video_in_parts_is_split_as_it_is_whole(trained, monkeypatch):
    whole = np.concatenate(list(own_videos.found(trained, frames(4), Options())))
    monkeypatch.setattr(own_videos, "PART", 2)
    parts = list(own_videos.found(trained, frames(4), Options()))
    assert len(parts) == 2
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_patterns_stand_for_videos(tmp_path):
    for name in ("b.gif", "a.gif", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in own_videos.matching(tmp_path / "*.gif")] == ["a.gif", "b.gif"]
    assert own_videos.matching(tmp_path / "*.mp4") == [tmp_path / "*.mp4"]  # nothing: named as no such file


@pytest.mark.parametrize("target", ["flow", "depth"])
def test_slots_that_draw_no_pictures_are_told_by_their_masks(target, tmp_path):
    config = config_of("video:small,tiny")
    config.model.targets = (target,)
    trained = open_trained(untrained(config, tmp_path), None)
    seen = np.random.default_rng(0).integers(0, 255, (2, *config.model.resolution, 3), np.uint8)
    (ids,) = own_videos.found(trained, seen, Options())
    video = seen[None].astype(np.float32) / 127.5 - 1
    expected = slotjax.segments(trained.model, trained.params, video, jax.random.key(Options().seed))
    assert (ids == np.asarray(expected)[0]).mean() > 0.99  # but for ties


def test_what_is_no_video_is_named(trained, tmp_path):
    with pytest.raises(UserError, match=r"^\S*none.gif: no such file; name a video"):
        own_videos.segment(trained, [tmp_path / "none.gif"], tmp_path, Options())
    first, *rest = map(Image.fromarray, frames(2))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    with pytest.raises(UserError, match=r"1 of 2 files left out: \S*none.gif: no such file; name a video"):
        own_videos.segment(trained, [tmp_path / "none.gif", tmp_path / "a.gif"], tmp_path / "out", Options())
    assert (tmp_path / "out" / "a_segments.npz").exists()
    with pytest.raises(UserError, match="--crop, --cutouts: are for pictures"):
        own_videos.segment(trained, [tmp_path], tmp_path, Options(crop=True))
