"""Who gets what: from how well slots match tokens, logits [b, k, n], to attention [b, k, n].

One more is a function here and a line in `ASSIGNMENTS`. All but `over_inputs` give every token away whole, so that
attention sums to 1 over the slots.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

SINKHORN_ROUNDS = 5
MESH_STEPS, MESH_RATE = 4, 1.0
TIE_BREAK = 1e-3  # deviation of the noise without which equal slots would stay equal


def over_slots(logits: jax.Array) -> jax.Array:
    """Slots compete for every token (Locatello et al., 2020, sec. 2.1)."""
    return jax.nn.softmax(logits, axis=1)


def over_inputs(logits: jax.Array) -> jax.Array:
    """Ordinary attention, where each slot looks on its own: it sums to 1 over the tokens (there, sec. 4.3)."""
    return jax.nn.softmax(logits, axis=2)


def sinkhorn(logits: jax.Array) -> jax.Array:
    """Slots of equal size: the entropic optimal transport of n tokens to k slots that hold n / k each.

    Rows and columns are scaled in turn (Cuturi, 2013), columns last; slots of learned sizes are in Zhang et al., 2023.
    """
    return jnp.exp(_transport(logits, *_no_potentials(logits))[0])


def mesh(logits: jax.Array) -> jax.Array:
    """Slots of equal size that hardly share: MESH, minimised entropy of `sinkhorn` (Zhang et al., 2023, sec. 4).

    A few gradient steps on the logits lower the entropy of their transport; they are differentiated through. A little
    noise, the same every time, parts slots that are alike.
    """
    noise = jax.random.normal(jax.random.key(0), logits.shape[1:], jnp.float32)
    logits = logits + TIE_BREAK * noise
    potentials = _no_potentials(logits)

    def entropy(logits, potentials):
        log_plan, potentials = _transport(logits, *potentials)
        return -(jnp.exp(log_plan) * log_plan).sum(), potentials

    def descend(carry, _):
        logits, potentials = carry
        uphill, potentials = jax.grad(entropy, has_aux=True)(logits, potentials)
        norm = jnp.sqrt((uphill**2).sum((1, 2), keepdims=True) + 1e-24)
        return (logits - MESH_RATE * uphill / norm, potentials), None

    (logits, potentials), _ = jax.lax.scan(descend, (logits, potentials), length=MESH_STEPS)
    return jnp.exp(_transport(logits, *potentials)[0])


def _no_potentials(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros_like(logits[:, :, :1]), jnp.zeros_like(logits[:, :1])


def _transport(logits: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The logarithm of the plan, and the potentials that scale its rows [b, k, 1] and columns [b, 1, n]."""
    size = jnp.log(jnp.float32(logits.shape[2] / logits.shape[1]))

    def scale(potentials, _):
        _, columns = potentials
        rows = size - jax.nn.logsumexp(logits + columns, 2, keepdims=True)
        return (rows, -jax.nn.logsumexp(logits + rows, 1, keepdims=True)), None

    (rows, columns), _ = jax.lax.scan(scale, (rows, columns), length=SINKHORN_ROUNDS)
    return logits + rows + columns, (rows, columns)


ASSIGNMENTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "slots": over_slots,
    "inputs": over_inputs,
    "sinkhorn": sinkhorn,
    "mesh": mesh,
}
