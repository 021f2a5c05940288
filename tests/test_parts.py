"""Parts of the literature, each against what defines it."""

from functools import partial

import jax
import numpy as np
import pytest
from helpers import compose, config_of, images_of
from scipy.special import softmax

from slotjax import clustering
from slotjax.api import decode, init, jitted_apply, responsibilities
from slotjax.config.command_line import override
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.nn.decoders import TransformerDecoder
from slotjax.nn.decoders.base import Drawn
from slotjax.nn.initializers import PredictedSlots, keys_of_examples
from slotjax.nn.needed import needed
from slotjax.nn.selections import DistinctSlots, GumbelSelection, StickBreaking
from slotjax.nn.unet import UNetEncoder
from slotjax.tasks.discovery import slots_drawn


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tiny_model(*changes: str):
    config = config_of("quick:tiny")
    override(config, [f"--config.{change}" for change in changes])
    return build_model(config.model)


def test_masks_are_shared_among_the_slots_that_are_drawn():
    components, logits = normal(0, 2, 3, 4, 5, 3), 20 * normal(1, 2, 3, 4, 5)
    gates = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    out = jax.device_get(jax.jit(compose)(components, logits, gates))
    np.testing.assert_allclose(out.masks[0, [0, 2]], softmax(logits[0, [0, 2]], 0), atol=1e-6)
    np.testing.assert_array_equal(out.masks[0, 1], 0)
    np.testing.assert_allclose(out.reconstruction[1], components[1, 1], atol=1e-6)
    np.testing.assert_allclose(softmax(out.mask_logits, 1), out.masks, atol=1e-6)


