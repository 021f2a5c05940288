"""What Slot Attention must do, whatever its weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from slotjax import SlotAttention
from slotjax import slot_attention as plain_slot_attention
from slotjax.errors import UserError
from slotjax.nn.attention import attend as plain_attend
from slotjax.nn.initializers import GaussianSlots, keys_of_examples
from slotjax.nn.refinement import NORM_EPSILON, layer_norm, refine
from slotjax.nn.updates import EPSILON

OPTIONS = ("num_iterations", "normalize", "update", "centered", "gradient", "heads", "noise", "return_history")
slot_attention = jax.jit(plain_slot_attention, static_argnames=OPTIONS)
attend = jax.jit(plain_attend, static_argnames=("normalize", "update", "centered", "heads"))
normed = jax.jit(layer_norm)
BATCH, TOKENS, FEATURES, SLOTS, DIM = 2, 40, 12, 5, 16


def normal(seed: int, *shape: int) -> np.ndarray:
    """Drawn by NumPy, and kept there: outside of jit every operation of JAX is a compilation of its own."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def found(*arguments, **options):
    """What `slot_attention` finds, as NumPy arrays."""
    return jax.device_get(slot_attention(*arguments, **options))


@pytest.fixture(scope="module")
def inputs():
    return 2 * normal(1, BATCH, TOKENS, FEATURES) + np.float32(0.5)


@pytest.fixture(scope="module")
def slots():
    return normal(2, BATCH, SLOTS, DIM)


@pytest.fixture(scope="module")
def module():
    return SlotAttention(num_slots=SLOTS, slot_dim=DIM, num_iterations=3, mlp_dim=24)


@pytest.fixture(scope="module")
def params(module, inputs):
    """Parameters of which none is at a special value, biases and norms included."""
    keys = {"params": jax.random.key(0), "slots": jax.random.key(0)}
    params = jax.device_get(jax.jit(module.init)(keys, inputs)["params"])
    return jax.tree.map(lambda x: x + np.float32(0.1) * normal(x.size, *x.shape), params)


