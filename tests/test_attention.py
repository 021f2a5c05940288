"""What Slot Attention must do, whatever its weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from slotjax import SlotAttention
from slotjax import slot_attention as plain_slot_attention
from slotjax.errors import UserError
from slotjax.nn.assignments import ASSIGNMENTS
from slotjax.nn.attention import attend
from slotjax.nn.initializers import GaussianSlots, LearnedSlots, keys_of_examples
from slotjax.nn.refinement import gru, layer_norm, mlp
from slotjax.nn.updates import EPSILON, UPDATES

OPTIONS = ("num_iterations", "normalize", "update", "centered", "gradient", "return_history")
slot_attention = jax.jit(plain_slot_attention, static_argnames=OPTIONS)
BATCH, TOKENS, FEATURES, SLOTS, DIM = 2, 40, 12, 5, 16


def normal(seed: int, *shape: int) -> jax.Array:
    """Drawn by NumPy, whose draws need no compilation."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def inputs():
    return 2 * normal(1, BATCH, TOKENS, FEATURES) + 0.5


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
    params = jax.jit(module.init, compiler_options={"xla_backend_optimization_level": 0})(keys, inputs)["params"]
    return jax.tree.map(lambda x: x + 0.1 * normal(x.size, *x.shape), params)


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
    features = layer_norm(params["norm_inputs"], inputs)
    updates, attention = attend(params, features, slots, "slots", "mean")
    query = layer_norm(params["norm_slots"], slots) @ params["project_q"] / np.sqrt(DIM)
    expected = jax.nn.softmax(jnp.einsum("bkd,bnd->bkn", query, features @ params["project_k"]), axis=1)
    weights = (expected + EPSILON) / (expected + EPSILON).sum(-1, keepdims=True)
    np.testing.assert_allclose(attention, expected, atol=1e-6)
    np.testing.assert_allclose(updates, weights @ (features @ params["project_v"]), atol=2e-6)


def test_centered_matches_count_from_their_mean_over_the_inputs(params, inputs, slots):
    """What all inputs have in common, a key that adds the same to all matches of a slot, then decides nothing."""
    features = layer_norm(params["norm_inputs"], inputs)
    shifted = features + jnp.linspace(-2.0, 2.0, features.shape[-1])
    (_, plain), (_, plain_shifted) = (attend(params, x, slots, "slots", "mean") for x in (features, shifted))
    (_, ours), (_, ours_shifted) = (attend(params, x, slots, "slots", "mean", True) for x in (features, shifted))
    assert jnp.abs(plain_shifted - plain).max() > 0.05
    np.testing.assert_allclose(ours_shifted, ours, atol=1e-5)
    log_odds = jnp.log(plain) - jnp.log(ours)  # of every slot against the others: moved alike for all inputs
    log_odds = log_odds - log_odds.mean(1, keepdims=True)
    np.testing.assert_allclose(log_odds, jnp.broadcast_to(log_odds[..., :1], log_odds.shape), atol=1e-5)


def test_permuted_slots_come_out_permuted(params, inputs, slots):
    order = jnp.array([3, 0, 4, 1, 2])
    out, attention = slot_attention(params, inputs, slots)
    permuted, permuted_attention = slot_attention(params, inputs, slots[:, order])
    np.testing.assert_allclose(permuted, out[:, order], atol=1e-5)
    np.testing.assert_allclose(permuted_attention, attention[:, order], atol=1e-5)
    assert jnp.abs(out[:, order] - out).max() > 0.1


def test_permuted_inputs_change_nothing(params, inputs, slots):
    order = np.random.default_rng(4).permutation(TOKENS)
    out, attention = slot_attention(params, inputs, slots)
    permuted, permuted_attention = slot_attention(params, inputs[:, order], slots)
    np.testing.assert_allclose(permuted, out, atol=1e-5)
    np.testing.assert_allclose(permuted_attention, attention[:, :, order], atol=1e-5)


@pytest.mark.parametrize(("normalize", "axis"), [("slots", 1), ("inputs", 2)])
def test_attention_sums_to_one_over_the_axis_of_the_softmax(params, inputs, slots, normalize, axis):
    _, attention = slot_attention(params, inputs, slots, normalize=normalize)
    assert attention.shape == (BATCH, SLOTS, TOKENS)
    np.testing.assert_allclose(attention.sum(axis), 1, atol=1e-5)
    assert jnp.abs(attention.sum(3 - axis) - 1).max() > 1e-3


