"""The fast transposed convolution against XLA's own, and against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slotjax.nn.convolution import ConvTranspose, conv_transpose, depth_to_space

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def reference(inputs, kernel, stride):
    return jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)


def draw(size, shape=(2, 5, 7, 3), features=4):
    rng = np.random.default_rng(size)
    inputs, kernel = rng.normal(size=shape), rng.normal(size=(size, size, shape[-1], features))
    return jnp.asarray(inputs, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_equals_laxs_in_value_and_gradient(size, stride):
    inputs, kernel = draw(size)

    def both(function):
        def loss(inputs, kernel):
            out = function(inputs, kernel, stride)
            return (out * jnp.cos(jnp.arange(out.size)).reshape(out.shape)).sum(), out

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(inputs, kernel)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), both(conv_transpose), both(reference))


@pytest.mark.parametrize(("size", "stride"), [(5, 1), (5, 2), (3, 1)])
def test_is_the_transpose_of_a_convolution(size, stride):
    """TensorFlow's definition: the gradient of a SAME convolution with the kernel [h, w, out, in]."""
    inputs, kernel = draw(size)
    keras_kernel = kernel[::-1, ::-1].transpose(0, 1, 3, 2)

    def convolution(x):
        return jax.lax.conv_general_dilated(x, keras_kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)

    batch, height, width, _ = inputs.shape
    picture = jnp.zeros((batch, height * stride, width * stride, kernel.shape[-1]))
    (expected,) = jax.vjp(convolution, picture)[1](inputs)
    np.testing.assert_allclose(conv_transpose(inputs, kernel, stride), expected, atol=1e-4)


def test_depth_to_space_places_blocks_row_by_row():
    out = depth_to_space(jnp.arange(16).reshape(1, 1, 2, 8), 2)
    np.testing.assert_array_equal(out[0, :, :, 0], [[0, 2, 8, 10], [4, 6, 12, 14]])
    np.testing.assert_array_equal(out[0, :, :, 1], out[0, :, :, 0] + 1)


def test_the_layer_adds_its_bias_and_computes_in_its_dtype():
    inputs, kernel = draw(5)
    params = {"kernel": kernel, "bias": jnp.arange(4.0)}
    out = ConvTranspose(4, 5, 2).apply({"params": params}, inputs)
    np.testing.assert_allclose(out, reference(inputs, kernel, 2) + jnp.arange(4), atol=1e-4)
    rough = ConvTranspose(4, 5, 2, jnp.bfloat16).apply({"params": params}, inputs)
    assert rough.dtype == jnp.bfloat16
    np.testing.assert_allclose(rough.astype(jnp.float32), out, atol=0.02 * jnp.abs(out).max())
