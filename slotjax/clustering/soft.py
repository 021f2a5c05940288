"""Soft k-means: a point belongs to every centre, more to near ones. Slot Attention makes its loop learnable."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from slotjax.clustering.points import as_points, check, squared_distances, standardized, weighted_means
from slotjax.errors import UserError
from slotjax.system import arguments
from slotjax.system.arguments import Array


def soft_kmeans(
    points: Array,
    num_clusters: int,
    key: jax.Array | None = None,
    *,
    beta: float,
    num_iterations: int,
    initial_centers: Array | None = None,
) -> tuple[Array, jax.Array]:
    """Soft k-means (MacKay, 2003, ch. 22): a point belongs to every centre, in proportion to exp(-|x - mu|^2 / beta).

    Args:
      points: [n, d].
      beta: softness, in squared units of the points; towards 0 this becomes `kmeans`.
      num_iterations: how often the centres move.
      initial_centers: [k, d]; drawn as k distinct points with `key` unless given.

    Returns:
      centers [k, d] in the points' units and assignments float32 [n, k], which sum to 1 over k.

    Raises:
      UserError: as `kmeans`; and a beta that is not above 0, or no iteration.
    """
    points, num_clusters, initial_centers = check(points, num_clusters, key, initial_centers)
    root = _root(beta)
    if not isinstance(num_iterations, Tracer):
        num_iterations = arguments.whole("num_iterations", num_iterations)
    scaled, units = standardized(points)
    start = _random_points(scaled, num_clusters, key) if initial_centers is None else units.inward(initial_centers)
    centers, weights = _soften(scaled, start, units.softness(root), num_iterations)
    return units.outward(centers), weights


def responsibilities(points: Array, centers: Array, beta: float) -> jax.Array:
    """Softmax over clusters of -|x - mu|^2 / beta: [n, d], [k, d] -> float32 [n, k]."""
    points, centers = as_points(points), arguments.array("centers", centers)
    if centers.ndim != 2 or not len(centers) or centers.shape[1] != points.shape[1]:
        raise UserError(f"centers of shape {centers.shape}: expected [k, {points.shape[1]}]")
    arguments.finite("centers", centers)
    root = _root(beta)
    scaled, units = standardized(points)
    return _responsibilities(scaled, units.inward(centers), units.softness(root)).T


def _root(beta: Any) -> Any:
    """The square root of a beta that is checked unless it is traced."""
    return jnp.sqrt(beta) if isinstance(beta, Tracer) else math.sqrt(arguments.number("beta", beta, open_below=True))


@partial(jax.jit, static_argnames="num_clusters")
def _random_points(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """Distinct points [k, d], any with the same chance."""
    return jax.random.choice(key, points, (num_clusters,), replace=False)


@jax.jit
def _soften(points: jax.Array, centers: jax.Array, beta: jax.Array, num_iterations: int) -> tuple[jax.Array, jax.Array]:
    def iteration(_, centers):
        return weighted_means(points, _responsibilities(points, centers, beta), centers)

    centers = jax.lax.fori_loop(0, num_iterations, iteration, centers)
    return centers, _responsibilities(points, centers, beta).T


@jax.jit
def _responsibilities(points: jax.Array, centers: jax.Array, beta: jax.Array) -> jax.Array:
    """[k, n]."""
    distances = squared_distances(points, centers)
    # The nearest center has a share of 1 before they are divided by their sum, so that nothing overflows; it is written
    # down, as XLA computes distances twice and may round them differently, by more than beta where centers lie far off.
    nearest = jnp.arange(len(centers), dtype=jnp.int32)[:, None] == distances.argmin(0)
    shares = jnp.where(nearest, 1, jnp.exp(jnp.minimum((distances.min(0) - distances) / beta, 0)))
    return shares / shares.sum(0)