def test_a_sum_doubles_with_the_inputs_and_a_mean_does_not(params, inputs, slots):
    twice = jnp.concatenate([inputs, inputs], 1)

    def gathered(inputs, update):
        return attend(params, layer_norm(params["norm_inputs"], inputs), slots, "slots", update)[0]

    np.testing.assert_allclose(gathered(twice, "mean"), gathered(inputs, "mean"), atol=1e-5)
    np.testing.assert_allclose(gathered(twice, "sum"), 2 * gathered(inputs, "sum"), atol=1e-4)


@pytest.mark.parametrize("gradient", ["all", "last", "straight_through"])
def test_history_holds_every_iteration(params, inputs, slots, gradient):
    out, attention, history = slot_attention(params, inputs, slots, 4, gradient=gradient, return_history=True)
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
    assert jnp.abs(whole["project_v"] - last["project_v"]).max() > 1e-3


def test_implicit_gradients_are_those_of_unrolling_to_the_fixed_point(params, inputs, slots):
    # So that there is one, and soon.
    calm = params | {"project_q": 0.3 * params["project_q"]}
    calm |= {name: jax.tree.map(lambda x: 0.4 * x, params[name]) for name in ("mlp", "gru")}

    def loss(params, inputs, gradient):
        found, attention = slot_attention(params, inputs, slots, num_iterations=100, gradient=gradient)
        return (found * slots).sum() + 100 * (attention**2).sum()

    slope = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    unrolled, implicit = slope(calm, inputs, "all"), slope(calm, inputs, "implicit")
    for theirs, ours in zip(jax.tree.leaves(unrolled), jax.tree.leaves(implicit), strict=True):
        assert jnp.abs(ours - theirs).max() <= 2e-3 * jnp.abs(theirs).max() + 1e-4  # where there is none in theory


def test_gru_equals_flax_with_the_biases_summed():
    import flax.linen as nn

    kernel, recurrent = (normal(seed, DIM, 3 * DIM) / 4 for seed in (1, 2))
    bias, recurrent_bias = (normal(seed, 3 * DIM) for seed in (3, 4))
    x, state = (normal(seed, BATCH, SLOTS, DIM) for seed in (5, 6))
    (kz, kr, kh), (uz, ur, uh) = jnp.split(kernel, 3, -1), jnp.split(recurrent, 3, -1)
    (bz, br, bh), (cz, cr, ch) = jnp.split(bias, 3), jnp.split(recurrent_bias, 3)
    flax_params = {
        "iz": {"kernel": kz, "bias": bz + cz},
        "ir": {"kernel": kr, "bias": br + cr},
        "in": {"kernel": kh, "bias": bh},
        "hz": {"kernel": uz},
        "hr": {"kernel": ur},
        "hn": {"kernel": uh, "bias": ch},
    }
    expected, _ = nn.GRUCell(DIM).apply({"params": flax_params}, state, x)
    ours = {"input_kernel": kernel, "input_bias": bias, "recurrent_kernel": recurrent, "recurrent_bias": recurrent_bias}
    np.testing.assert_allclose(gru(ours, x, state), expected, atol=1e-5)


def test_layer_norm_has_mean_0_and_variance_1_before_scale_and_bias(inputs):
    scale, bias = jnp.arange(1.0, FEATURES + 1), jnp.arange(FEATURES) / 7
    normal = (layer_norm({"scale": scale, "bias": bias}, 100 + 50 * inputs) - bias) / scale
    np.testing.assert_allclose(normal.mean(-1), 0, atol=1e-4)
    np.testing.assert_allclose(normal.var(-1), 1, atol=1e-3)


def test_mlp_is_zero_where_no_hidden_unit_fires():
    params = {"kernel0": jnp.eye(3), "bias0": -jnp.ones(3), "kernel1": jnp.eye(3), "bias1": jnp.full(3, 0.5)}
    np.testing.assert_allclose(mlp(params, jnp.array([0.5, 1.0, 3.0])), [0.5, 0.5, 2.5])


def test_bfloat16_inputs_stay_close(params, inputs, slots):
    exact, exact_attention = slot_attention(params, inputs, slots)
    rough, attention = slot_attention(params, inputs.astype(jnp.bfloat16), slots)
    assert rough.dtype == attention.dtype == jnp.float32
    np.testing.assert_allclose(attention, exact_attention, atol=0.03)
    np.testing.assert_allclose(rough, exact, atol=0.1)
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)


