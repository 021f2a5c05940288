"""The textbook model of the benchmarks is slotjax's: equal parameters give equal outputs and gradients."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import module
from helpers import config_of

import slotjax
from slotjax.losses.reconstruction import mse


@pytest.mark.slow
@pytest.mark.usefixtures("as_commands_do")
def test_equal_parameters_give_equal_outputs_and_gradients():
    textbook = module("textbook")
    config = config_of("clevr").model
    config.update(resolution=(16, 16), num_slots=3, slot_dim=8, mlp_dim=12)
    config.encoder.update(channels=(8,) * 4, mlp_dim=8)
    config.decoder.update(channels=(8,) * 5)
    ours = slotjax.build_model(config)
    theirs = textbook.AutoEncoder(num_slots=3, dim=8, hidden=12)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    params = slotjax.init(ours, jax.random.key(0), images)
    params = jax.tree.map(lambda x: x + jnp.asarray(0.1 * rng.normal(size=x.shape), x.dtype), params)  # biases too

    def our_loss(params):
        start = params["attention"]["initializer"]
        out = slotjax.apply(ours, params, images, initial_slots=start["mu"] + jnp.exp(start["log_sigma"]) * noise)
        return mse(out).mean(), out.reconstruction

    def their_loss(params):
        params = textbook.from_slotjax(params)
        return textbook.loss(theirs, params, images, noise), theirs.apply({"params": params}, images, noise)

    (_, a), ours = jax.jit(jax.value_and_grad(our_loss, has_aux=True))(params)
    (_, b), theirs = jax.jit(jax.value_and_grad(their_loss, has_aux=True))(params)
    assert golden.relative_error(a, b) < 1e-5
    assert jnp.abs(theirs["attention"]["norm_slots"].pop("bias")).max() < 1e-6  # in theory zero: only noise is left
    ours["attention"]["norm_slots"].pop("bias")
    errors = jax.tree.map(golden.relative_error, ours, theirs)
    assert max(jax.tree.leaves(errors)) < 1e-4, errors
