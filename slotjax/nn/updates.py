"""What a slot takes from the tokens that it attends to: one more is a function here and a line in `UPDATES`."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

EPSILON = 1e-8  # keeps a slot that wins no token from dividing by zero
NORM_EPSILON = 1e-3
PULL = 1e-3  # on stored moments: small where gradients are clipped together; Adam does not look at its size

Gather = Callable[[jax.Array], jax.Array]
Mask = jax.Array | None
Own = Mapping[str, jax.Array] | None


class Update(Protocol):
    """What slots take of what they attend to; a function."""

    def __call__(self, attention: jax.Array, gather: Gather, mask: Mask = None, own: Own = None) -> jax.Array:
        """Updates [b, k, d].

        Args:
          attention: [b, k, n].
          gather: sums the tokens' values with the weights [b, k, n] that it is given: [b, k, d].
          mask: [b, 1, n], the tokens that count, or None for all: attention to the others is 0.
          own: its parameters, where `OWN_PARAMS` has any.
        """
        ...


def mean(attention: jax.Array, gather: Gather, mask: Mask = None, own: Own = None) -> jax.Array:
    """The mean of the values, weighted by attention (Locatello et al., 2020, sec. 2.1)."""
    del own
    weights = attention + (EPSILON if mask is None else EPSILON * mask)
    return gather(weights / weights.sum(-1, keepdims=True))


def total(attention: jax.Array, gather: Gather, mask: Mask = None, own: Own = None) -> jax.Array:
    """Their sum, which also says how much a slot holds (there, sec. 4.3)."""
    del mask, own
    return gather(attention)


def scaled(attention: jax.Array, gather: Gather, mask: Mask = None, own: Own = None) -> jax.Array:
    """Their sum over the number of tokens (Krimmel et al., 2024, Attention normalization impacts cardinality
    generalization in slot attention, sec. 3): how much a slot holds counts, in units that suit any picture.
    """
    del own
    return gather(attention) / (attention.shape[-1] if mask is None else mask.sum(-1, keepdims=True))


def normed(attention: jax.Array, gather: Gather, mask: Mask = None, own: Own = None) -> jax.Array:
    """Their sum, normalised to mean 0 and variance 1 over its features (there): how much a slot holds is lost again."""
    del mask, own
    x = gather(attention)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + NORM_EPSILON)


def standardised(attention: jax.Array, gather: Gather, mask: Mask = None, own: Own = None) -> jax.Array:
    """Their sum, less one mean and over one deviation for all pictures, slots and features (there, batch-wise scalar
    norm): how much a slot holds counts, which lets slots be more or fewer in use than in training.

    The paper takes the moments from the batch, and in use from running averages. Here training goes by the stored
    ones as well, so that no picture depends on the others of its batch, and they follow by gradients of their own.
    """
    assert own is not None  # `OWN_PARAMS` says so
    return standardise(scaled(attention, gather, mask), own["mean"], own["log_deviation"])


@jax.custom_vjp
def standardise(x: jax.Array, mean: jax.Array, log_deviation: jax.Array) -> jax.Array:
    """(x - mean) / exp(log_deviation), of numbers [b, k, d] and two scalars.

    The scalars have no gradient of what is made of x, but one that takes them to the moments of x: that of x's negative
    log likelihood under a normal distribution, scaled by `PULL`, and by the deviation for the mean. It is a mean over
    pictures, as that of a loss is, however a batch is shared out.
    """
    return (x - mean) * jnp.exp(-log_deviation)


def _standardise(x: jax.Array, mean: jax.Array, log_deviation: jax.Array) -> tuple[jax.Array, tuple]:
    y = standardise(x, mean, log_deviation)
    return y, (y, log_deviation)


def _pulled(kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    y, log_deviation = kept
    return gradient * jnp.exp(-log_deviation), -PULL * y.mean(), PULL * (1 - (y * y).mean())


standardise.defvjp(_standardise, _pulled)


def scalar_moments(key: Any = None) -> dict[str, jax.Array]:
    """The moments that `standardised` begins with: as if it were `scaled`."""
    del key
    return {"mean": jnp.zeros((), jnp.float32), "log_deviation": jnp.zeros((), jnp.float32)}


UPDATES: dict[str, Update] = {
    "mean": mean,
    "sum": total,
    "scaled": scaled,
    "layer_norm": normed,
    "scalar_norm": standardised,
}
OWN_PARAMS: dict[str, Callable[[Any], dict[str, jax.Array]]] = {"scalar_norm": scalar_moments}
