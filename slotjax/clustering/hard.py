"""k-means, whose centres are the means of the points that are nearest to them."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.clustering.points import check, squared_distances, standardized, weighted_means
from slotjax.errors import UserError
from slotjax.system.arguments import Array

MAX_ITERATIONS = 300


def kmeans(
    points: Array,
    num_clusters: int,
    key: jax.Array | None = None,
    *,
    initial_centers: Array | None = None,
    init: Literal["random", "k-means++"] = "random",
) -> tuple[Array, jax.Array]:
    """Lloyd's algorithm: assign every point to the nearest centre, move centres to their means, until nothing changes.

    Args:
      points: [n, d].
      num_clusters: k <= n.
      key: for the start; not needed with `initial_centers`.
      initial_centers: [k, d], instead of a random start.
      init: "random": centres are the means of a random assignment; "k-means++": spread out points (Arthur and
        Vassilvitskii, 2007).

    Returns:
      centers [k, d] in the points' units and assignments int32 [n]. A cluster that loses all its points keeps its
      centre.

    Raises:
      UserError: neither key nor initial_centers, a start of another shape, or a point that is not finite.
    """
    points, num_clusters, initial_centers = check(points, num_clusters, key, initial_centers)
    if init not in ("random", "k-means++"):
        raise UserError(f"init={init!r}: choose 'random' or 'k-means++'")
    scaled, units = standardized(points)
    if initial_centers is not None:
        start = units.inward(initial_centers)
    elif init == "random":
        start = _random_means(scaled, num_clusters, key)
    else:
        start = scaled[_spread_out(scaled, num_clusters, key)]
    centers, labels = _lloyd(scaled, start)
    return units.outward(centers), labels


def kmeans_plus_plus(points: Array, num_clusters: int, key: jax.Array) -> Array:
    """Points [k, d], each drawn in proportion to its squared distance from those already drawn.

    Points that coincide are drawn only when no other ones are left.
    """
    points, num_clusters, _ = check(points, num_clusters, key)
    chosen = _spread_out(standardized(points)[0], num_clusters, key)
    known = isinstance(points, np.ndarray) and not isinstance(chosen, Tracer)
    return points[np.asarray(chosen)] if known else jnp.asarray(points)[chosen]


@partial(jax.jit, static_argnames="num_clusters")
def _random_means(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    labels = jax.random.permutation(key, jnp.arange(len(points), dtype=jnp.int32) % num_clusters)
    return _means(points, labels, jnp.zeros((num_clusters, points.shape[1]), jnp.float32))


@partial(jax.jit, static_argnames="num_clusters")
def _spread_out(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """The places int32 [k] of k-means++'s points."""
    first_key, key = jax.random.split(key)
    first = jax.random.randint(first_key, (), 0, len(points), jnp.int32)

    def draw(i, carry):
        chosen, nearest = carry
        place = jax.random.categorical(jax.random.fold_in(key, i), nearest).astype(jnp.int32)
        return chosen.at[i].set(place), jnp.minimum(nearest, _log_distances(points, points[place]))

    start = jnp.full(num_clusters, first), _log_distances(points, points[first])
    return jax.lax.fori_loop(1, num_clusters, draw, start)[0]


def _log_distances(points: jax.Array, point: jax.Array) -> jax.Array:
    """log |x - point|^2 of each point [n]: -inf where they coincide and nowhere else, as squares may vanish."""
    differences = jnp.abs(points - point)
    largest = differences.max(1)
    divisor = jnp.where(largest > 0, largest, 1)
    return 2 * jnp.log(largest) + jnp.log(((differences / divisor[:, None]) ** 2).sum(1))


@jax.jit
def _lloyd(points: jax.Array, centers: jax.Array) -> tuple[jax.Array, jax.Array]:
    def nearest(centers):
        return squared_distances(points, centers).argmin(0).astype(jnp.int32)

    def unsettled(carry):
        _, _, changed, iteration = carry
        return changed & (iteration < MAX_ITERATIONS)

    def move(carry):
        centers, labels, _, iteration = carry
        centers = _means(points, labels, centers)
        moved = nearest(centers)
        return centers, moved, jnp.any(moved != labels), iteration + 1

    carry = (centers, nearest(centers), jnp.array(True), jnp.array(0, jnp.int32))
    centers, labels, _, _ = jax.lax.while_loop(unsettled, move, carry)
    return centers, labels


def _means(points: jax.Array, labels: jax.Array, centers: jax.Array) -> jax.Array:
    """The mean of every cluster's points; an empty one stays where it was."""
    return weighted_means(points, jax.nn.one_hot(labels, len(centers), axis=0, dtype=jnp.float32), centers)
