"""Which prediction belongs to which object: exact assignment inside a compiled step."""

import jax
import jax.numpy as jnp
import optax


def linear_assignment(costs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pairs of rows and columns of least total cost: `scipy.optimize.linear_sum_assignment` on the device.

    The Hungarian algorithm (Kuhn, 1955), in O(n^3), without host callbacks: it can be jitted, vmapped and pmapped.
    No gradient flows through the choice; take it through the costs chosen, `costs[..., rows, columns]` or
    `assigned(costs, rows, columns)`.

    Args:
      costs: float [..., n, m]. An entry that is not finite is a forbidden pair. Where no complete assignment does
        without forbidden pairs (SciPy raises there) as few as possible are chosen.

    Returns:
      rows and columns, int32 [..., min(n, m)]; rows ascend, each row and each column occurs at most once.
    """
    *batch, num_rows, num_columns = costs.shape
    size = min(num_rows, num_columns)
    if size == 0:
        empty = jnp.zeros((*batch, 0), jnp.int32)
        return empty, empty
    flat = jax.lax.stop_gradient(costs).astype(jnp.float32).reshape(-1, num_rows, num_columns)
    rows, columns = jax.vmap(_assign)(flat)
    return rows.reshape(*batch, size), columns.reshape(*batch, size)


def assigned(costs: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """The costs of the pairs: [..., n, m] and int [..., p] twice -> [..., p]."""
    of_rows = jnp.take_along_axis(costs, rows[..., None], axis=-2)
    return jnp.take_along_axis(of_rows, columns[..., None], axis=-1)[..., 0]


def _assign(costs: jax.Array) -> tuple[jax.Array, jax.Array]:
    # To [0, 1], so that a forbidden pair can cost more than any complete assignment without losing digits; a cost that
    # is not finite would make optax's search run for ever.
    finite = jnp.isfinite(costs)
    low = jnp.min(costs, where=finite, initial=jnp.inf)
    high = jnp.max(costs, where=finite, initial=-jnp.inf)
    scaled = (costs - low) / jnp.where(high > low, high - low, 1)
    rows, columns = optax.assignment.hungarian_algorithm(jnp.where(finite, scaled, min(costs.shape) + 1.0))
    order = jnp.argsort(rows)
    return rows[order].astype(jnp.int32), columns[order].astype(jnp.int32)
