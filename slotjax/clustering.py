"""Where Slot Attention comes from: k-means, and soft k-means, whose loop it makes learnable."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from slotjax.errors import UserError

MAX_ITERATIONS = 300


def kmeans(
    points: jax.Array,
    num_clusters: int,
    key: jax.Array | None = None,
    *,
    initial_centers: jax.Array | None = None,
    init: Literal["random", "k-means++"] = "random",
) -> tuple[jax.Array, jax.Array]:
    """Lloyd's algorithm: assign every point to the nearest centre, move centres to their means, until nothing changes.

    Args:
      points: [n, d].
      num_clusters: k <= n.
      key: for the start; not needed with `initial_centers`.
      initial_centers: [k, d], instead of a random start.
      init: "random": centres are the means of a random assignment; "k-means++": spread out points (Arthur and
        Vassilvitskii, 2007).

    Returns:
      centers [k, d] and assignments int32 [n]. A cluster that loses all its points keeps its centre.

    Raises:
      UserError: neither key nor initial_centers, or a start of another shape.
    """
    _check(points, num_clusters, key, initial_centers)
    if init not in ("random", "k-means++"):
        raise UserError(f"init={init!r}: choose 'random' or 'k-means++'")
    if initial_centers is None:
        start = random_means if init == "random" else kmeans_plus_plus
        initial_centers = start(points, num_clusters, key)
    return _lloyd(points.astype(jnp.float32), initial_centers.astype(jnp.float32))


def soft_kmeans(
    points: jax.Array,
    num_clusters: int,
    key: jax.Array | None = None,
    *,
    beta: float,
    num_iterations: int,
    initial_centers: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Soft k-means (MacKay, 2003, ch. 22): every point belongs to every centre, in proportion to exp(-|x - mu|^2 / beta).

    Args:
      points: [n, d].
      beta: softness, in squared units of the points; towards 0 this becomes `kmeans`.
      num_iterations: how often the centres move.
      initial_centers: [k, d]; drawn as k distinct points with `key` unless given.

    Returns:
      centers [k, d] and assignments float32 [n, k], which sum to 1 over k.
    """
    _check(points, num_clusters, key, initial_centers)
    if beta <= 0 or num_iterations < 1:
        raise UserError(f"beta={beta}, num_iterations={num_iterations}: need beta > 0 and at least 1 iteration")
    points = points.astype(jnp.float32)
    if initial_centers is None:
        initial_centers = jax.random.choice(key, points, (num_clusters,), replace=False)

    def iteration(_, centers):
        weights = responsibilities(points, centers, beta)
        return (weights.T @ points) / jnp.maximum(weights.sum(0), 1e-8)[:, None]

    centers = jax.lax.fori_loop(0, num_iterations, iteration, initial_centers.astype(jnp.float32))
    return centers, responsibilities(points, centers, beta)


def responsibilities(points: jax.Array, centers: jax.Array, beta: float) -> jax.Array:
    """Softmax over clusters of -|x - mu|^2 / beta: [n, d], [k, d] -> [n, k]."""
    return jax.nn.softmax(-squared_distances(points, centers) / beta, axis=-1)


def squared_distances(points: jax.Array, centers: jax.Array) -> jax.Array:
    """|x - mu|^2 for every pair: [n, d], [k, d] -> [n, k]."""
    return ((points[:, None] - centers) ** 2).sum(-1)


def random_means(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """Centres [k, d] of a random assignment in which every cluster has its share of the points."""
    labels = jax.random.permutation(key, jnp.arange(len(points)) % num_clusters)
    return _means(points, labels, jnp.zeros((num_clusters, points.shape[1]), points.dtype))


def kmeans_plus_plus(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """Points [k, d], each drawn in proportion to its squared distance from those already drawn."""
    first_key, key = jax.random.split(key)
    first = points[jax.random.randint(first_key, (), 0, len(points))]
    centers = jnp.broadcast_to(first, (num_clusters, points.shape[1]))

    def draw(i, carry):
        centers, nearest = carry
        logits = jnp.log(jnp.maximum(nearest, 1e-30))
        point = points[jax.random.categorical(jax.random.fold_in(key, i), logits)]
        return centers.at[i].set(point), jnp.minimum(nearest, ((points - point) ** 2).sum(-1))

    return jax.lax.fori_loop(1, num_clusters, draw, (centers, ((points - first) ** 2).sum(-1)))[0]


def pixel_points(images: jax.Array, position_weight: float = 0.0) -> jax.Array:
    """Pixels as points: [..., h, w, 3] -> [..., h * w, 3 or 5].

    With a `position_weight` above 0, row and column in [-1, 1] times that weight stand behind the colour.
    """
    *batch, height, width, channels = images.shape
    points = images.reshape(*batch, height * width, channels)
    if position_weight == 0:
        return points
    rows, columns = jnp.meshgrid(jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing="ij")
    place = position_weight * jnp.stack([rows, columns], -1).reshape(-1, 2)
    return jnp.concatenate([points, jnp.broadcast_to(place, (*batch, height * width, 2))], -1)


@partial(jax.jit, inline=True)
def _lloyd(points: jax.Array, centers: jax.Array) -> tuple[jax.Array, jax.Array]:
    def nearest(centers):
        return squared_distances(points, centers).argmin(-1).astype(jnp.int32)

    def unsettled(carry):
        _, _, changed, iteration = carry
        return changed & (iteration < MAX_ITERATIONS)

    def move(carry):
        centers, labels, _, iteration = carry
        centers = _means(points, labels, centers)
        moved = nearest(centers)
        return centers, moved, jnp.any(moved != labels), iteration + 1

    carry = (centers, nearest(centers), jnp.array(True), 0)
    centers, labels, _, _ = jax.lax.while_loop(unsettled, move, carry)
    return centers, labels


def _means(points: jax.Array, labels: jax.Array, centers: jax.Array) -> jax.Array:
    """The mean of every cluster's points; an empty one stays where it was."""
    members = jax.nn.one_hot(labels, len(centers), axis=0)
    counts = members.sum(-1, keepdims=True)
    return jnp.where(counts > 0, (members @ points) / jnp.maximum(counts, 1), centers)


def _check(points, num_clusters, key, initial_centers) -> None:
    if points.ndim != 2:
        raise UserError(f"points of shape {tuple(points.shape)}: expected [n, d]; see pixel_points for images")
    if not 1 <= num_clusters <= len(points):
        raise UserError(f"num_clusters={num_clusters}: must lie between 1 and the {len(points)} points")
    if initial_centers is None and key is None:
        raise UserError("key=None: pass a jax.random.key for the start, or initial_centers [k, d]")
    if initial_centers is not None and initial_centers.shape != (num_clusters, points.shape[1]):
        shape = tuple(initial_centers.shape)
        raise UserError(f"initial_centers of shape {shape}: expected {(num_clusters, points.shape[1])}")