def test_the_module_is_the_function_with_a_draw(module, params, inputs, slots):
    given = module.apply({"params": params}, inputs, slots)
    np.testing.assert_allclose(given[0], slot_attention(params, inputs, slots)[0], atol=1e-5)

    stream, again, other = (
        module.apply({"params": params}, inputs, rngs={"slots": jax.random.key(i)}) for i in (7, 7, 8)
    )
    np.testing.assert_array_equal(stream[0], again[0])
    assert jnp.abs(stream[0] - other[0]).max() > 1e-3

    key = jax.random.key(9)
    drawn = GaussianSlots(DIM).apply({"params": params["initializer"]}, keys_of_examples(key, BATCH), SLOTS)
    by_key, _ = module.apply({"params": params}, inputs, key=key)
    np.testing.assert_allclose(by_key, slot_attention(params, inputs, drawn)[0], atol=1e-5)


def test_other_numbers_of_slots_and_iterations(module, params, inputs):
    out, attention, history = module.apply(
        {"params": params}, inputs, key=jax.random.key(0), num_slots=9, num_iterations=6, return_history=True
    )
    assert out.shape == (BATCH, 9, DIM)
    assert attention.shape == (BATCH, 9, TOKENS)
    assert history.slots.shape == (BATCH, 6, 9, DIM)


def test_gaussian_slots_follow_their_mean_and_deviation():
    params = {"mu": jnp.full((1, 1, DIM), 3.0), "log_sigma": jnp.full((1, 1, DIM), np.log(0.5))}
    slots = GaussianSlots(DIM).apply({"params": params}, jax.random.split(jax.random.key(0), 50), 40)
    assert abs(slots.mean() - 3) < 0.02
    assert abs(slots.std() - 0.5) < 0.02


def test_a_draw_depends_on_the_examples_key_alone():
    params = {"mu": jnp.zeros((1, 1, DIM)), "log_sigma": jnp.zeros((1, 1, DIM))}
    keys = keys_of_examples(jax.random.key(0), 6)
    draw = GaussianSlots(DIM).apply({"params": params}, keys, 4)
    np.testing.assert_array_equal(GaussianSlots(DIM).apply({"params": params}, keys[4:], 4), draw[4:])
    assert len(np.unique(np.asarray(draw[:, 0, 0]))) == 6
    with pytest.raises(ValueError, match="holds 3 keys for 6 images"):
        keys_of_examples(keys[:3], 6)


@pytest.mark.parametrize("noise", [False, True])
def test_learned_slots_each_have_a_start(noise):
    initializer = LearnedSlots(DIM, num_slots=4, noise=noise)
    keys = keys_of_examples(jax.random.key(0), BATCH)
    params = initializer.init(jax.random.key(1), keys, 4)["params"]
    fewer = initializer.apply({"params": params}, keys, 3)
    assert fewer.shape == (BATCH, 3, DIM)
    np.testing.assert_allclose(fewer, jnp.broadcast_to(params["mu"][:, :3], fewer.shape), atol=1.0 if noise else 0)
    assert bool((fewer[0] != fewer[1]).any()) is noise
    with pytest.raises(ValueError, match="num_slots=5.*at most 4"):
        initializer.apply({"params": params}, keys, 5)


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


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_assignments_do_not_depend_on_the_order_of_tokens(name):
    logits = jax.random.normal(jax.random.key(0), (2, 3, 12))
    order = jax.random.permutation(jax.random.key(1), 12)
    shuffled, straight = (jax.jit(ASSIGNMENTS[name])(x) for x in (logits[..., order], logits))
    # The noise of mesh is each token's own, and small.
    np.testing.assert_allclose(shuffled, straight[..., order], atol=0.02 if name == "mesh" else 1e-6)


@pytest.mark.parametrize("name", ["sinkhorn", "mesh"])
def test_transport_gives_every_token_away_and_slots_equal_sizes(name):
    attention = jax.jit(ASSIGNMENTS[name])(0.5 * jax.random.normal(jax.random.key(0), (2, 3, 12)))
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(attention.sum(2), 4, atol=0.3 if name == "mesh" else 1e-2)


