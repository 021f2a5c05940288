"""The decoder that draws features one after another: what it may see, and in which orders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of, images_of

import slotjax
from slotjax.errors import UserError
from slotjax.nn.decoders import TransformerDecoder
from slotjax.nn.decoders.transformer import orders
from slotjax.nn.frames import SlotFrame
from slotjax.nn.layers import pixels
from slotjax.training.objective import build_objective


@pytest.fixture(scope="module")
def drawing():
    """A decoder with its parameters, slots and a target."""
    decoder = TransformerDecoder((3, 4), 16, 16, 2, 2, permutations=True, out_channels=5)
    slots, target = (jax.random.normal(jax.random.key(i), size) for i, size in enumerate(((2, 3, 8), (2, 3, 4, 5))))
    number = jnp.array([0, 7])
    params = jax.jit(decoder.init)(jax.random.key(2), slots, target, number)
    return jax.jit(lambda *inputs: decoder.apply(params, *inputs)), decoder, params, slots, target


def test_orders_are_permutations_of_the_places():
    for size in ((3, 4), (4, 4), (1, 1)):
        found = orders(*size)
        assert found.shape == (9, size[0] * size[1])
        np.testing.assert_array_equal(np.sort(found, 1), np.broadcast_to(np.arange(found.shape[1]), found.shape))
    assert len({tuple(order) for order in orders(3, 4).tolist()}) == 9
    assert orders(3, 4)[0].tolist() == list(range(12)) and orders(3, 4)[3].tolist() == list(range(12))[::-1]
    assert orders(3, 4)[8].tolist() == [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6]


@pytest.mark.parametrize("number", [0, 5, 8])
def test_a_place_sees_only_those_before_it(drawing, number):
    apply, _, _, slots, target = drawing
    order, numbers = orders(3, 4)[number], jnp.full(2, number)
    before, _ = apply(slots, target, numbers)
    place = order[6]
    changed = target.at[:, place // 4, place % 4].multiply(-1)
    differs = np.abs(apply(slots, changed, numbers)[0] - before).max((0, 1, 4)).ravel() > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(differs), np.sort(order[7:]))


def test_masks_are_attention_and_slots_draw_together(drawing):
    apply, _, _, slots, target = drawing
    components, logits = apply(slots, target, jnp.zeros(2, jnp.int32))
    assert components.shape == (2, 1, 3, 4, 5) and logits.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(jnp.exp(logits).sum(1), 1, atol=1e-5)
    permuted = apply(slots[:, ::-1], target, jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(permuted[1][:, ::-1], logits, atol=1e-4)


def test_a_frame_that_moves_takes_its_mask_along_in_every_order():
    decoder = TransformerDecoder((3, 4), 16, 16, 1, 2, permutations=True, frame=SlotFrame(), out_channels=5)
    slots = jax.random.normal(jax.random.key(0), (2, 3, 8 + 4)).at[..., 8:].set(jnp.array([0.0, -0.25, 0.5, 0.5]))
    target, rows, others = jnp.ones((2, 3, 4, 5)), jnp.zeros(2, jnp.int32), jnp.array([5, 8])
    params = jax.jit(decoder.init)(jax.random.key(2), slots, target, rows)
    params["params"]["near"]["out"]["kernel"] *= 1e4  # where slots lie decides
    apply = jax.jit(lambda slots, number: decoder.apply(params, slots, target, number)[1].argmax(1))
    here, there = (apply(slots.at[..., 9].add(shift), rows) for shift in (0.0, 0.5))  # a place to the right
    assert len(np.unique(here)) > 1
    np.testing.assert_array_equal(there[..., 1:], here[..., :-1])
    np.testing.assert_array_equal(apply(slots, others), here)


def test_what_is_generated_predicts_itself(drawing):
    apply, decoder, params, slots, _ = drawing
    generated = jax.jit(lambda: decoder.apply(params, slots, None, None, False, method="draw"))().components[..., 0]
    again, _ = apply(slots, generated[:, 0], jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(again, generated, atol=1e-4)


def test_patches_of_pixels_are_drawn_one_after_another():
    decoder = TransformerDecoder((6, 4), 16, 16, 1, 2, patch=2)
    slots, pictures = (jax.random.normal(jax.random.key(i), size) for i, size in enumerate(((2, 3, 8), (2, 6, 4, 3))))
    params = jax.jit(lambda: decoder.init(jax.random.key(2), slots, pictures, None, False, method="draw"))()
    draw = jax.jit(lambda pictures: decoder.apply(params, slots, pictures, None, False, method="draw"))
    drawn = draw(pictures)
    assert drawn.components.shape == (2, 1, 3, 2, 3, 4) and drawn.mask_logits.shape == (2, 3, 3, 2, 1, 4)
    changed = draw(pictures.at[:, 2:4, 2:].multiply(-1))  # the fourth patch of six: only what comes after may differ
    differs = np.abs(changed.components - drawn.components).max((0, 1, 4, 5)).ravel() > 1e-6
    np.testing.assert_array_equal(differs, [False] * 4 + [True] * 2)
    generated = pixels(draw(None).components)
    np.testing.assert_allclose(pixels(draw(generated[:, 0]).components), generated, atol=1e-4)


def test_orders_are_drawn_in_training_alone(drawing):
    _, decoder, params, slots, target = drawing
    keys = [jax.random.split(jax.random.key(seed), 2) for seed in (0, 4)]
    for trains in (False, True):
        used = decoder.in_training() if trains else decoder
        draw = jax.jit(lambda key, used=used: used.apply(params, slots, target, key, False, method="draw").components)
        assert bool((draw(keys[0]) == draw(keys[1])).all()) != trains


def test_what_is_not_told_is_of_no_use(drawing):
    _, decoder, params, slots, target = drawing

    @functools.partial(jax.jit, static_argnums=0)
    def draw(decoder, target, seed):
        return decoder.apply(params, slots, target, jax.random.key(seed), False, method="draw").components

    nothing, half = (decoder.clone(permutations=False, dropout=share).in_training() for share in (1.0, 0.5))
    np.testing.assert_array_equal(draw(nothing, target, 0), draw(nothing, -target, 0))
    assert np.abs(draw(half, target, 0) - draw(half, target, 1)).max() > 1e-3
    plain = half.clone(training=False)
    np.testing.assert_array_equal(draw(plain, target, 0), draw(plain, target, 1))
    assert np.abs(draw(plain, target, 0) - draw(plain, -target, 0)).max() > 1e-3


@pytest.mark.slow
def test_the_model_learns_with_it():
    model = slotjax.build_model(config_of("features:spot,tiny").model).in_training()
    params, images = slotjax.init(model, jax.random.key(0), images_of(model)), images_of(model, 4)
    objective, keys = build_objective(model, {"mse": 1.0}), jax.random.split(jax.random.key(1), 4)
    gradients = jax.jit(jax.grad(lambda p: objective(p, {"image": images}, keys, jnp.int32(0))[0]))(params)
    assert np.any(gradients["decoder"]["block1"]["query"]["kernel"]) and np.any(
        gradients["encoder"]["dense0"]["kernel"]
    )


def test_attributes_that_clash_are_refused():
    config = config_of("features:autoregressive,tiny")
    config.model.decoder.heads = 3
    with pytest.raises(UserError, match="must divide model.decoder.width=16"):
        slotjax.build_model(config.model)
