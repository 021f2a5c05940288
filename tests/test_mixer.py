"""The decoder that mixes slots and draws once: what a place may see, and what its masks are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of
from ml_collections import ConfigDict

import slotjax
from slotjax.errors import UserError
from slotjax.nn.decoders import SlotMixerDecoder
from slotjax.nn.frames import SlotFrame


@pytest.fixture(scope="module")
def mixing():
    """A decoder's program and parameters, and slots."""
    decoder = SlotMixerDecoder((3, 4), 8, 1, 2, (16,), out_channels=5)
    slots = jax.random.normal(jax.random.key(0), (2, 3, 6))
    params = jax.jit(decoder.init)(jax.random.key(1), slots)
    return jax.jit(decoder.apply), decoder, params, slots


def test_slots_draw_together_whatever_their_order(mixing):
    apply, _, params, slots = mixing
    drawn, logits = apply(params, slots)
    assert drawn.shape == (2, 3, 4, 5) and logits.shape == (2, 3, 3, 4)
    other, permuted = apply(params, slots[:, ::-1])
    np.testing.assert_allclose(other, drawn, atol=1e-5)
    np.testing.assert_allclose(permuted[:, ::-1], logits, atol=1e-5)


def test_a_place_draws_the_mixture_that_its_mask_says(mixing):
    apply, _, params, slots = mixing
    drawn, logits = apply(params, slots)
    weights = jax.nn.softmax(logits, 1)
    mixed = jnp.einsum("bkhw,bkd->bhwd", weights, slots)
    dense = params["params"]
    place = (dense["places"] @ dense["place"]["kernel"]).reshape(3, 4, -1)
    hidden = jnp.maximum(mixed @ dense["dense0"]["kernel"] + dense["dense0"]["bias"] + place, 0)
    np.testing.assert_allclose(drawn, hidden @ dense["dense1"]["kernel"] + dense["dense1"]["bias"], atol=1e-5)


def test_a_patch_of_pixels_has_one_mask():
    whole, parted = (SlotMixerDecoder(size, 8, 1, 2, (16,), patch) for size, patch in (((3, 4), 1), ((6, 8), 2)))
    slots = jax.random.normal(jax.random.key(0), (2, 3, 6))
    params = jax.jit(parted.init)(jax.random.key(1), slots)
    drawn = jax.jit(lambda: parted.apply(params, slots, None, None, False, method="draw"))()
    assert drawn.components.shape == (2, 1, 3, 4, 3, 4) and drawn.mask_logits.shape == (2, 3, 3, 4, 1, 4)
    dense = params["params"]
    first = jax.tree.map(lambda x: x.reshape(*x.shape[:-1], 3, 4)[..., 0], dense["dense1"])  # of each patch
    plain = jax.jit(
        lambda: whole.apply({"params": dense | {"dense1": first}}, slots, None, None, False, method="draw")
    )()
    np.testing.assert_allclose(drawn.components[..., 0], plain.components[..., 0], atol=1e-5)
    np.testing.assert_allclose(drawn.mask_logits, np.repeat(plain.mask_logits, 4, -1), atol=1e-5)


def test_places_do_not_see_each_other(mixing):
    apply, _, params, slots = mixing
    before = apply(params, slots)[0].reshape(2, 12, 5)
    changed = jax.tree.map(jnp.copy, params)
    changed["params"]["places"] = params["params"]["places"].at[7].add(1.0)
    differs = np.abs(apply(changed, slots)[0].reshape(2, 12, 5) - before).max((0, 2)) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(differs), [7])


def test_a_frame_that_moves_takes_its_mask_along():
    """With places that are all alike, masks go by where slots lie alone."""
    decoder = SlotMixerDecoder((3, 4), 8, 1, 2, (16,), frame=SlotFrame(), out_channels=5)
    slots = jax.random.normal(jax.random.key(0), (2, 3, 6 + 4)).at[..., 6:].set(jnp.array([0.0, -0.25, 0.5, 0.5]))
    params = jax.jit(decoder.init)(jax.random.key(1), slots)
    params["params"]["places"] = jnp.ones_like(params["params"]["places"])
    apply = jax.jit(decoder.apply)
    here, there = (apply(params, slots.at[..., 7].add(shift))[1] for shift in (0.0, 0.5))  # a place to the right
    np.testing.assert_allclose(there[..., 1:], here[..., :-1], atol=1e-5)
    assert np.abs(there - here).max() > 0.1


def test_videos_are_drawn_frame_by_frame(mixing):
    _, decoder, params, slots = mixing
    draw = jax.jit(lambda slots: decoder.apply(params, slots, None, None, False, method="draw"))
    single, video = draw(slots), draw(slots[:, None])
    assert video.components.shape == (2, 1, 1, 3, 4, 5, 1) and video.mask_logits.shape == (2, 1, 3, 3, 4, 1, 1)
    jax.tree.map(lambda one, frames: np.testing.assert_allclose(frames[:, 0], one, atol=1e-6), single, video)


def test_attributes_that_clash_are_refused():
    for clash, said in (({"heads": 3}, "must divide"), ({"hidden": ()}, "at least one width")):
        config = config_of("features:mixer,tiny")
        config.model.decoder.update(clash)
        with pytest.raises(UserError, match=said):
            slotjax.build_model(config.model)
    config = config_of("features:mixer,tiny")
    config.model.backbone = ConfigDict({"name": "pixels"})
    config.model.resolution = (512, 512)
    with pytest.raises(UserError, match="a vector for each place, 65536 at most"):
        slotjax.build_model(config.model)
