"""How many slots a picture needs: which of them are drawn."""

from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn.decoders.base import Drawn
from slotjax.nn.initializers import keys_of_examples
from slotjax.nn.needed import needed

STREAM = 3  # of an example's key: selections are drawn apart from slots
ALIKE = 0.9  # the cosine of an angle between slots that are the same


class Kept(NamedTuple):
    """Which slots are drawn, `gates` [b, k] of 0 and 1, and how probable each of them was, [b, k]; None: all are."""

    gates: jax.Array | None = None
    probabilities: jax.Array | None = None


class Selection(Protocol):
    """A linen module that needs no numbers; one more is a class here and a line in `SELECTIONS`."""

    def __call__(self, slots: jax.Array, key: jax.Array | None, drawn: Drawn) -> Kept:
        """slots [b, k, d], what they drew, and one key, or one for each example, where something is random."""
        ...

    def in_training(self) -> Any:
        """The same selection as it is while it learns."""
        ...


class AllSlots(nn.Module):
    """Every slot is drawn (the method)."""

    def __call__(self, slots: jax.Array, key: jax.Array | None, drawn: Drawn) -> Kept:
        del slots, key, drawn
        return Kept()

    def in_training(self) -> "AllSlots":
        """It is the same always."""
        return self


class GumbelSelection(nn.Module):
    """Each slot says whether it is drawn (AdaSlot, Fan et al., 2024); the loss `kept` is their price.

    An MLP of a slot is the logit of keeping it, at first even odds. In training that is drawn, with Gumbel's noise and
    the gradient of the sigmoid (straight-through, at temperature 1); else whatever has even odds or better is kept. The
    likeliest slot is always drawn, so that there is a picture; there one at random. It is for slots that have parted
    already, as after a stage with all of them: sooner the price has all of them given up, or none.

    Attributes:
      training: whether it is drawn.
    """

    training: bool = False

    @nn.compact
    def __call__(self, slots: jax.Array, key: jax.Array | None, drawn: Drawn) -> Kept:
        """See `Selection`."""
        hidden = nn.relu(nn.Dense(slots.shape[-1], name="dense0")(nn.LayerNorm(name="norm")(slots)))
        logits = nn.Dense(1, kernel_init=nn.initializers.zeros, name="dense1")(hidden)[..., 0]
        noise = jnp.zeros_like(logits)
        if self.training and key is not None:
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys_of_examples(key, len(slots)), STREAM)
            # The difference of two Gumbel variables is logistic.
            noise = jax.vmap(lambda key: jax.random.logistic(key, logits.shape[1:], jnp.float32))(keys)
        soft = jax.nn.sigmoid(logits + noise)
        hard = (soft >= 0.5).astype(jnp.float32)
        gates = self.together(hard + soft - jax.lax.stop_gradient(soft), drawn)
        probabilities = self.together(jax.nn.sigmoid(logits), drawn)
        likeliest = jax.nn.one_hot(probabilities.argmax(-1), slots.shape[1])
        return Kept(gates + likeliest * (1 - jax.lax.stop_gradient(gates)), probabilities)

    def together(self, each: jax.Array, drawn: Drawn) -> jax.Array:
        """What each slot says, [b, k], of 0 to 1 -> what comes of it, [b, k]: here each has its own way."""
        del drawn
        return each

    def in_training(self) -> "GumbelSelection":
        """With selections that are drawn."""
        return self.clone(training=True)


class StickBreaking(GumbelSelection):
    """Slots are drawn one after another until one says that it is enough: no slot behind it is drawn.

    Those with most of the picture come first. Sticks are broken like this in the masks of MONet and GENESIS (Burgess et
    al., 2019; Engelcke et al., 2020).
    """

    def together(self, each: jax.Array, drawn: Drawn) -> jax.Array:
        shares = jax.nn.softmax(drawn.mask_logits.astype(jnp.float32), -5).mean((-4, -3, -2, -1))
        order = jnp.argsort(-jax.lax.stop_gradient(shares))
        sticks = jnp.cumprod(jnp.take_along_axis(each, order, -1), -1)
        return jnp.take_along_axis(sticks, jnp.argsort(order), -1)


class DistinctSlots(nn.Module):
    """A slot that is like one before it is not drawn.

    MetaSlot (Liu et al., 2025) leaves out slots whose nearest prototype is another's too; here there are no prototypes,
    and slots are the same if the cosine of their angle is above 0.9.
    """

    def __call__(self, slots: jax.Array, key: jax.Array | None, drawn: Drawn) -> Kept:
        """See `Selection`."""
        del key, drawn
        directions = slots * jax.lax.rsqrt((slots**2).sum(-1, keepdims=True) + 1e-12)
        alike = jnp.einsum("bkd,bjd->bkj", directions, directions) > ALIKE
        gates = 1 - jnp.tril(alike, -1).any(-1).astype(jnp.float32)
        return Kept(gates, gates)

    def in_training(self) -> "DistinctSlots":
        """It is the same always."""
        return self


class NeededSlots(nn.Module):
    """Slots without which the others would draw the same picture are not drawn.

    A slot to spare that has part of a large object leaves it to the slot that has the rest; see `slotjax.nn.needed`.
    """

    def __call__(self, slots: jax.Array, key: jax.Array | None, drawn: Drawn) -> Kept:
        """See `Selection`."""
        del slots, key
        gates = needed(*jax.lax.stop_gradient((drawn.components, drawn.mask_logits))).astype(jnp.float32)
        return Kept(gates, gates)

    def in_training(self) -> "NeededSlots":
        """It is the same always."""
        return self


SELECTIONS: dict[str, Any] = {
    "all": AllSlots,
    "gumbel": GumbelSelection,
    "stick_breaking": StickBreaking,
    "distinct": DistinctSlots,
    "needed": NeededSlots,
}
LEARNED = ("gumbel", "stick_breaking")  # by the loss `kept`
