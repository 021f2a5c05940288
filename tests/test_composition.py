"""Slots composed: patches whose pixels are placed in the end equal pixels."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import compose

from slotjax.models.base import composed
from slotjax.nn.decoders.base import Drawn
from slotjax.nn.layers import PatchDense, pixels


def arrays(*shapes):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


def test_pixels_are_placed_row_by_row():
    patches = jnp.arange(16).reshape(1, 1, 2, 2, 4)  # two patches of 2 x 2, of two channels
    out = pixels(patches)
    np.testing.assert_array_equal(out[0, ..., 0], [[0, 1, 8, 9], [2, 3, 10, 11]])
    np.testing.assert_array_equal(out[0, ..., 1], out[0, ..., 0] + 4)


def test_patches_compose_as_their_pixels_do():
    """The layer's parameters run (row, column, channel), as trained weights have them."""
    (inputs,) = arrays((1, 2, 3, 5, 6))  # two slots, 3 x 5 patches
    layer = PatchDense(4, 2, jax.nn.initializers.normal(1.0))
    params = layer.init(jax.random.key(0), inputs)["params"] | {"bias": jnp.arange(16.0)}
    drawn = layer.apply({"params": params}, inputs)
    drawn = drawn.reshape(1, 2, 3, 5, 4, 4)
    found = composed(Drawn(drawn[..., :3, :], drawn[..., 3:, :]))
    plain = (inputs @ params["kernel"] + params["bias"]).reshape(1, 2, 3, 5, 2, 2, 4)
    plain = plain.swapaxes(3, 4).reshape(1, 2, 6, 10, 4)
    expected = compose(plain[..., :3], plain[..., 3])
    for name in ("masks", "mask_logits", "components", "reconstruction"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
