"""Muon: a kernel is updated by what is orthogonal in its momentum, everything else as by Adam."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from slotjax.training.vector import Layout

BETA = 0.95  # of the momentum, which Adam's part has too
SIZE = 0.4  # root mean square of an update before the learning rate
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def scale_by_muon(
    adam: optax.GradientTransformation, is_kernel: Callable[[Any], Any], layout: Layout | None = None
) -> optax.GradientTransformation:
    """Muon (Jordan et al., 2024) for kernels, the given Adam for the rest, with one momentum for both.

    A step of gradient descent on a matrix goes mostly along the few directions in which its gradient is large; the
    orthogonal factor of the momentum, U V^T of its singular value decomposition, goes along all of them alike. A
    convolution's kernel is a matrix of its inputs, offsets included, and outputs. Updates have the same size whatever
    the matrix's shape (Liu et al., 2025, sec. 2.2, of 0.2 to 0.4, as Adam's have), so that a learning rate is for both.

    Args:
      adam: `optax.scale_by_adam(BETA, ...)`, or what has the same state.
      is_kernel: parameters -> a tree of bools.
      layout: of the vectors that are updated in place of trees.
    """
    of_adam: Any = adam.update

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        by_adam, new = of_adam(updates, state, params)
        # Nesterov's momentum: where the next step's will be if its gradient is this one's.
        weights = BETA / (1 - BETA ** (new.count + 1)), (1 - BETA) / (1 - BETA**new.count)
        ahead = jax.tree.map(lambda m, g: weights[0] * m + weights[1] * g, new.mu, updates)
        if layout is None:
            return chosen(by_adam, ahead), new
        return layout.vector(chosen(layout.params(by_adam), layout.params(ahead))), new

    def chosen(by_adam: Any, ahead: Any) -> Any:
        return jax.tree.map(lambda kernel, a, m: sized(m) if kernel else a, is_kernel(ahead), by_adam, ahead)

    return optax.GradientTransformation(adam.init, update)


def sized(momentum: jax.Array) -> jax.Array:
    """The orthogonal factor of a kernel's momentum, [..., n] as a matrix [-1, n], with a root mean square of `SIZE`."""
    matrix = momentum.reshape(-1, momentum.shape[-1])
    return (SIZE * max(matrix.shape) ** 0.5 * orthogonal(matrix)).reshape(momentum.shape)


def orthogonal(matrix: jax.Array) -> jax.Array:
    """The orthogonal factor of a matrix, nearly: singular values between 0.6 and 1.3, by Newton and Schulz's iteration.

    The quintic's coefficients (Jordan et al., 2024) raise small singular values fast, rather than bring all to 1.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (jnp.linalg.norm(wide) + 1e-8)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = first * x + (third * square + fifth * square @ square) @ x
    return x.T if wide is not matrix else x
