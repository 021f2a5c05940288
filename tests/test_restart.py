"""Slots that start anew within a video."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_video import DIM, FRAMES, KEY, MODEL, SLOTS, VIDEO, apply, built, close

import slotjax
from slotjax.errors import UserError


@pytest.fixture(scope="module")
def plain():
    return built()


def test_slots_that_start_anew_take_a_video_for_several():
    whole, params = built(initializer={"name": "learned"})
    parted = slotjax.build_model(MODEL | {"initializer": {"name": "learned"}, "restart": 2})
    halves = [apply(whole, params, VIDEO[:, at : at + 2], KEY) for at in (0, 2)]
    close(apply(parted, params, VIDEO, KEY), jax.tree.map(lambda *x: np.concatenate(x, 1), *halves))


def test_slots_that_start_anew_are_drawn_anew(plain):
    same = np.repeat(VIDEO[:, :1], FRAMES, 1)
    slots = apply(slotjax.build_model(MODEL | {"restart": 2}), plain[1], same, KEY).slots
    assert jnp.abs(slots[:, 0] - slots[:, 2]).max() > 1e-3


@pytest.mark.parametrize(
    ("restart", "given", "line"),
    [
        (3, {}, "model.restart=3: must divide the 4 frames"),
        (2, {"initial_slots": np.zeros((2, SLOTS, DIM + 4), np.float32)}, "model.restart=2: slots start anew"),
    ],
)
def test_what_does_not_go_with_slots_that_start_anew(plain, restart, given, line):
    with pytest.raises(UserError, match=line):
        apply(slotjax.build_model(MODEL | {"restart": restart}), plain[1], VIDEO, KEY, **given)


def test_slots_start_anew_by_old_keys_too(plain):
    key = jax.random.PRNGKey(1)
    slots = apply(slotjax.build_model(MODEL | {"restart": 2}), plain[1], VIDEO, key).slots
    assert slots.shape[:2] == VIDEO.shape[:2]