def test_mesh_comes_close_to_the_cheapest_matching():
    scores = np.random.default_rng(0).normal(size=(50, 5, 5)).astype(np.float32)
    plans = {name: np.asarray(jax.jit(ASSIGNMENTS[name])(scores)) for name in ("sinkhorn", "mesh")}
    best = np.array([score[linear_sum_assignment(score, maximize=True)].sum() for score in scores])
    reached = {name: (plan * scores).sum((1, 2)) / best for name, plan in plans.items()}
    assert np.mean(reached["mesh"]) > np.mean(reached["sinkhorn"]) + 0.1
    entropy = {name: -(plan * np.log(plan + 1e-20)).sum((1, 2)) for name, plan in plans.items()}
    assert (entropy["mesh"] < entropy["sinkhorn"]).all()


def test_mesh_parts_slots_that_are_alike():
    alike = jnp.zeros((1, 2, 2))
    np.testing.assert_allclose(jax.jit(ASSIGNMENTS["sinkhorn"])(alike), 0.5, atol=1e-6)
    parted, slope = jax.jit(jax.value_and_grad(lambda x: ASSIGNMENTS["mesh"](x)[0, 0, 0]))(alike)
    assert abs(parted - 0.5) > 0.2
    assert np.isfinite(slope).all()


def test_updates_are_as_defined():
    random = np.random.default_rng(0)
    attention, values = random.uniform(size=(1, 3, 6)), random.normal(size=(1, 6, 4))
    summed = attention @ values
    expected = {
        "mean": summed / attention.sum(-1, keepdims=True),
        "sum": summed,
        "scaled": summed / 6,
        "layer_norm": (summed - summed.mean(-1, keepdims=True)) / np.sqrt(summed.var(-1, keepdims=True) + 1e-3),
    }
    for name, update in UPDATES.items():
        np.testing.assert_allclose(update(jnp.asarray(attention), lambda x: x @ values), expected[name], rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"normalize": "inputs", "update": "scaled"}, {"centered": True}])
def test_masked_tokens_change_nothing(params, inputs, slots, options):
    """The same as without them, whatever they hold; and nobody attends to them."""
    kept = TOKENS - 7
    padded = inputs.at[:, kept:].set(jnp.nan)
    mask = jnp.broadcast_to(jnp.arange(TOKENS) < kept, (BATCH, TOKENS))
    expected, attention = slot_attention(params, inputs[:, :kept], slots, **options)
    found, over_all = slot_attention(params, padded, slots, mask=mask, **options)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(over_all[..., :kept], attention, atol=1e-6)
    assert not np.asarray(over_all[..., kept:]).any()


def test_masked_tokens_have_no_gradient(params, inputs, slots):
    kept = TOKENS - 7
    mask = jnp.broadcast_to(jnp.arange(TOKENS) < kept, (BATCH, TOKENS))

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def gradient(params, inputs, mask):
        return (plain_slot_attention(params, inputs, slots, 2, mask=mask)[0] ** 2).sum()

    ours, of_inputs = gradient(params, inputs.at[:, kept:].set(jnp.nan), mask)
    theirs, of_kept = gradient(params, inputs[:, :kept], None)
    np.testing.assert_array_equal(of_inputs[:, kept:], 0)
    for a, b in zip(jax.tree.leaves((ours, of_inputs[:, :kept])), jax.tree.leaves((theirs, of_kept)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


def test_each_example_has_a_mask_of_its_own(module, params, inputs, slots):
    mask = np.ones((BATCH, TOKENS), bool)
    mask[1, ::2] = False
    whole, _ = module.apply({"params": params}, inputs, slots, mask=mask)
    alone, _ = module.apply({"params": params}, inputs[1:, 1::2], slots[1:])
    np.testing.assert_allclose(whole[1:], alone, atol=1e-5)
    np.testing.assert_allclose(whole[:1], module.apply({"params": params}, inputs[:1], slots[:1])[0], atol=1e-5)


@pytest.mark.parametrize("mask", [np.ones((BATCH, TOKENS)), np.ones(TOKENS, bool), np.ones((BATCH, TOKENS, 1), bool)])
def test_a_mask_of_another_kind_is_named(params, inputs, slots, mask):
    with pytest.raises(UserError, match=r"mask of shape .* expected booleans \(2, 40\), one a token"):
        plain_slot_attention(params, inputs, slots, mask=mask)
    with pytest.raises(UserError, match="mask with normalize=sinkhorn: tokens can be left out only with slots and inp"):
        plain_slot_attention(params, inputs, slots, normalize="sinkhorn", mask=mask)
