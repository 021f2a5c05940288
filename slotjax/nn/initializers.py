"""How slots start: drawn from one learned Gaussian, learned for each slot, predicted from the tokens, or from cues."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.fields import Count, Range
from slotjax.nn.predictors import TransformerBlock

OF_SIGMA = 1  # a stream of random numbers besides that of a learned noise


class Initializer(Protocol):
    """A linen module with `slot_dim` and `num_slots`; one more is a class here and a line in `INITIALIZERS`.

    Attributes:
      takes: the cues that it starts from, which are a third argument; empty where slots are drawn.
      predicts: whether it starts from the tokens [b, n, d], which then are a third argument.
    """

    takes: tuple[str, ...]
    predicts: bool

    def __call__(self, keys: jax.Array, num_slots: int) -> jax.Array:
        """One key for each example [b] -> slots [b, num_slots, d]; a `UserError` for more than it has."""
        ...


class GaussianSlots(nn.Module):
    """Every slot drawn from one learned Gaussian, so that slots are exchangeable (Locatello et al., 2020, sec. 2.1)."""

    slot_dim: Count = 64
    num_slots: Count = 7
    takes: ClassVar[tuple[str, ...]] = ()
    predicts: ClassVar[bool] = False

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

    Attributes:
      noise: around each start, as far as is learned.
      sigma: further noise, over a start's own size. There it falls from 1 to 0 in the first 30,000 steps, so that
        starts are no habit before slots are of use; here `train.stages` lower it.
    """

    slot_dim: Count = 64
    num_slots: Count = 7
    noise: bool = False
    sigma: Annotated[float, Range(0, 1000)] = 0.0
    takes: ClassVar[tuple[str, ...]] = ()
    predicts: ClassVar[bool] = False

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
        if self.sigma:
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, OF_SIGMA) if self.noise else keys
            slots = slots + self.sigma * jax.lax.stop_gradient(slots) * normal(own, slots.shape[1:])
        if not self.noise:
            return slots
        log_sigma = self.param("log_sigma", nn.initializers.constant(-2.0), shape, jnp.float32)
        return slots + jnp.exp(log_sigma[:, :num_slots]) * normal(keys, (num_slots, self.slot_dim))


class PredictedSlots(nn.Module):
    """Slots that have looked at the picture before attention begins (SmoothSA, Zhao et al., 2025).

    Draws of one Gaussian attend to the tokens, and then to each other. The loss `start` brings them near to where
    attention will take them; there it is all that trains them, here what the slots draw does too, and the noise that is
    added to them in training is left out. Tokens are not trained by it.

    Attributes:
      heads: of both attentions.
    """

    slot_dim: Count = 64
    num_slots: Count = 7
    heads: Count = 4
    takes: ClassVar[tuple[str, ...]] = ()
    predicts: ClassVar[bool] = True

    @nn.compact
    def __call__(self, keys: jax.Array, num_slots: int, tokens: jax.Array) -> jax.Array:
        """keys [b] and tokens [b, n, c] -> slots [b, num_slots, d]; a `UserError` for heads that do not divide d."""
        if self.slot_dim % self.heads:
            raise UserError(f"model.initializer.heads={self.heads}: must divide model.slot_dim={self.slot_dim}")
        drawn = GaussianSlots(self.slot_dim, self.num_slots, name="gaussian")(keys, num_slots)
        seen = nn.Dense(self.slot_dim, name="dense")(jax.lax.stop_gradient(tokens).astype(jnp.float32))
        looked = nn.MultiHeadDotProductAttention(self.heads, qkv_features=self.slot_dim, name="attention")(drawn, seen)
        mixed = TransformerBlock(self.heads, mlp_dim=4 * self.slot_dim, norm="pre", name="block")
        return mixed(drawn + looked)


class CueSlots(nn.Module):
    """Slots from where each object is in a video's first frame, by an MLP (Kipf et al., 2022, sec. 2.3, app. A.2).

    The first slot is the background's, and starts as those do that no object is left for: from zeros.

    Attributes:
      cue: "boxes" [b, m, 4], rows of (ymin, xmin, ymax, xmax) in 0..1 of the picture, or "centers" [b, m, 2], (row,
        column); a row of -1 is no object.
      hidden_dim: width of the hidden layer.
    """

    slot_dim: Count = 64
    num_slots: Count = 7
    cue: Literal["boxes", "centers"] = "boxes"
    hidden_dim: Count = 256
    predicts: ClassVar[bool] = False

    @property
    def takes(self) -> tuple[str, ...]:
        """The one cue."""
        return (self.cue,)

    @nn.compact
    def __call__(self, keys: Any, num_slots: int, cues: Mapping[str, jax.Array] | None = None) -> jax.Array:
        """cues of m objects -> slots [b, num_slots, d]; where m is num_slots, there is none for the background.

        Without cues, as while parameters are drawn, one object is missing for each of the keys [b].
        """
        if cues is None:
            cues = {self.cue: jnp.full((len(keys), 1, 4 if self.cue == "boxes" else 2), -1.0, jnp.float32)}
        places = cues[self.cue]
        places = jnp.where((places == -1).all(-1, keepdims=True), 0.0, places)
        spare = num_slots - places.shape[1]
        places = jnp.pad(places, ((0, 0), (min(spare, 1), max(spare - 1, 0)), (0, 0)))
        hidden = nn.relu(nn.Dense(self.hidden_dim, name="dense0")(places))
        return nn.Dense(self.slot_dim, name="dense1")(hidden)


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


INITIALIZERS: dict[str, Any] = {
    "gaussian": GaussianSlots,
    "learned": LearnedSlots,
    "predicted": PredictedSlots,
    "cues": CueSlots,
}
