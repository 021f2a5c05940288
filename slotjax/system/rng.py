"""Random keys: derived from (seed, stream, step, the example's index in the global batch), never stored or global."""

import zlib

import jax

EVAL_SEED = 0  # held-out scenes are the same for every run


def stream_key(seed: int, stream: str) -> jax.Array:
    """The key of one named use of randomness ("scenes", "slots", ...), apart from all others."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))


def example_keys(key: jax.Array, step: jax.Array | int, index: jax.Array) -> jax.Array:
    """One key for each example: index int [b] -> keys [b]. The same however many devices share the batch."""
    at_step = jax.random.fold_in(key, step)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(at_step, index)
