"""How slots start: drawn from one learned Gaussian, or one learned start for each slot."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError


def example_keys(key: jax.Array, batch: int) -> jax.Array:
    """One random key for each example: `key` itself if it already holds `batch` keys, else derived from it by index."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.ndim == (0 if typed else 1):
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(batch))
    if key.shape[0] != batch:
        raise UserError(f"key: holds {key.shape[0]} keys for {batch} images; give one key, or one for each image")
    return key


class GaussianSlots(nn.Module):
    """Every slot drawn from one learned Gaussian, so that slots are exchangeable (Locatello et al., 2020, sec. 2.1)."""

    slot_dim: int = 64

    @nn.compact
    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """keys [b] -> slots [b, num_slots, d]."""
        shape = (1, 1, self.slot_dim)
        mu = self.param("mu", nn.initializers.glorot_uniform(), shape)
        log_sigma = self.param("log_sigma", nn.initializers.glorot_uniform(), shape)
        noise = jax.vmap(lambda key: jax.random.normal(key, (num_slots, self.slot_dim)))(keys)
        return mu + jnp.exp(log_sigma) * noise


class LearnedSlots(nn.Module):
    """A learned start for each slot, with a little learned noise around it (or none).

    Slots are no longer exchangeable: one may specialise, on the background say. Queries as in Jia et al., 2023,
    sec. 3.1.
    """

    slot_dim: int = 64
    num_slots: int = 7
    noise: bool = False

    @nn.compact
    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """keys [b] -> slots [b, num_slots, d], the first starts; more than were learned is a `UserError`."""
        mu = self.param("mu", nn.initializers.glorot_uniform(), (1, self.num_slots, self.slot_dim))
        if num_slots > self.num_slots:
            raise UserError(
                f"num_slots={num_slots}: this model learned a start for each of {self.num_slots} slots; "
                f"ask for at most {self.num_slots}, give initial_slots, or train with the gaussian initializer"
            )
        slots = jnp.broadcast_to(mu[:, :num_slots], (keys.shape[0], num_slots, self.slot_dim))
        if not self.noise:
            return slots
        log_sigma = self.param("log_sigma", nn.initializers.constant(-2.0), (1, self.num_slots, self.slot_dim))
        noise = jax.vmap(lambda key: jax.random.normal(key, (num_slots, self.slot_dim)))(keys)
        return slots + jnp.exp(log_sigma[:, :num_slots]) * noise


class BackgroundSlots(nn.Module):
    """One slot from a learned Gaussian of its own, all others from a common one.

    Breaks the symmetry only between the background and the objects: object slots stay exchangeable, and any number of
    slots can be drawn.
    """

    slot_dim: int = 64

    @nn.compact
    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """keys [b] -> slots [b, num_slots, d], the background's first."""
        shape = (1, 2, self.slot_dim)
        which = jnp.minimum(jnp.arange(num_slots), 1)
        mu = self.param("mu", nn.initializers.normal(1.0), shape)[:, which]
        log_sigma = self.param("log_sigma", nn.initializers.glorot_uniform(), shape)[:, which]
        noise = jax.vmap(lambda key: jax.random.normal(key, (num_slots, self.slot_dim)))(keys)
        return mu + jnp.exp(log_sigma) * noise


SLOTS = {"gaussian": GaussianSlots, "learned": LearnedSlots, "background": BackgroundSlots}
