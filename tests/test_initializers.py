"""The start of slots: draws of an example's own key, and starts that are learned."""

import jax
import numpy as np
import pytest

from slotjax.nn.initializers import GaussianSlots, LearnedSlots, keys_of_examples

BATCH, DIM = 2, 16
draw_gaussian = jax.jit(GaussianSlots(DIM).apply, static_argnums=2)


def test_gaussian_slots_follow_their_mean_and_deviation():
    params = {"mu": np.full((1, 1, DIM), 3.0), "log_sigma": np.full((1, 1, DIM), np.log(0.5))}
    slots = np.asarray(draw_gaussian({"params": params}, jax.random.split(jax.random.key(0), 50), 40))
    assert abs(slots.mean() - 3) < 0.02
    assert abs(slots.std() - 0.5) < 0.02


def test_a_draw_depends_on_the_examples_key_alone():
    params = {"mu": np.zeros((1, 1, DIM)), "log_sigma": np.zeros((1, 1, DIM))}
    keys = keys_of_examples(jax.random.key(0), 6)
    draw = np.asarray(draw_gaussian({"params": params}, keys, 4))
    np.testing.assert_array_equal(draw_gaussian({"params": params}, keys[4:], 4), draw[4:])
    assert len(np.unique(draw[:, 0, 0])) == 6
    with pytest.raises(ValueError, match="holds 3 keys for 6 images"):
        keys_of_examples(keys[:3], 6)


@pytest.mark.parametrize("noise", [False, True])
def test_learned_slots_each_have_a_start(noise):
    initializer = LearnedSlots(DIM, num_slots=4, noise=noise)
    keys = keys_of_examples(jax.random.key(0), BATCH)
    params = jax.device_get(jax.jit(initializer.init, static_argnums=2)(jax.random.key(1), keys, 4)["params"])
    fewer = np.asarray(jax.jit(initializer.apply, static_argnums=2)({"params": params}, keys, 3))
    assert fewer.shape == (BATCH, 3, DIM)
    np.testing.assert_allclose(fewer, np.broadcast_to(params["mu"][:, :3], fewer.shape), atol=1.0 if noise else 0)
    assert bool((fewer[0] != fewer[1]).any()) is noise
    with pytest.raises(ValueError, match="num_slots=5.*at most 4"):
        initializer.apply({"params": params}, keys, 5)
