"""How videos reach a model: scenes that move, and what is refused."""

import jax
import pytest
from helpers import tiny
from ml_collections import ConfigDict
from moving import sliding_square

from slotjax.data.scenes import SCENES, bind
from slotjax.training.feed import open_feed
from slotjax.training.parallel import Parallel


@pytest.fixture(autouse=True)
def moving(monkeypatch):
    monkeypatch.setitem(SCENES, "sliding_square", sliding_square)


@pytest.mark.parametrize(
    ("name", "options", "num_frames", "message"),
    [
        ("sprites", {}, 3, "data.num_frames=3: sprites scenes stand still: set it to 0"),
        ("sliding_square", {}, 0, "data.num_frames=0: sliding_square scenes move: say how many frames a video has"),
        ("sliding_square", {"num_frames": 3}, 3, "data.options.num_frames=3: .* no such option; they have size"),
    ],
)
def test_scenes_that_do_not_move_have_no_frames(name, options, num_frames, message):
    with pytest.raises(ValueError, match=message):
        bind(name, options, (16, 16), num_frames)


def test_a_model_of_pictures_takes_no_videos():
    config = tiny("quick")
    config.data.options = ConfigDict()
    config.data.update(name="sliding_square", num_frames=2)
    message = "data.name='sliding_square': gives videos, and model.name='object_discovery' takes pictures"
    with pytest.raises(ValueError, match=message):
        open_feed(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ("flow",)}, "data.name='sliding_square': has no flow, which model.targets or"),
        ({"initializer": ConfigDict({"name": "cues"})}, "has no boxes"),
    ],
)
def test_data_without_what_the_model_learns_from_is_refused(change, message):
    config = tiny("video")
    config.data.options = ConfigDict()
    config.data.name = "sliding_square"
    for field, value in change.items():
        config.model[field] = value
    with pytest.raises(ValueError, match=message):
        open_feed(config)


def test_more_boxes_than_slots_are_refused():
    config = tiny("video", "savi,tiny")
    config.model.num_slots = 5
    with pytest.raises(ValueError, match="model.num_slots=5: slots start from the boxes of up to 6 objects; set .*=7"):
        open_feed(config)


def test_videos_are_batched_and_held_out_ones_may_be_longer():
    config = tiny("video")
    config.data.options = ConfigDict()
    config.data.update(name="sliding_square", num_frames=3, eval_frames=5)
    feed = open_feed(config)
    assert feed.lesson["image"].shape == (3, 32, 32, 3) and feed.example["segments"].shape == (5, 32, 32)
    batch = next(feed.train_batches(Parallel("jit", 4, jax.devices()[:1]), 0))
    assert batch["image"].shape == (4, 3, 32, 32, 3) and set(batch) == {"image", "index"}
    assert next(feed.eval_batches())["image"].shape == (8, 5, 32, 32, 3)
    config.data.update(pool=8)
    pooled = next(open_feed(config).train_batches(Parallel("jit", 4, jax.devices()[:1]), 0))
    assert pooled["image"].shape == batch["image"].shape


def test_boxes_and_flow_of_scenes_reach_the_model():
    feed = open_feed(tiny("video", "savi,tiny"))
    assert feed.fields == ("image", "boxes", "flow")
    assert feed.lesson["boxes"].shape == (2, 6, 4) and feed.lesson["flow"].shape == (2, 32, 32, 2)
