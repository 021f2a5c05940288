"""What a slot takes from the tokens that it attends to.

One more is a function here and a line in `UPDATES`. It is given attention [b, k, n], and `gather`, which sums the
tokens' values with the weights [b, k, n] that it asks for: [b, k, d]; and a mask [b, 1, n] of the tokens that count, or
None for all: attention to the others is 0.
"""

from collections.abc import Callable

import jax

EPSILON = 1e-8  # keeps a slot that wins no token from dividing by zero
NORM_EPSILON = 1e-3

Gather = Callable[[jax.Array], jax.Array]
Mask = jax.Array | None


def mean(attention: jax.Array, gather: Gather, mask: Mask = None) -> jax.Array:
    """The mean of the values, weighted by attention (Locatello et al., 2020, sec. 2.1)."""
    weights = attention + (EPSILON if mask is None else EPSILON * mask)
    return gather(weights / weights.sum(-1, keepdims=True))


def total(attention: jax.Array, gather: Gather, mask: Mask = None) -> jax.Array:
    """Their sum, which also says how much a slot holds (there, sec. 4.3)."""
    return gather(attention)


def scaled(attention: jax.Array, gather: Gather, mask: Mask = None) -> jax.Array:
    """Their sum over the number of tokens (Krimmel et al., 2024, Attention normalization impacts cardinality
    generalization in slot attention, sec. 3): how much a slot holds counts, in units that suit any picture.
    """
    return gather(attention) / (attention.shape[-1] if mask is None else mask.sum(-1, keepdims=True))


def normed(attention: jax.Array, gather: Gather, mask: Mask = None) -> jax.Array:
    """Their sum, normalised to mean 0 and variance 1 over its features (there): how much a slot holds is lost again."""
    x = gather(attention)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + NORM_EPSILON)


UPDATES: dict[str, Callable[[jax.Array, Gather, Mask], jax.Array]] = {
    "mean": mean,
    "sum": total,
    "scaled": scaled,
    "layer_norm": normed,
}