def textbook(params, inputs, slots, num_iterations, normalize="slots", update="mean"):
    """Algorithm 1 of the paper, line by line, one image at a time, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def norm(p, x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * p["scale"] + p["bias"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def gru_cell(p, x, h):
        xz, xr, xh = np.split(x @ p["input_kernel"] + p["input_bias"], 3, -1)
        hz, hr, hh = np.split(h @ p["recurrent_kernel"] + p["recurrent_bias"], 3, -1)
        z = sigmoid(xz + hz)
        return z * h + (1 - z) * np.tanh(xh + sigmoid(xr + hr) * hh)

    results = []
    for x, s in zip(np.asarray(inputs, np.float64), np.asarray(slots, np.float64), strict=True):
        x = norm(p["norm_inputs"], x)
        k, v = x @ p["project_k"], x @ p["project_v"]
        for _ in range(num_iterations):
            q = norm(p["norm_slots"], s) @ p["project_q"]
            weights = np.exp(k @ q.T / np.sqrt(q.shape[-1]))  # [n, k]
            attention = weights / weights.sum(1 if normalize == "slots" else 0, keepdims=True)
            weights = attention
            if update == "mean":
                weights = (attention + 1e-8) / (attention + 1e-8).sum(0)
            s = gru_cell(p["gru"], weights.T @ v, s)
            hidden = np.maximum(norm(p["norm_mlp"], s) @ p["mlp"]["kernel0"] + p["mlp"]["bias0"], 0)
            s = s + hidden @ p["mlp"]["kernel1"] + p["mlp"]["bias1"]
        results.append((s, attention.T))
    return tuple(map(np.stack, zip(*results, strict=True)))


@pytest.mark.parametrize("normalize", ["slots", "inputs"])
@pytest.mark.parametrize("update", ["mean", "sum"])
def test_equals_the_textbook_form(params, inputs, slots, normalize, update):
    ours = slot_attention(params, inputs, slots, 3, normalize, update)
    expected = textbook(params, inputs, slots, 3, normalize, update)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_folded_projections_equal_projected_inputs(params, inputs, slots):
    features = np.asarray(normed(params["norm_inputs"], inputs))
    updates, attention = attend(params, features, slots, "slots", "mean")
    query = np.asarray(normed(params["norm_slots"], slots)) @ params["project_q"] / np.sqrt(DIM)
    expected = softmax(np.einsum("bkd,bnd->bkn", query, features @ params["project_k"]), axis=1)
    weights = (expected + EPSILON) / (expected + EPSILON).sum(-1, keepdims=True)
    np.testing.assert_allclose(attention, expected, atol=1e-6)
    np.testing.assert_allclose(updates, weights @ (features @ params["project_v"]), atol=2e-6)


def test_heads_compete_each_with_their_share_of_the_numbers(params, inputs, slots):
    features = np.asarray(normed(params["norm_inputs"], inputs))
    updates, attention = attend(params, features, slots, "slots", "mean", heads=2)
    query = np.asarray(normed(params["norm_slots"], slots)) @ params["project_q"]
    keys, values = features @ params["project_k"], features @ params["project_v"]
    expected, gathered = [], []
    for share in (slice(0, DIM // 2), slice(DIM // 2, DIM)):
        own = softmax(np.einsum("bkd,bnd->bkn", query[..., share], keys[..., share]) / np.sqrt(DIM / 2), axis=1)
        weights = (own + EPSILON) / (own + EPSILON).sum(-1, keepdims=True)
        expected.append(own)
        gathered.append(weights @ values[..., share])
    np.testing.assert_allclose(attention, sum(expected) / 2, atol=1e-6)
    np.testing.assert_allclose(updates, np.concatenate(gathered, -1), atol=2e-6)


def test_heads_divide_a_slot(params, inputs, slots):
    with pytest.raises(UserError, match="heads=3: must divide the 16 numbers"):
        plain_slot_attention(params, inputs, slots, heads=3)


def test_noise_on_the_inputs_fades_from_iteration_to_iteration(params, inputs, slots):
    keys = keys_of_examples(jax.random.key(5), BATCH)
    noisy, _ = slot_attention(params, inputs, slots, 3, noise=0.4, keys=keys)
    features = np.asarray(normed(params["norm_inputs"], inputs))

    @jax.jit
    def drawn(i):
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i), features.shape[1:]))(keys)

    for i, deviation in enumerate((0.4, 0.2, 0.0)):
        updates, _ = attend(params, features + deviation * np.asarray(drawn(i)), slots, "slots", "mean")
        slots = np.asarray(jax.jit(refine)(params, updates, slots, NORM_EPSILON))
    np.testing.assert_allclose(noisy, slots, atol=1e-5)


def test_a_module_draws_its_noise_with_a_key_alone(module, params, inputs, slots):
    draw = jax.jit(module.clone(noise=0.4).apply)
    plain = found(params, inputs, slots, 3)[0]
    np.testing.assert_array_equal(draw({"params": params}, inputs, slots)[0], plain)
    assert np.abs(draw({"params": params}, inputs, slots, key=jax.random.key(0))[0] - plain).max() > 0.01


def test_centered_matches_count_from_their_mean_over_the_inputs(params, inputs, slots):
    """What all inputs have in common, a key that adds the same to all matches of a slot, then decides nothing."""
    features = np.asarray(normed(params["norm_inputs"], inputs))
    both = features, features + np.linspace(-2, 2, features.shape[-1], dtype=np.float32)
    plain, plain_shifted = (np.asarray(attend(params, x, slots, "slots", "mean")[1]) for x in both)
    ours, ours_shifted = (np.asarray(attend(params, x, slots, "slots", "mean", True)[1]) for x in both)
    assert np.abs(plain_shifted - plain).max() > 0.05
    np.testing.assert_allclose(ours_shifted, ours, atol=1e-5)
    log_odds = np.log(plain) - np.log(ours)  # of every slot against the others: moved alike for all inputs
    log_odds = log_odds - log_odds.mean(1, keepdims=True)
    np.testing.assert_allclose(log_odds, np.broadcast_to(log_odds[..., :1], log_odds.shape), atol=1e-5)


def test_permuted_slots_come_out_permuted(params, inputs, slots):
    order = np.array([3, 0, 4, 1, 2])
    out, attention = found(params, inputs, slots)
    permuted, permuted_attention = slot_attention(params, inputs, slots[:, order])
    np.testing.assert_allclose(permuted, out[:, order], atol=1e-5)
    np.testing.assert_allclose(permuted_attention, attention[:, order], atol=1e-5)
    assert np.abs(out[:, order] - out).max() > 0.1


def test_permuted_inputs_change_nothing(params, inputs, slots):
    order = np.random.default_rng(4).permutation(TOKENS)
    out, attention = found(params, inputs, slots)
    permuted, permuted_attention = slot_attention(params, inputs[:, order], slots)
    np.testing.assert_allclose(permuted, out, atol=1e-5)
    np.testing.assert_allclose(permuted_attention, attention[:, :, order], atol=1e-5)


@pytest.mark.parametrize(("normalize", "axis"), [("slots", 1), ("inputs", 2)])
def test_attention_sums_to_one_over_the_axis_of_the_softmax(params, inputs, slots, normalize, axis):
    _, attention = found(params, inputs, slots, normalize=normalize)
    assert attention.shape == (BATCH, SLOTS, TOKENS)
    np.testing.assert_allclose(attention.sum(axis), 1, atol=1e-5)
    assert np.abs(attention.sum(3 - axis) - 1).max() > 1e-3


def test_a_sum_doubles_with_the_inputs_and_a_mean_does_not(params, inputs, slots):
    features = np.asarray(normed(params["norm_inputs"], inputs))
    twice = np.concatenate([features, features], 1)

    def gathered(features, update):
        return np.asarray(attend(params, features, slots, "slots", update)[0])

    np.testing.assert_allclose(gathered(twice, "mean"), gathered(features, "mean"), atol=1e-5)
    np.testing.assert_allclose(gathered(twice, "sum"), 2 * gathered(features, "sum"), atol=1e-4)


@pytest.mark.parametrize("gradient", ["all", "last", "straight_through"])
def test_history_holds_every_iteration(params, inputs, slots, gradient):
    out, attention, history = found(params, inputs, slots, 4, gradient=gradient, return_history=True)
    assert history.slots.shape == (BATCH, 4, SLOTS, DIM)
    assert history.attention.shape == (BATCH, 4, SLOTS, TOKENS)
    np.testing.assert_array_equal(history.slots[:, -1], out)
    np.testing.assert_array_equal(history.attention[:, -1], attention)
    for i in range(4):
        slots, attention = slot_attention(params, inputs, slots, 1)
        np.testing.assert_allclose(history.slots[:, i], slots, atol=1e-5)
        np.testing.assert_allclose(history.attention[:, i], attention, atol=1e-5)


def test_gradients_of_the_last_iteration(params, inputs, slots):
    """The last one is differentiated as if its slots were given; "straight_through" hands that on to the start."""

    def gradient(params, slots, **options):
        def loss(params, slots):
            return (slot_attention(params, inputs, slots, **options)[0] ** 2).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(params, slots)

    before_last, _ = slot_attention(params, inputs, slots, 2)
    expected, expected_slots = gradient(params, before_last, num_iterations=1)
    last, last_slots = gradient(params, slots, gradient="last")
    through, through_slots = gradient(params, slots, gradient="straight_through")
    whole, _ = gradient(params, slots)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, last, dict(expected))
    jax.tree.map(close, through, dict(expected))
    assert not last_slots.any()
    close(through_slots, expected_slots)
    assert np.abs(np.asarray(whole["project_v"]) - last["project_v"]).max() > 1e-3


def test_implicit_gradients_are_those_of_unrolling_to_the_fixed_point(params, inputs, slots):
    # So that there is one, and soon.
    calm = params | {"project_q": 0.3 * params["project_q"]}
    calm |= {name: jax.tree.map(lambda x: 0.4 * x, params[name]) for name in ("mlp", "gru")}

    def loss(params, inputs, gradient):
        found, attention = slot_attention(params, inputs, slots, num_iterations=100, gradient=gradient)
        return (found * slots).sum() + 100 * (attention**2).sum()

    slope = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    unrolled, implicit = slope(calm, inputs, "all"), slope(calm, inputs, "implicit")
    for theirs, ours in zip(*map(jax.tree.leaves, jax.device_get((unrolled, implicit))), strict=True):
        assert np.abs(ours - theirs).max() <= 2e-3 * np.abs(theirs).max() + 1e-4  # where there is none in theory


def test_bfloat16_inputs_stay_close(params, inputs, slots):
    exact, exact_attention = slot_attention(params, inputs, slots)
    rough, attention = found(params, inputs.astype(jnp.bfloat16), slots)
    assert rough.dtype == attention.dtype == np.float32
    np.testing.assert_allclose(attention, exact_attention, atol=0.03)
    np.testing.assert_allclose(rough, exact, atol=0.1)
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)


def test_the_module_is_the_function_with_a_draw(module, params, inputs, slots):
    apply = jax.jit(module.apply)
    given = apply({"params": params}, inputs, slots)
    np.testing.assert_allclose(given[0], slot_attention(params, inputs, slots)[0], atol=1e-5)

    stream, again, other = (
        np.asarray(apply({"params": params}, inputs, rngs={"slots": jax.random.key(i)})[0]) for i in (7, 7, 8)
    )
    np.testing.assert_array_equal(stream, again)
    assert np.abs(stream - other).max() > 1e-3

    key = jax.random.key(9)
    draw = jax.jit(lambda params: GaussianSlots(DIM).apply({"params": params}, keys_of_examples(key, BATCH), SLOTS))
    drawn = draw(params["initializer"])
    by_key, _ = apply({"params": params}, inputs, key=key)
    np.testing.assert_allclose(by_key, slot_attention(params, inputs, drawn)[0], atol=1e-5)


def test_other_numbers_of_slots_and_iterations(module, params, inputs):
    numbers = {"num_slots": 9, "num_iterations": 6, "return_history": True}
    apply = jax.jit(partial(module.apply, **numbers))
    out, attention, history = apply({"params": params}, inputs, key=jax.random.key(0))
    assert out.shape == (BATCH, 9, DIM)
    assert attention.shape == (BATCH, 9, TOKENS)
    assert history.slots.shape == (BATCH, 6, 9, DIM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_iterations": 0}, "num_iterations=0: .* at least 1"),
        ({"normalize": "slot"}, "normalize='slot': choose one of slots, inputs"),
        ({"update": "max"}, "update='max': choose one of mean, sum"),
        ({"gradient": "none"}, "gradient='none': choose one of"),
    ],
)
def test_impossible_options_are_named(params, inputs, slots, options, message):
    with pytest.raises(ValueError, match=message):
        slot_attention(params, inputs, slots, **options)


def first(kept: int) -> np.ndarray:
    """The mask of so many tokens."""
    return np.broadcast_to(np.arange(TOKENS) < kept, (BATCH, TOKENS))


def padded(inputs: np.ndarray, kept: int) -> np.ndarray:
    """Padding may hold anything."""
    return np.where(first(kept)[..., None], inputs, np.float32(np.nan))


@pytest.mark.parametrize("options", [{}, {"normalize": "inputs", "update": "scaled"}, {"centered": True}])
def test_masked_tokens_change_nothing(params, inputs, slots, options):
    """The same as without them, whatever they hold; and nobody attends to them."""
    kept = TOKENS - 7
    expected, attention = slot_attention(params, inputs[:, :kept], slots, **options)
    ours, over_all = found(params, padded(inputs, kept), slots, mask=first(kept), **options)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_allclose(over_all[..., :kept], attention, atol=1e-6)
    assert not over_all[..., kept:].any()


def test_masked_tokens_have_no_gradient(params, inputs, slots):
    kept = TOKENS - 7

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def gradient(params, inputs, mask):
        return (plain_slot_attention(params, inputs, slots, 2, mask=mask)[0] ** 2).sum()

    ours, of_inputs = jax.device_get(gradient(params, padded(inputs, kept), first(kept)))
    theirs, of_kept = jax.device_get(gradient(params, inputs[:, :kept], None))
    np.testing.assert_array_equal(of_inputs[:, kept:], 0)
    for a, b in zip(jax.tree.leaves((ours, of_inputs[:, :kept])), jax.tree.leaves((theirs, of_kept)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


def test_each_example_has_a_mask_of_its_own(module, params, inputs, slots):
    mask = np.ones((BATCH, TOKENS), bool)
    mask[1, ::2] = False
    apply = jax.jit(module.apply)
    whole = np.asarray(apply({"params": params}, inputs, slots, mask=mask)[0])
    alone, _ = apply({"params": params}, inputs[1:, 1::2], slots[1:])
    np.testing.assert_allclose(whole[1:], alone, atol=1e-5)
    np.testing.assert_allclose(whole[:1], apply({"params": params}, inputs[:1], slots[:1])[0], atol=1e-5)


@pytest.mark.parametrize("mask", [np.ones((BATCH, TOKENS)), np.ones(TOKENS, bool), np.ones((BATCH, TOKENS, 1), bool)])
def test_a_mask_of_another_kind_is_named(params, inputs, slots, mask):
    with pytest.raises(UserError, match=r"mask of shape .* expected booleans \(2, 40\), one a token"):
        plain_slot_attention(params, inputs, slots, mask=mask)
    with pytest.raises(UserError, match="mask with normalize=sinkhorn: tokens can be left out only with slots and inp"):
        plain_slot_attention(params, inputs, slots, normalize="sinkhorn", mask=mask)
