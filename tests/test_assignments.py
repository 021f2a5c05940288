"""Who gets which tokens, and what is taken of them: assignments and updates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment

from slotjax.nn.assignments import ASSIGNMENTS
from slotjax.nn.updates import UPDATES, scalar_moments, standardise

ASSIGN = {name: jax.jit(assign) for name, assign in ASSIGNMENTS.items()}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_assignments_do_not_depend_on_the_order_of_tokens(name):
    logits, order = normal(0, 2, 3, 12), np.random.default_rng(1).permutation(12)
    shuffled, straight = (np.asarray(ASSIGN[name](x)) for x in (logits[..., order], logits))
    # The noise of mesh is each token's own, and small.
    np.testing.assert_allclose(shuffled, straight[..., order], atol=0.02 if name == "mesh" else 1e-6)


@pytest.mark.parametrize("name", ["sinkhorn", "mesh"])
def test_transport_gives_every_token_away_and_slots_equal_sizes(name):
    attention = np.asarray(ASSIGN[name](0.5 * normal(0, 2, 3, 12)))
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(attention.sum(2), 4, atol=0.3 if name == "mesh" else 1e-2)


def test_mesh_comes_close_to_the_cheapest_matching():
    scores = normal(0, 50, 5, 5)
    plans = {name: np.asarray(ASSIGN[name](scores)) for name in ("sinkhorn", "mesh")}
    best = np.array([score[linear_sum_assignment(score, maximize=True)].sum() for score in scores])
    reached = {name: (plan * scores).sum((1, 2)) / best for name, plan in plans.items()}
    assert np.mean(reached["mesh"]) > np.mean(reached["sinkhorn"]) + 0.1
    entropy = {name: -(plan * np.log(plan + 1e-20)).sum((1, 2)) for name, plan in plans.items()}
    assert (entropy["mesh"] < entropy["sinkhorn"]).all()


def test_mesh_parts_slots_that_are_alike():
    alike = np.zeros((1, 2, 2), np.float32)
    np.testing.assert_allclose(ASSIGN["sinkhorn"](alike), 0.5, atol=1e-6)
    parted, slope = jax.jit(jax.value_and_grad(lambda x: ASSIGNMENTS["mesh"](x)[0, 0, 0]))(alike)
    assert abs(parted - 0.5) > 0.2
    assert np.isfinite(slope).all()


def test_updates_are_as_defined():
    random = np.random.default_rng(0)
    attention, values = (x.astype(np.float32) for x in (random.uniform(size=(1, 3, 6)), random.normal(size=(1, 6, 4))))
    summed = attention @ values
    expected = {
        "mean": summed / attention.sum(-1, keepdims=True),
        "sum": summed,
        "scaled": summed / 6,
        "layer_norm": (summed - summed.mean(-1, keepdims=True)) / np.sqrt(summed.var(-1, keepdims=True) + 1e-3),
        "scalar_norm": (summed / 6 - 0.5) / np.exp(0.25),
    }
    own = {"scalar_norm": {"mean": 0.5, "log_deviation": 0.25}}
    for name, update in UPDATES.items():
        take = partial(update, own=own.get(name))
        found = jax.jit(lambda attention, take=take: take(attention, lambda x: x @ values))(attention)
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-6)


def test_stored_moments_follow_those_of_the_sums_and_have_no_other_gradient():
    sums = jnp.asarray(np.random.default_rng(0).normal(3, 5, (4, 3, 16)), jnp.float32)
    optimizer, moments = optax.adam(0.05), scalar_moments()
    state = optimizer.init(moments)

    @jax.jit
    def step(moments, state, factor):
        gradient = jax.grad(lambda own: (factor * standardise(sums, **own)).sum())(moments)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(moments, updates), state, gradient

    first = [step(moments, state, factor)[2] for factor in (1.0, -7.0)]
    assert first[0] == first[1] and first[0]["log_deviation"] < 0
    for _ in range(400):
        moments, state, _ = step(moments, state, 1.0)
    np.testing.assert_allclose(moments["mean"], sums.mean(), rtol=0.02)
    np.testing.assert_allclose(jnp.exp(moments["log_deviation"]), sums.std(), rtol=0.02)


def test_stored_moments_have_the_same_gradient_however_pictures_are_shared_out():
    sums = jnp.asarray(np.random.default_rng(0).normal(1, 2, (4, 3, 8)), jnp.float32)
    own = {"mean": jnp.float32(0.3), "log_deviation": jnp.float32(0.1)}
    pulled = jax.jit(jax.grad(lambda own, x: standardise(x, **own).mean()))
    whole, parts = pulled(own, sums), [pulled(own, part) for part in jnp.split(sums, 2)]
    for name in own:
        np.testing.assert_allclose(whole[name], np.mean([part[name] for part in parts]), rtol=1e-5)


def test_sums_pass_gradients_on_as_if_moments_were_constants():
    sums = jnp.asarray(np.random.default_rng(0).normal(1, 2, (2, 3, 4)), jnp.float32)
    found = jax.grad(lambda x: (standardise(x, 0.3, 0.7) ** 2).sum())(sums)
    np.testing.assert_allclose(found, 2 * (sums - 0.3) * np.exp(-1.4), rtol=1e-5)
