"""What refines a slot, against definitions: GRU, LayerNorm, MLP."""

import flax.linen as nn
import jax
import numpy as np

from slotjax.nn.refinement import gru, layer_norm, mlp

BATCH, SLOTS, DIM = 2, 5, 16


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_gru_equals_flax_with_the_biases_summed():
    kernel, recurrent = (normal(seed, DIM, 3 * DIM) / 4 for seed in (1, 2))
    bias, recurrent_bias = (normal(seed, 3 * DIM) for seed in (3, 4))
    x, state = (normal(seed, BATCH, SLOTS, DIM) for seed in (5, 6))
    (kz, kr, kh), (uz, ur, uh) = np.split(kernel, 3, -1), np.split(recurrent, 3, -1)
    (bz, br, bh), (cz, cr, ch) = np.split(bias, 3), np.split(recurrent_bias, 3)
    flax_params = {
        "iz": {"kernel": kz, "bias": bz + cz},
        "ir": {"kernel": kr, "bias": br + cr},
        "in": {"kernel": kh, "bias": bh},
        "hz": {"kernel": uz},
        "hr": {"kernel": ur},
        "hn": {"kernel": uh, "bias": ch},
    }
    expected, _ = jax.jit(nn.GRUCell(DIM).apply)({"params": flax_params}, state, x)
    ours = {"input_kernel": kernel, "input_bias": bias, "recurrent_kernel": recurrent, "recurrent_bias": recurrent_bias}
    np.testing.assert_allclose(jax.jit(gru)(ours, x, state), expected, atol=1e-5)


def test_layer_norm_has_mean_0_and_variance_1_before_scale_and_bias():
    scale, bias = np.arange(1, DIM + 1, dtype=np.float32), np.arange(DIM, dtype=np.float32) / 7
    found = jax.jit(layer_norm)({"scale": scale, "bias": bias}, 100 + 50 * normal(0, BATCH, SLOTS, DIM))
    found = (np.asarray(found) - bias) / scale
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-4)
    np.testing.assert_allclose(found.var(-1), 1, atol=1e-3)


def test_mlp_is_zero_where_no_hidden_unit_fires():
    params = {"kernel0": np.eye(3), "bias0": -np.ones(3), "kernel1": np.eye(3), "bias1": np.full(3, 0.5)}
    np.testing.assert_allclose(jax.jit(mlp)(params, np.array([0.5, 1.0, 3.0])), [0.5, 0.5, 2.5])