def test_gates_are_differentiated_as_factors_of_masks():
    components, logits, gates = normal(0, 1, 3, 2, 2, 3), normal(1, 1, 3, 2, 2), np.array([[1, 0, 1]], np.float32)

    def plain(gates):
        masks = jax.nn.softmax(logits, 1) * gates[..., None, None]
        return ((masks / masks.sum(1, keepdims=True))[..., None] * components).sum(1)

    ours, expected = (
        jax.jit(jax.grad(lambda gates, draw=draw: (draw(gates) ** 2).sum()))(gates)
        for draw in (lambda gates: compose(components, logits, gates).reconstruction, plain)
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert abs(float(ours[0, 1])) > 0.01  # a slot that is not drawn hears of it, too


def chosen(selection, params, slots, key=None, drawn=None):
    """What a selection keeps, as NumPy arrays."""
    keep = jax.jit(lambda slots, key, drawn: selection.apply({"params": params}, slots, key, drawn))
    return jax.device_get(keep(slots, key, drawn))


@pytest.fixture(scope="module")
def gumbel():
    """Slots, and parameters by which they are kept with every probability, on average every other one."""
    slots = normal(0, 400, 5, 8)
    params = jax.jit(lambda: GumbelSelection().init(jax.random.key(0), slots, None, None)["params"])()
    params["dense1"]["kernel"] = normal(1, 8, 1)
    return params, slots


def test_as_long_as_a_selection_has_learned_nothing_all_slots_are_drawn():
    slots = normal(0, 2, 5, 8)
    kept, _ = jax.jit(lambda: GumbelSelection().init_with_output(jax.random.key(0), slots, None, None))()
    np.testing.assert_array_equal(kept.gates, 1)
    np.testing.assert_array_equal(kept.probabilities, 0.5)


def test_in_training_slots_are_drawn_as_probable_as_they_are(gumbel):
    params, slots = gumbel
    kept = chosen(GumbelSelection().in_training(), params, np.repeat(slots[:1], 4000, 0), jax.random.key(1))
    probable = kept.probabilities[0]
    assert set(np.unique(kept.gates.round(5))) == {0.0, 1.0}
    rest = np.arange(5) != probable.argmax()  # the likeliest is always drawn
    np.testing.assert_allclose(kept.gates.mean(0)[rest], probable[rest], atol=0.03)
    np.testing.assert_allclose(kept.gates[:, ~rest], 1, atol=1e-6)


def test_otherwise_those_with_even_odds_or_better(gumbel):
    for key in (None, jax.random.key(1)):
        kept = chosen(GumbelSelection(), *gumbel, key)
        likeliest = np.arange(5) == kept.probabilities.argmax(1)[:, None]
        np.testing.assert_array_equal(kept.gates > 0.5, (kept.probabilities >= 0.5) | likeliest)


def test_a_gate_has_the_gradient_of_its_sigmoid(gumbel):
    params, slots = gumbel

    @partial(jax.jit, static_argnums=1)
    def slope(params, i):
        return jax.grad(lambda p: (GumbelSelection().apply({"params": p}, slots, None, None)[i] * slots[..., 0]).sum())(
            params
        )

    ours, expected = (jax.device_get(slope(params, i)) for i in range(2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), ours, expected)
    assert max(np.abs(x).max() for x in jax.tree.leaves(ours)) > 0.1


@pytest.fixture(scope="module")
def drawn(gumbel):
    """What the slots drew, and for each picture which of them has most of it, the next most, and so on."""
    logits = 4 * normal(3, *gumbel[1].shape[:2], 3, 4, 1, 2)
    return Drawn(np.zeros_like(logits), logits), np.argsort(-softmax(logits, 1).mean((2, 3, 4, 5)), 1)


def test_behind_a_broken_stick_no_slot_is_drawn(gumbel, drawn):
    drawn, order = drawn
    each = np.take_along_axis(chosen(GumbelSelection(), *gumbel).probabilities, order, 1)
    kept = chosen(StickBreaking(), *gumbel, drawn=drawn)
    np.testing.assert_allclose(np.take_along_axis(kept.probabilities, order, 1), np.cumprod(each, 1), rtol=1e-5)
    expected = np.cumprod(each >= 0.5, 1)
    expected[:, 0] = 1
    np.testing.assert_array_equal(np.take_along_axis(kept.gates, order, 1) > 0.5, expected)


def test_a_stick_that_breaks_takes_those_behind_it_along(gumbel, drawn):
    params, slots = gumbel
    drawn, order = drawn

    def gate(selection, bias, i):
        own = params | {"dense1": params["dense1"] | {"bias": bias}}
        return selection.apply({"params": own}, slots, None, drawn).gates[0, order[0, i]]

    slope = jax.jit(jax.grad(gate, 1), static_argnums=(0, 2))
    bias = np.full(1, 9, np.float32)  # every slot is drawn
    own, all_before = ([slope(s, bias, i)[0] for i in range(5)] for s in (GumbelSelection(), StickBreaking()))
    np.testing.assert_allclose(all_before, np.cumsum(own), rtol=1e-4)


def test_of_slots_that_are_alike_the_first_is_drawn():
    slots = normal(0, 1, 4, 16)
    slots[:, 2] = 3 * slots[:, 0] + 0.01 * slots[:, 1]
    np.testing.assert_array_equal(jax.jit(DistinctSlots())(slots, None, None).gates, [[1, 1, 0, 1]])


def eliminated(components: np.ndarray, logits: np.ndarray, least_change: float) -> list[int]:
    """The slots that one picture needs: slots are taken out one by one, and the rest composed anew."""

    def change(slots: list[int]) -> float:
        masks = softmax(logits[slots], 0)[..., None]
        return float((((masks * components[slots]).sum(0) - whole) ** 2).mean())

    kept = list(range(len(logits)))
    whole = (softmax(logits, 0)[..., None] * components).sum(0)
    while len(kept) > 1:
        least, slot = min((change([other for other in kept if other != slot]), slot) for slot in kept)
        if least >= least_change:
            break
        kept.remove(slot)
    return kept


def test_slots_without_which_the_picture_would_be_the_same_are_left_out():
    components, logits = normal(0, 6, 5, 4, 4, 3), 8 * normal(1, 6, 5, 4, 4)
    components[:, 3] = components[:, 1] + 0.01 * components[:, 2]
    drawn, shown = components[..., None], logits[..., None, None]
    counts = set()
    for least_change in (1e-3, 0.1, 0.5):
        kept = np.asarray(jax.jit(needed)(drawn, shown, least_change))
        counts |= set(kept.sum(1))
        for one, *picture in zip(kept, components, logits, strict=True):
            np.testing.assert_array_equal(np.flatnonzero(one), eliminated(*picture, least_change))
    assert len(counts) > 2


def test_of_slots_that_draw_the_same_one_is_needed():
    components, logits = np.repeat(normal(0, 1, 1, 4, 4, 3), 5, 1), normal(1, 1, 5, 4, 4)
    assert jax.jit(needed)(components[..., None], logits[..., None, None]).sum() == 1


@pytest.fixture(scope="module")
def choosing():
    model = tiny_model("model.selection=gumbel")
    images = images_of(model)
    params = init(model, jax.random.key(0), images)
    params["selection"]["dense1"]["kernel"] = 0.1 * normal(0, *params["selection"]["dense1"]["kernel"].shape)
    return model, params, images


def test_a_model_draws_the_slots_that_it_keeps(choosing):
    model, params, images = choosing
    out = jax.device_get(jitted_apply(model, params, images, jax.random.key(1)))
    dropped = (out.masks == 0).all((2, 3))
    likeliest = np.arange(out.kept.shape[1]) == out.kept.argmax(1)[:, None]
    np.testing.assert_array_equal(dropped, (out.kept < 0.5) & ~likeliest)
    assert dropped.any() and not dropped.all(1).any()
    np.testing.assert_array_equal(slots_drawn(out.masks), (~dropped).sum(1))
    np.testing.assert_array_equal(slots_drawn(out.masks[None]), [(~dropped).sum(1).mean()])  # as if of one video
    again = jax.jit(decode, static_argnums=0)(model, params, out.slots)
    np.testing.assert_allclose(again.masks, out.masks, atol=1e-6)
    assert np.isfinite(jax.jit(responsibilities)(out, images)).all()
    trained = jax.device_get(jitted_apply(model.in_training(), params, images, jax.random.key(1)))
    np.testing.assert_allclose(trained.kept, out.kept, atol=1e-6)
    assert ((trained.masks == 0).all((2, 3)) != dropped).any()


def test_slots_that_a_transformer_draws_together_are_all_drawn(choosing):
    together = choosing[0].clone(decoder=TransformerDecoder())
    with pytest.raises(UserError, match="model.selection: is for decoders that draw each slot on its own"):
        together.check()


def test_a_token_of_the_u_net_sees_what_is_far_away_and_the_grid_is_as_said():
    encoder, images = UNetEncoder(channels=(4, 4, 4), stride=2, mlp_dim=4), normal(0, 1, 37, 24, 3)
    params = jax.jit(encoder.init)(jax.random.key(0), images)
    rows, columns = encoder.grid((37, 24))

    @jax.jit
    def middle(images):
        tokens = encoder.apply(params, images)
        assert tokens.shape == (1, rows * columns, 4)
        return tokens[0, rows // 2 * columns + columns // 2].sum()

    seen = np.nonzero(np.abs(jax.grad(middle)(images)[0]).sum((1, 2)))[0]
    assert np.ptp(seen) > 20  # four further convolutions of 3x3 at the tokens' resolution see 19 rows


def test_predicted_starts_follow_the_tokens_and_train_none_of_them():
    keys, tokens = keys_of_examples(jax.random.key(0), 2), normal(0, 2, 6, 5)
    initializer = PredictedSlots(slot_dim=8, heads=2)
    params = jax.jit(initializer.init, static_argnums=2)(jax.random.key(1), keys, 3, tokens)

    @jax.jit
    def start(tokens):
        return initializer.apply(params, keys, 3, tokens)

    assert start(tokens).shape == (2, 3, 8)
    np.testing.assert_allclose(start(tokens[:, ::-1]), start(tokens), atol=1e-5)
    assert np.abs(start(2 * tokens + 1) - start(tokens)).max() > 0.01
    assert not jax.jit(jax.grad(lambda tokens: start(tokens).sum()))(tokens).any()


def test_heads_of_predicted_starts_divide_a_slot():
    model = tiny_model("model.initializer.name=predicted", "model.initializer.heads=3")
    with pytest.raises(UserError, match="model.initializer.heads=3: must divide model.slot_dim=16"):
        init(model, jax.random.key(0), images_of(model))


def test_a_model_tells_where_its_predicted_slots_started():
    model = tiny_model("model.initializer.name=predicted")
    images = images_of(model)
    params = init(model, jax.random.key(0), images)
    out = jax.device_get(jitted_apply(model, params, images, jax.random.key(1)))
    again = jitted_apply(model, params, images, initial_slots=out.start)
    np.testing.assert_allclose(again.slots, out.slots, atol=1e-6)
    assert np.abs(out.start[0] - out.start[1]).max() > 1e-4  # pictures differ, and starts with them


def test_slots_that_share_every_pixel_are_merged_and_others_are_not():
    shares = np.zeros((2, 4, 6, 6))
    shares[:, 0, :3], shares[:, 1, 3:, :3] = 1.0, 1.0
    shares[:, 2:, 3:, 3:] = 0.5  # two halves of every pixel
    groups = clustering.merge(shares)
    for found in groups:
        assert found[2] == found[3] and len(set(found)) == 3
    np.testing.assert_array_equal(clustering.merge(shares, 1e-9)[:, 2], clustering.merge(shares, 1e-9)[:, 3])
    np.testing.assert_array_equal(clustering.merge(shares[:, :1]), [[0], [0]])
    nothing = np.concatenate([shares, np.zeros((2, 2, 6, 6))], 1)  # and two slots without a pixel
    for found in clustering.merge(nothing):
        assert found[2] == found[3] and len(set(found[:4])) == 3
