"""`slotjax.data.loader`: the batches that training sees, for a loop of one's own."""

import itertools

import jax
import numpy as np
import pytest
from helpers import tiny
from picture_files import gradient, save

import slotjax
from slotjax.data import loader
from slotjax.errors import UserError
from slotjax.training.feed import open_feed
from slotjax.training.parallel import Parallel

SIZE = (35, 35)


def same(ours, theirs):
    assert ours.keys() <= theirs.keys()
    jax.tree.map(np.testing.assert_array_equal, ours, {name: theirs[name] for name in ours})


@pytest.fixture
def folder(tmp_path, cache_home):
    """Six pictures of different sizes, with masks."""
    for i in range(6):
        save(tmp_path / "images" / f"{i}.png", gradient(30 + i, 40))
        save(tmp_path / "masks" / f"{i}.png", np.eye(30 + i, 40, dtype=np.uint8))
    return tmp_path


def config(folder):
    """Of the folder, or of rendered scenes where there is none."""
    config = tiny("tetrominoes", batch_size=3)
    config.eval.batch_size = 3
    config.data.update({"name": "folder", "path": str(folder)} if folder else {})
    return config


def opened(folder, **options):
    where = ("folder", SIZE) if folder else ("tetrominoes", SIZE)
    return loader(*where, 3, **{"path": folder or "", "eval_images": 4} | options)


@pytest.mark.parametrize("stored", [False, True])
def test_the_batches_are_those_of_training(stored, folder):
    """Of the same seed, and from any step on; the truth, which training does not see, comes with them."""
    config_ = config(folder if stored else None)
    config_.seed = 5
    feed = open_feed(config_)
    one = Parallel("jit", 3, jax.devices()[:1])
    wanted = list(itertools.islice(feed.train_batches(one, 0), 4))
    found = list(itertools.islice(opened(folder if stored else None, seed=5), 4))
    for ours, theirs in zip(found, wanted, strict=True):
        same({"image": theirs["image"]}, ours)
        assert ours["segments"].shape == (3, *SIZE) and ours["segments"].max() >= 1
    later = next(opened(folder if stored else None, seed=5, start_step=3))
    same(later, found[3])


@pytest.mark.parametrize("stored", [False, True])
def test_held_out_pictures_come_once_and_in_order(stored, folder):
    feed = open_feed(config(folder if stored else None))
    found = list(opened(folder if stored else None, split="eval"))
    for ours, theirs in zip(found, feed.eval_batches(), strict=True):
        same(ours, theirs)
    assert [list(batch["valid"]) for batch in found] == [[True] * 3, [True, False, False]]


def test_moving_scenes_have_an_axis_of_time():
    batch = next(loader("moving_sprites", (16, 16), 2, num_frames=3, options={"max_objects": 2}))
    assert batch["image"].shape == (2, 3, 16, 16, 3) and batch["segments"].shape == (2, 3, 16, 16)


def test_it_completes_with_tab():
    assert {"loader", "scenes", "stored"} <= set(dir(slotjax.data)) and slotjax.data.loader is loader


def test_mistakes_are_told_before_the_first_batch(tmp_path):
    for name, more, message in (
        ("sprite", {}, "name='sprite': choose one of .*did you mean sprites"),
        ("sprites", {"path": "x"}, "path='x': sprites scenes are rendered"),
        ("sprites", {"options": {"colour": 1}}, "data.options.colour=1: sprites scenes have no such option"),
        ("sprites", {"options": {"max_object": 1}}, "no such option; they have .*; did you mean max_objects"),
        ("sprites", {"max_objects": 3}, "max_objects=3: is for stored data, sprites is rendered: .*, or say options="),
        ("sprites", {"augment": "flip"}, "augment='flip': is for stored data, sprites is rendered: leave it out$"),
        ("folder", {"options": {"colour": 1}}, "options=.*: are for rendered scenes, folder is read"),
        ("folder", {"path": str(tmp_path / "none")}, "none"),
        ("sprites", {"split": "test"}, "split='test': choose one of train, eval"),
        ("sprites", {"batch_size": 0}, "batch_size=0: must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            loader(name, **{"resolution": (32, 32), "batch_size": 2} | more)
