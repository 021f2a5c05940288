"""Random numbers of a scene, all from one draw."""

import math

import jax
import jax.numpy as jnp


class Uniform:
    """Hands out parts of one draw: on CPU every call of jax.random takes seconds to compile, however small."""

    def __init__(self, key: jax.Array, count: int):
        self.left = jax.random.uniform(key, (count,), jnp.float32)

    def floats(self, shape: tuple[int, ...]) -> jax.Array:
        """Uniform in [0, 1)."""
        count = math.prod(shape)
        values, self.left = self.left[:count], self.left[count:]
        return values.reshape(shape)

    def integers(self, shape: tuple[int, ...], high: int | jax.Array) -> jax.Array:
        """Uniform in 0..high - 1; `high` broadcasts against `shape`."""
        return jnp.minimum((self.floats(shape) * high).astype(jnp.int32), high - 1)
