"""How videos reach a model: scenes that move, and what is refused."""

import pytest
from helpers import tiny
from ml_collections import ConfigDict
from moving import sliding_square

from slotjax.data.scenes import SCENES, bind
from slotjax.training.feed import open_feed


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
