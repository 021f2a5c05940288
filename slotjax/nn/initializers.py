"""How slots start: drawn from one learned Gaussian, or one learned start for each slot."""

from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.fields import Count


class Initializer(Protocol):
    """A linen module with `slot_dim` and `num_slots`; one more is a class here and a line in `INITIALIZERS`."""

    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """One key for each example [b] -> slots [b, num_slots, d]; a `UserError` for more than it has."""
        ...


class GaussianSlots(nn.Module):
    """Every slot drawn from one learned Gaussian, so that slots are exchangeable (Locatello et al., 2020, sec. 2.1)."""

    slot_dim: Count = 64
    num_slots: Count = 7

    @nn.compact
    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """keys [b] -> slots [b, num_slots, d]."""
        shape = (1, 1, self.slot_dim)
        mu = self.param("mu", nn.initializers.glorot_uniform(), shape, jnp.float32)
        log_sigma = self.param("log_sigma", nn.initializers.glorot_uniform(), shape, jnp.float32)
        return mu + jnp.exp(log_sigma) * normal(keys, (num_slots, self.slot_dim))


class LearnedSlots(nn.Module):
    """A learned start for each slot, with a little learned noise around it (or none).

    Slots are no longer exchangeable: one may specialise, on the background say. Queries as in Jia et al., 2023,
    sec. 3.1.
    """

    slot_dim: Count = 64
    num_slots: Count = 7
    noise: bool = False

    @nn.compact
    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """keys [b] -> slots [b, num_slots, d], the first starts; more than were learned is a `UserError`."""
        shape = (1, self.num_slots, self.slot_dim)
        mu = self.param("mu", nn.initializers.glorot_uniform(), shape, jnp.float32)
        if num_slots > self.num_slots:
            raise UserError(
                f"num_slots={num_slots}: this model learned a start for each of {self.num_slots} slots; "
                f"ask for at most {self.num_slots}, give initial_slots, or train with the gaussian initializer"
            )
        slots = jnp.broadcast_to(mu[:, :num_slots], (keys.shape[0], num_slots, self.slot_dim))
        if not self.noise:
            return slots
        log_sigma = self.param("log_sigma", nn.initializers.constant(-2.0), shape, jnp.float32)
        return slots + jnp.exp(log_sigma[:, :num_slots]) * normal(keys, (num_slots, self.slot_dim))


def normal(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers for each key: keys [b] -> float32 [b, *shape]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)


def keys_of_examples(key: jax.Array, batch: int) -> jax.Array:
    """One random key for each example: `key` itself if it already holds `batch` keys, else derived from it by index."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.ndim == (0 if typed else 1):
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(batch, dtype=jnp.uint32))
    if key.shape[0] != batch:
        raise UserError(f"key: holds {key.shape[0]} keys for {batch} images; give one key, or one for each image")
    return key


INITIALIZERS: dict[str, Any] = {"gaussian": GaussianSlots, "learned": LearnedSlots}
