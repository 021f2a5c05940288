"""How a slot is refined by what it has gathered: a GRU, then a residual MLP behind a LayerNorm.

Pure functions, and the parameters that modules of attention own for them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-3  # Keras' default, which the published weights were trained with
TORCH_EPSILON = 1e-5  # PyTorch's default
FLAX_EPSILON = 1e-6  # Flax's default, which video's and invariant attention's originals were trained with

GLOROT = nn.initializers.glorot_uniform()

Params = Mapping[str, Any]


def layer_norm(params: Params, inputs: jax.Array, epsilon: float | jax.Array = NORM_EPSILON) -> jax.Array:
    """Normalises the last axis to mean 0, (biased) variance 1, in float32; the result has the inputs' dtype."""
    x = inputs.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon)
    return (x * params["scale"] + params["bias"]).astype(inputs.dtype)


def gru(params: Params, inputs: jax.Array, state: jax.Array) -> jax.Array:
    """A gated recurrent unit (Cho et al., 2014); reset acts after the recurrent product, as in cuDNN and Keras.

    Args:
      params: kernels [d_in, 3d] and [d, 3d] and biases [3d] for `input` and `recurrent`; blocks update (z), reset (r),
        candidate (h). A recurrent bias [d] is of the candidate alone, as in Flax.
      inputs, state: [..., d_in] and [..., d].

    Returns:
      The new state, [..., d].
    """
    from_input = inputs @ params["input_kernel"] + params["input_bias"]
    bias = params["recurrent_bias"]
    from_state = state @ params["recurrent_kernel"] + jnp.pad(bias, (3 * state.shape[-1] - bias.shape[0], 0))
    (input_z, input_r, input_h), (state_z, state_r, state_h) = (jnp.split(x, 3, -1) for x in (from_input, from_state))
    update, reset = jax.nn.sigmoid(input_z + state_z), jax.nn.sigmoid(input_r + state_r)
    return update * state + (1 - update) * jnp.tanh(input_h + reset * state_h)


def mlp(params: Params, inputs: jax.Array) -> jax.Array:
    """Two dense layers with a ReLU between them, [..., d] -> [..., d]."""
    hidden = jax.nn.relu(inputs @ params["kernel0"] + params["bias0"])
    return hidden @ params["kernel1"] + params["bias1"]


def refine(
    params: Params, updates: jax.Array, slots: jax.Array, epsilon: float | jax.Array = NORM_EPSILON
) -> jax.Array:
    """Slots [..., d] after what they have gathered [..., d_in]; the MLP only where the parameters have one."""
    slots = gru(params["gru"], updates, slots)
    if "mlp" not in params:
        return slots
    return slots + mlp(params["mlp"], layer_norm(params["norm_mlp"], slots, epsilon))


def norm_params(key: jax.Array, dim: int) -> dict[str, jax.Array]:
    """The parameters of `layer_norm`."""
    del key
    return {"scale": jnp.ones(dim, jnp.float32), "bias": jnp.zeros(dim, jnp.float32)}


def gru_params(key: jax.Array, dim: int) -> dict[str, jax.Array]:
    """The parameters of `gru`, by Keras' defaults."""
    keys = jax.random.split(key)
    return {
        "input_kernel": GLOROT(keys[0], (dim, 3 * dim), jnp.float32),
        "input_bias": jnp.zeros(3 * dim, jnp.float32),
        "recurrent_kernel": nn.initializers.orthogonal()(keys[1], (dim, 3 * dim), jnp.float32),
        "recurrent_bias": jnp.zeros(3 * dim, jnp.float32),
    }


def mlp_params(
    key: jax.Array, dim: int, hidden: int, kernel: nn.initializers.Initializer = GLOROT
) -> dict[str, jax.Array]:
    """The parameters of `mlp`, by Keras' defaults, or with the library's own initial kernels."""
    keys = jax.random.split(key)
    return {
        "kernel0": kernel(keys[0], (dim, hidden), jnp.float32),
        "bias0": jnp.zeros(hidden, jnp.float32),
        "kernel1": kernel(keys[1], (hidden, dim), jnp.float32),
        "bias1": jnp.zeros(dim, jnp.float32),
    }
