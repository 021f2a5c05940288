"""The fast convolutions, transposed convolutions and their gradients against XLA's own, and against definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slotjax.nn import cpu
from slotjax.nn.cpu import convolution, winograd
from slotjax.nn.cpu.convolution import conv_transpose, convolve
from slotjax.nn.cpu.convolution import plain_conv_transpose as reference
from slotjax.nn.cpu.convolution import plain_convolve as plain
from slotjax.nn.layers import Conv, ConvTranspose

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def draw(size, shape=(2, 5, 7, 3), features=4):
    rng = np.random.default_rng(size)
    inputs, kernel = rng.normal(size=shape), rng.normal(size=(size, size, shape[-1], features))
    return inputs.astype(np.float32), kernel.astype(np.float32)


def both(function, inputs, kernel, stride):
    """Gradients of inputs and kernel, and the value."""

    def loss(inputs, kernel):
        out = function(inputs, kernel, stride).astype(jnp.float32)
        return (out * jnp.cos(jnp.arange(out.size)).reshape(out.shape)).sum(), out

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(inputs, kernel)


def assert_close(ours, theirs, tolerance=1e-5):
    def check(a, b):
        assert a.dtype == b.dtype
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())

    jax.tree.map(check, ours, theirs)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_transposed_equals_laxs_in_value_and_gradient(size, stride):
    inputs, kernel = draw(size)
    theirs = both(reference, inputs, kernel, stride)
    assert_close(both(conv_transpose, inputs, kernel, stride), theirs)


@pytest.mark.parametrize(("size", "stride"), [*itertools.product((1, 2, 3, 5), (1, 2, 3)), (8, 4)])
@pytest.mark.parametrize("channels", [3, 6])
def test_convolution_equals_laxs_in_value_and_gradient(channels, size, stride):
    inputs, kernel = draw(size, shape=(2, 9, 8, channels))
    assert_close(both(convolve, inputs, kernel, stride), both(plain, inputs, kernel, stride))


@pytest.mark.parametrize(("ours", "theirs"), [(convolve, plain), (conv_transpose, reference)])
@pytest.mark.parametrize("chunk", [winograd.CHUNK, 1], ids=["at once", "one by one"])
def test_tiles_equal_laxs_in_value_and_gradient(monkeypatch, ours, theirs, chunk):
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    inputs, kernel = draw(5, shape=(2, 16, 19, 16), features=17)
    assert winograd.applies(inputs, kernel, 1)
    assert_close(both(ours, inputs, kernel, 1), both(theirs, inputs, kernel, 1), 3e-5)


@pytest.mark.parametrize(("ours", "theirs"), [(convolve, plain), (conv_transpose, reference)])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_do_not_depend_on_the_chunks(monkeypatch, ours, theirs, stride):
    monkeypatch.setattr(convolution, "CHUNK", 2 * 6 * 4 * 5 * 7)  # of 6 images, a few at a time
    inputs, kernel = draw(5, shape=(6, 6, 4, 3))
    assert_close(both(ours, inputs, kernel, stride), both(theirs, inputs, kernel, stride))


@pytest.mark.parametrize(("ours", "theirs"), [(convolve, plain), (conv_transpose, reference)])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_gradients_are_as_close_as_it_is(ours, theirs, stride):
    inputs, kernel = draw(5)
    rough = both(ours, inputs.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), stride)
    exact = both(theirs, inputs, kernel, stride)
    assert {x.dtype for x in rough[0]} == {jnp.dtype(jnp.bfloat16)}
    assert_close(jax.tree.map(lambda x: x.astype(jnp.float32), rough), exact, 0.02)


@pytest.mark.parametrize(("ours", "theirs"), [(convolve, plain), (conv_transpose, reference)])
def test_vmap_and_gradients_of_gradients(ours, theirs):
    inputs, kernel = draw(3, shape=(2, 4, 4, 2), features=2)

    def penalty(function):
        def norm(inputs, kernel):
            return (jax.grad(lambda k: (function(inputs[None], k, 2) ** 2).sum())(kernel) ** 2).sum()

        return jax.jit(jax.vmap(jax.grad(norm, (0, 1)), (0, None)))(inputs, kernel)

    assert_close(penalty(ours), penalty(theirs))


@pytest.mark.parametrize(("size", "stride"), [(5, 1), (5, 2), (3, 1)])
def test_is_the_transpose_of_a_convolution(size, stride):
    """TensorFlow's definition: the gradient of a SAME convolution with the kernel [h, w, out, in]."""
    inputs, kernel = draw(size)
    keras_kernel = kernel[::-1, ::-1].transpose(0, 1, 3, 2)

    def convolution(x):
        return jax.lax.conv_general_dilated(x, keras_kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)

    batch, height, width, _ = inputs.shape
    picture = jax.ShapeDtypeStruct((batch, height * stride, width * stride, kernel.shape[-1]), jnp.float32)
    (expected,) = jax.jit(jax.linear_transpose(convolution, picture))(inputs)
    found = jax.jit(conv_transpose, static_argnums=2)(inputs, kernel, stride)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_layer_adds_its_bias_and_computes_in_its_dtype():
    inputs, kernel = draw(5)
    params = {"params": {"kernel": kernel, "bias": np.arange(4, dtype=np.float32)}}
    for layer, function in ((Conv, plain), (ConvTranspose, reference)):
        out = np.asarray(jax.jit(layer(4, 5, 2).apply)(params, inputs))
        np.testing.assert_allclose(out, np.asarray(function(inputs, kernel, 2)) + np.arange(4), atol=1e-4)
    rough = np.asarray(jax.jit(ConvTranspose(4, 5, 2, jnp.bfloat16).apply)(params, inputs))
    assert rough.dtype == jnp.bfloat16
    np.testing.assert_allclose(rough.astype(np.float32), out, atol=0.02 * np.abs(out).max())


def test_layers_are_plain_where_that_is_asked_for():
    inputs, kernel = draw(5)
    params = {"params": {"kernel": kernel, "bias": np.zeros(4, np.float32)}}

    def through(layer):
        return jax.jit(lambda x: jax.jvp(lambda x: layer.apply(params, x), (x,), (x,)))(inputs)

    for layer, function in ((Conv(4, 5, 2), plain), (ConvTranspose(4, 5, 2), reference)):
        with pytest.raises(TypeError, match="custom_vjp"):
            through(layer)
        with cpu.plain():
            np.testing.assert_allclose(through(layer)[1], function(inputs, kernel, 2), atol=1e-4)
