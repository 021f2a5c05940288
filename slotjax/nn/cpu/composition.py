"""Pictures composed of what slots drew, in a form that XLA's CPU compiler is fast at."""

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp

SLOTS = -5  # the axis
WIDE = 16  # numbers in a row that a mask weighs, or masks in a row: with fewer the written out form is the slower one


def plain_compose(components: jax.Array, mask_logits: jax.Array) -> jax.Array:
    """Components weighed by a softmax over slots and summed.

    Args:
      components: [*b, k, h, w, c, q].
      mask_logits: [*b, k, h, w, 1, q].

    Returns:
      [*b, h, w, c, q].
    """
    return (jax.nn.softmax(mask_logits, axis=SLOTS) * components).sum(SLOTS)


def compose(components: jax.Array, mask_logits: jax.Array) -> jax.Array:
    """Equals `plain_compose`.

    XLA:CPU sums over an axis in front of others one number at a time, and writes down every step of a softmax and of
    its gradient. Written out slot by slot all is done in one pass, and the gradient in another.
    """
    if max(components.shape[-2:]) < WIDE:
        return plain_compose(components, mask_logits)
    parts, logits = (
        [jax.lax.index_in_dim(x, i, SLOTS, keepdims=False) for i in range(x.shape[SLOTS])]
        for x in (components, mask_logits)
    )
    largest = jax.lax.stop_gradient(reduce(jnp.maximum, logits))
    weights = [jnp.exp(x - largest) for x in logits]
    return reduce(add, [weight * part for weight, part in zip(weights, parts, strict=True)]) / reduce(add, weights)
