"""Gradients of a fixed point by the implicit function theorem, whatever found it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres

TOLERANCE, DIRECTIONS, RESTARTS = 1e-5, 20, 5


def fixed_point(step: Callable[[jax.Array], jax.Array], found: jax.Array) -> jax.Array:
    """`found`, for which step(found) = found, with the gradients of a solution (Chang et al., 2022, sec. 3).

    Args:
      step: what it closes over is differentiated.
      found: as good a solution as need be; its own gradient is not asked for.
    """
    found = jax.lax.stop_gradient(found)
    after, pull = jax.vjp(step, found)
    return found + _solved(pull, after - jax.lax.stop_gradient(after))


@jax.custom_vjp
def _solved(pull: Callable, after: jax.Array) -> jax.Array:
    """`after` (0, here); a gradient g on it becomes w = g + J^T w, where `pull` is J^T, the step's own."""
    del pull
    return after


def _solved_forward(pull, after):
    return after, pull


def _solved_backward(pull, gradient):
    def equation(w):
        return w - pull(w)[0]

    options = {"tol": TOLERANCE, "restart": DIRECTIONS, "maxiter": RESTARTS}
    solution, _ = gmres(equation, gradient, x0=jnp.zeros_like(gradient), **options)
    return None, solution


_solved.defvjp(_solved_forward, _solved_backward)
