"""Dense layers: the product equals `@`, and so do its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slotjax.nn.cpu.dense import product
from slotjax.nn.layers import Dense


def arrays(*shapes, dtype=jnp.float32):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 7, 5)])
def test_product_and_its_gradients_equal_the_plain_ones(shape):
    inputs, kernel, gradient = arrays(shape, (5, 4), (*shape[:-1], 4))
    ours, our_flow = jax.vjp(product, inputs, kernel)
    plain, plain_flow = jax.vjp(jnp.matmul, inputs, kernel)
    np.testing.assert_allclose(ours, plain, rtol=1e-6)
    for one, other in zip(our_flow(gradient), plain_flow(gradient), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_narrow_dtype_stays():
    inputs, kernel, gradient = arrays((64, 8), (8, 4), (64, 4), dtype=jnp.bfloat16)
    out, flow = jax.vjp(product, inputs, kernel)
    assert [x.dtype for x in (out, *flow(gradient))] == [jnp.bfloat16] * 3


def test_the_layer_has_the_parameters_of_flax_and_computes_in_its_dtype():
    (inputs,) = arrays((2, 6, 5))
    layer = Dense(4, dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), inputs)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (5, 4), "bias": (4,)}
    out = layer.apply({"params": params}, inputs)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out, inputs @ params["kernel"] + params["bias"], rtol=0.05, atol=0.05)
