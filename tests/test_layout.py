"""Parameters as one vector."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from slotjax.training.side_by_side import stack_states, state_of
from slotjax.training.state import create_state
from slotjax.training.vector import Layout


def parameters(seed: int = 0):
    rng = np.random.default_rng(seed)
    shapes = {"dense": {"bias": (3,), "kernel": (2, 3)}, "scale": ()}
    return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=is_shape)


def is_shape(x):
    return isinstance(x, tuple)


@pytest.fixture
def layout():
    return Layout(parameters())


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("numpy", [np, jnp])
def test_a_vector_is_the_leaves_one_after_another(layout, numpy):
    params = jax.tree.map(numpy.asarray, parameters())
    vector = layout.vector(params)
    assert isinstance(vector, np.ndarray) == (numpy is np) and vector.shape == (layout.size,) == (10,)
    np.testing.assert_array_equal(vector[:3], params["dense"]["bias"])
    np.testing.assert_array_equal(vector[3:9].reshape(2, 3), params["dense"]["kernel"])
    assert_equal(layout.params(vector), params)


def test_a_layout_needs_only_shapes():
    shapes = Layout(jax.eval_shape(lambda: jax.tree.map(jnp.asarray, parameters())))
    assert_equal(shapes.params(shapes.vector(parameters())), parameters())


@pytest.mark.parametrize("ema", [False, True])
def test_a_state_comes_back_as_it_was(layout, ema):
    state = jax.device_get(create_state(parameters(), optax.adam(1e-3), ema))
    packed = layout.pack(state)
    assert sorted(x.shape for x in jax.tree.leaves(packed)) == [()] * 2 + [(10,)] * (4 if ema else 3)
    assert_equal(layout.unpack(packed), state)


def test_states_of_several_seeds_come_back_as_they_were(layout):
    states = [jax.device_get(create_state(parameters(seed), optax.adam(1e-3), True)) for seed in (0, 1)]
    together = layout.unpack(stack_states([layout.pack(state) for state in states]))
    for place, state in enumerate(states):
        assert_equal(state_of(together, place, 2), state)


def test_a_loss_of_vectors_has_the_gradient_of_the_loss_of_parameters(layout):
    def loss(params, batch, keys):
        del keys
        return jnp.sum((batch @ params["dense"]["kernel"] + params["dense"]["bias"]) ** 2) * params["scale"]

    params, batch = parameters(), jnp.ones((4, 2))
    theirs = jax.grad(loss)(params, batch, None)
    ours = jax.grad(layout.of_vectors(loss))(jnp.asarray(layout.vector(params)), batch, None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), layout.params(ours), theirs)


def test_an_update_of_vectors_is_that_of_the_arrays(layout):
    """Clipping included, which sees the norm of everything."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2))
    params, gradients = parameters(0), parameters(1)
    theirs, _ = optimizer.update(gradients, optimizer.init(params))
    ours, _ = optimizer.update(layout.vector(gradients), layout.pack(jax.device_get(optimizer.init(params))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), layout.params(np.asarray(ours)), theirs)
