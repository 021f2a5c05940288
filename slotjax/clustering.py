"""Where Slot Attention comes from: k-means, and soft k-means, whose loop it makes learnable."""

from functools import partial, reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp

from slotjax.errors import UserError

MAX_ITERATIONS = 300
FEW_FEATURES = 8  # up to here distances are faster feature by feature than as a matrix product, and more exact


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
    points, initial_centers = _check(points, num_clusters, key, initial_centers)
    if init not in ("random", "k-means++"):
        raise UserError(f"init={init!r}: choose 'random' or 'k-means++'")
    if initial_centers is None:
        start = random_means if init == "random" else kmeans_plus_plus
        initial_centers = start(points, num_clusters, key)
    return _lloyd(points, initial_centers)


def soft_kmeans(
    points: jax.Array,
    num_clusters: int,
    key: jax.Array | None = None,
    *,
    beta: float,
    num_iterations: int,
    initial_centers: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Soft k-means (MacKay, 2003, ch. 22): a point belongs to every centre, in proportion to exp(-|x - mu|^2 / beta).

    Args:
      points: [n, d].
      beta: softness, in squared units of the points; towards 0 this becomes `kmeans`.
      num_iterations: how often the centres move.
      initial_centers: [k, d]; drawn as k distinct points with `key` unless given.

    Returns:
      centers [k, d] and assignments float32 [n, k], which sum to 1 over k.
    """
    points, initial_centers = _check(points, num_clusters, key, initial_centers)
    if beta <= 0 or num_iterations < 1:
        raise UserError(f"beta={beta}, num_iterations={num_iterations}: need beta > 0 and at least 1 iteration")
    if initial_centers is None:
        initial_centers = random_points(points, num_clusters, key)
    return _soften(points, initial_centers, beta, num_iterations)


def responsibilities(points: jax.Array, centers: jax.Array, beta: float) -> jax.Array:
    """Softmax over clusters of -|x - mu|^2 / beta: [n, d], [k, d] -> [n, k]."""
    return jax.nn.softmax(-_squared_distances(points, centers) / beta, axis=0).T


@partial(jax.jit, static_argnames="num_clusters")
def random_points(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """Distinct points [k, d], any with the same chance."""
    return jax.random.choice(key, points, (num_clusters,), replace=False)


@partial(jax.jit, static_argnames="num_clusters")
def random_means(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """Centres [k, d] of a random assignment in which every cluster has its share of the points."""
    labels = jax.random.permutation(key, jnp.arange(len(points)) % num_clusters)
    return _means(points, labels, jnp.zeros((num_clusters, points.shape[1]), points.dtype))


@partial(jax.jit, static_argnames="num_clusters")
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


def segment_images(
    images: jax.Array,
    num_clusters: int,
    key: jax.Array,
    method: Literal["kmeans", "soft_kmeans"] = "kmeans",
    position_weight: float = 0.0,
    *,
    beta: float = 0.1,
    num_iterations: int = 50,
) -> jax.Array:
    """Segments by the colour of the pixels alone, or colour and place: the baseline that learning has to beat.

    Every image is clustered on its own from a k-means++ start; the start depends on the key and the image's index only.

    Args:
      images: [b, h, w, 3] in [-1, 1].
      num_clusters: k, the most segments an image can have.
      method: "kmeans", or "soft_kmeans", whose segments are the likeliest clusters.
      position_weight: as in `pixel_points`.
      beta, num_iterations: as in `soft_kmeans`.

    Returns:
      int32 [b, h, w], ids in [0, num_clusters).

    Raises:
      UserError: images of another rank, an unknown method, or more clusters than pixels.
    """
    if images.ndim != 4:
        raise UserError(f"images of shape {tuple(images.shape)}: expected [b, h, w, c]")
    if method not in ("kmeans", "soft_kmeans"):
        raise UserError(f"method={method!r}: choose 'kmeans' or 'soft_kmeans'")

    def segment(image_and_index):
        image, index = image_and_index
        points = pixel_points(image, position_weight)
        image_key = jax.random.fold_in(key, index)
        if method == "kmeans":
            return kmeans(points, num_clusters, image_key, init="k-means++")[1]
        start = kmeans_plus_plus(points, num_clusters, image_key)
        _, weights = soft_kmeans(points, num_clusters, beta=beta, num_iterations=num_iterations, initial_centers=start)
        return weights.argmax(-1).astype(jnp.int32)

    # One after another rather than vmapped: a vmapped loop goes on for all images until the slowest has settled.
    segments = jax.lax.map(segment, (images.astype(jnp.float32), jnp.arange(len(images))))
    return segments.reshape(images.shape[:3])


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


@jax.jit
def _lloyd(points: jax.Array, centers: jax.Array) -> tuple[jax.Array, jax.Array]:
    def nearest(centers):
        return _squared_distances(points, centers).argmin(0).astype(jnp.int32)

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


@jax.jit
def _soften(points: jax.Array, centers: jax.Array, beta: float, num_iterations: int) -> tuple[jax.Array, jax.Array]:
    def iteration(_, centers):
        return _weighted_means(points, responsibilities(points, centers, beta).T, centers)

    centers = jax.lax.fori_loop(0, num_iterations, iteration, centers)
    return centers, responsibilities(points, centers, beta)


def _squared_distances(points: jax.Array, centers: jax.Array) -> jax.Array:
    """[k, n]: points lie along the last axis, where a few features at a time vectorise well."""
    if points.shape[1] <= FEW_FEATURES:
        squares = [(points[:, i] - centers[:, i, None]) ** 2 for i in range(points.shape[1])]
        return reduce(jnp.add, squares, jnp.zeros((len(centers), len(points))))
    # |x - mu|^2 = |x|^2 - 2 x.mu + |mu|^2 is one matrix product; about their mean, so that little cancels.
    mean = points.mean(0)
    points, centers = points - mean, centers - mean
    products = jnp.matmul(centers, points.T, precision="highest")
    return jnp.maximum((points**2).sum(-1) - 2 * products + (centers**2).sum(-1)[:, None], 0)


def _means(points: jax.Array, labels: jax.Array, centers: jax.Array) -> jax.Array:
    """The mean of every cluster's points; an empty one stays where it was."""
    return _weighted_means(points, jax.nn.one_hot(labels, len(centers), axis=0), centers)


def _weighted_means(points: jax.Array, weights: jax.Array, centers: jax.Array) -> jax.Array:
    """weights [k, n] -> centers [k, d]; without any weight a centre stays where it was."""
    total = weights.sum(-1, keepdims=True)
    sums = jnp.matmul(weights, points, precision="highest")
    return jnp.where(total > 0, sums / jnp.where(total > 0, total, 1), centers)


def _check(points, num_clusters: int, key, initial_centers) -> tuple[jax.Array, Any]:
    """Points and centres (or None) in float32, or a `UserError`."""
    if points.ndim != 2:
        raise UserError(f"points of shape {tuple(points.shape)}: expected [n, d]; see pixel_points for images")
    if not 1 <= num_clusters <= len(points):
        raise UserError(f"num_clusters={num_clusters}: must lie between 1 and the {len(points)} points")
    if initial_centers is None and key is None:
        raise UserError("key=None: pass a jax.random.key for the start, or initial_centers [k, d]")
    if initial_centers is not None:
        if initial_centers.shape != (num_clusters, points.shape[1]):
            shape = tuple(initial_centers.shape)
            raise UserError(f"initial_centers of shape {shape}: expected {(num_clusters, points.shape[1])}")
        initial_centers = jnp.asarray(initial_centers, jnp.float32)
    return jnp.asarray(points, jnp.float32), initial_centers
