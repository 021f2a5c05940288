"""Which prediction belongs to which object: exact assignment inside a compiled step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from slotjax.errors import UserError
from slotjax.system import arguments
from slotjax.system.arguments import Array


def linear_assignment(costs: Array) -> tuple[jax.Array, jax.Array]:
    """Pairs of rows and columns of least total cost: `scipy.optimize.linear_sum_assignment` on the device.

    The Hungarian algorithm (Kuhn, 1955), in O(n^3), without host callbacks: it can be jitted, vmapped and pmapped.
    No gradient flows through the choice; take it through the costs chosen, `costs[..., rows, columns]` or
    `assigned(costs, rows, columns)`.

    Args:
      costs: [..., n, m]. An entry that is not finite is a forbidden pair. Where no complete assignment does without
        forbidden pairs (SciPy raises there) as few as possible are chosen.

    Returns:
      rows and columns, int32 [..., min(n, m)]; rows ascend, each row and each column occurs at most once.

    Raises:
      UserError: costs of fewer than two axes, or no real numbers.
    """
    costs = arguments.array("costs", costs)
    if costs.ndim < 2:
        raise UserError(f"costs of shape {costs.shape}: expected [..., n, m]; of one row they are costs[None]")
    # NumPy's 64 bits would be lost on the way to the device; what is in [0, 1] already stays as it is there.
    return _assign_all(_to_unit(costs) if isinstance(costs, np.ndarray) else costs)


def assigned(costs: Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """The costs of the pairs: [..., n, m] and int [..., p] twice -> [..., p]."""
    of_rows = jnp.take_along_axis(costs, rows[..., None], axis=-2)
    return jnp.take_along_axis(of_rows, columns[..., None], axis=-1)[..., 0]


@jax.jit
def _assign_all(costs: jax.Array) -> tuple[jax.Array, jax.Array]:
    *batch, num_rows, num_columns = costs.shape
    size = min(num_rows, num_columns)
    if size == 0:
        empty = jnp.zeros((*batch, 0), jnp.int32)
        return empty, empty
    flat = _to_unit(jax.lax.stop_gradient(costs)).reshape(math.prod(batch), num_rows, num_columns)
    rows, columns = jax.vmap(_assign)(flat)
    return rows.reshape(*batch, size), columns.reshape(*batch, size)


def _to_unit(costs: Any) -> Any:
    """Each matrix in [0, 1], scaled before it is cast to float32; forbidden pairs are NaN. NumPy's stay NumPy's."""
    xp = np if isinstance(costs, np.ndarray) else jnp
    if not jnp.issubdtype(costs.dtype, jnp.floating):
        costs = costs.astype(float)
    elif costs.dtype.itemsize < 4:
        costs = costs.astype(xp.float32)
    finite = xp.isfinite(costs)
    low = xp.min(costs, axis=(-2, -1), keepdims=True, where=finite, initial=xp.inf)
    high = xp.max(costs, axis=(-2, -1), keepdims=True, where=finite, initial=-xp.inf)
    low, span = xp.where(low <= high, low, 0), xp.where(low < high, high - low, 1)
    return xp.where(finite, (xp.where(finite, costs, low) - low) / span, xp.nan).astype(xp.float32)


def _assign(costs: jax.Array) -> tuple[jax.Array, jax.Array]:
    # A forbidden pair costs more than any complete assignment of costs in [0, 1], and no digits; one that is not
    # finite would make optax's search run for ever.
    costs = jnp.where(jnp.isfinite(costs), costs, min(costs.shape) + 1.0)
    rows, columns = optax.assignment.hungarian_algorithm(costs)
    order = jnp.argsort(rows)
    return rows[order].astype(jnp.int32), columns[order].astype(jnp.int32)
