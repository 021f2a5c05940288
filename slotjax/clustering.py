"""Where Slot Attention comes from: k-means, and soft k-means, whose loop it makes learnable.

Points are brought to their own spread, about the place where they lie, before they are cast to float32: neither a large
offset nor a tiny or huge scale costs digits. Of NumPy points with 64 bits the centers come back as NumPy's float64, all
others are JAX's. All functions can be jitted and vmapped. A point that is not finite is refused outside jit; inside,
where values are not known, it makes every centre NaN.
"""

import math
from functools import partial, reduce
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.errors import UserError
from slotjax.system import arguments
from slotjax.system.arguments import Array

MAX_ITERATIONS = 300
FEW_FEATURES = 8  # up to here distances are faster feature by feature than as a matrix product, and more exact
MOST_LEVEL = 10.0  # pictures with values beyond are of other units than [-1, 1], however noisy


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
    points, num_clusters, initial_centers = _check(points, num_clusters, key, initial_centers)
    if init not in ("random", "k-means++"):
        raise UserError(f"init={init!r}: choose 'random' or 'k-means++'")
    scaled, units = _standardized(points)
    if initial_centers is not None:
        start = units.inward(initial_centers)
    elif init == "random":
        start = _random_means(scaled, num_clusters, key)
    else:
        start = scaled[_spread_out(scaled, num_clusters, key)]
    centers, labels = _lloyd(scaled, start)
    return units.outward(centers), labels


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
    points, num_clusters, initial_centers = _check(points, num_clusters, key, initial_centers)
    root = _root(beta)
    if not isinstance(num_iterations, Tracer):
        num_iterations = arguments.whole("num_iterations", num_iterations)
    scaled, units = _standardized(points)
    start = _random_points(scaled, num_clusters, key) if initial_centers is None else units.inward(initial_centers)
    centers, weights = _soften(scaled, start, units.softness(root), num_iterations)
    return units.outward(centers), weights


def responsibilities(points: Array, centers: Array, beta: float) -> jax.Array:
    """Softmax over clusters of -|x - mu|^2 / beta: [n, d], [k, d] -> float32 [n, k]."""
    points, centers = _points(points), arguments.array("centers", centers)
    if centers.ndim != 2 or not len(centers) or centers.shape[1] != points.shape[1]:
        raise UserError(f"centers of shape {centers.shape}: expected [k, {points.shape[1]}]")
    arguments.finite("centers", centers)
    root = _root(beta)
    scaled, units = _standardized(points)
    return _responsibilities(scaled, units.inward(centers), units.softness(root)).T


def kmeans_plus_plus(points: Array, num_clusters: int, key: jax.Array) -> Array:
    """Points [k, d], each drawn in proportion to its squared distance from those already drawn.

    Points that coincide are drawn only when no other ones are left.
    """
    points, num_clusters, _ = _check(points, num_clusters, key)
    chosen = _spread_out(_standardized(points)[0], num_clusters, key)
    known = isinstance(points, np.ndarray) and not isinstance(chosen, Tracer)
    return points[np.asarray(chosen)] if known else jnp.asarray(points)[chosen]


def segment_images(
    images: Array,
    num_clusters: int,
    key: jax.Array,
    method: Literal["kmeans", "soft_kmeans"] = "kmeans",
    position_weight: float = 0.0,
    *,
    beta: float = 0.03,
    num_iterations: int = 50,
) -> jax.Array:
    """Segments by the colour of the pixels alone, or colour and place: the baseline that learning has to beat.

    Every image is clustered on its own from a k-means++ start; the start depends on the key and the image's index only.

    Args:
      images: [b, h, w, 3] in [-1, 1].
      num_clusters: k, the most segments an image can have.
      method: "kmeans", or "soft_kmeans", whose segments are the likeliest clusters.
      position_weight: as in `pixel_points`.
      beta, num_iterations: as in `soft_kmeans`. Where few flat colours lie far apart, as in `sprites`, both methods
        agree at any beta up to 0.3. Where shades run into one another, as in `clevr`, soft clusters merge: of 7, some 6
        are left at 0.03, and foreground mIoU falls from 0.39 to 0.33; at 0.1 it is 4, and 0.13.

    Returns:
      int32 [b, h, w], ids in [0, num_clusters).

    Raises:
      UserError: images of another rank or range, an unknown method, or more clusters than pixels.
    """
    images = _images(images)
    if images.ndim != 4:
        raise UserError(f"images of shape {images.shape}: expected [b, h, w, c]; one picture is images[None]")
    if method not in ("kmeans", "soft_kmeans"):
        raise UserError(f"method={method!r}: choose 'kmeans' or 'soft_kmeans'")
    arguments.key("key", key)

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
    segments = jax.lax.map(segment, (jnp.asarray(images, jnp.float32), jnp.arange(len(images), dtype=jnp.int32)))
    return segments.reshape(images.shape[:3])


def pixel_points(images: Array, position_weight: float = 0.0) -> jax.Array:
    """Pixels as points: [..., h, w, 3] in [-1, 1] -> [..., h * w, 3 or 5].

    With a `position_weight` above 0, row and column in [-1, 1] times that weight stand behind the colour.
    """
    images, position_weight = _images(images), arguments.number("position_weight", position_weight)
    *batch, height, width, channels = images.shape
    points = jnp.asarray(images).reshape(*batch, height * width, channels)
    if position_weight == 0:
        return points
    axes = (jnp.linspace(-1, 1, size, dtype=jnp.float32) for size in (height, width))
    place = position_weight * jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    return jnp.concatenate([points, jnp.broadcast_to(place, (*batch, height * width, 2)).astype(points.dtype)], -1)


class Units(NamedTuple):
    """Where points lie and how far they reach: `inward` they are float32 about 0, `outward` as the caller has them.

    Attributes:
      shift: [d], the place nearest to 0 among the points, so that no difference from it is rounded more than a point.
      scale: about the largest difference; a power of two, which rounds nothing.
    """

    shift: Any
    scale: Any

    @classmethod
    def of(cls, points: Array) -> "Units":
        xp = np if isinstance(points, np.ndarray) else jnp
        low, high = points.min(0), points.max(0)
        shift = xp.clip(0, low, high)
        reach = xp.maximum(high - shift, shift - low).max() * 1.0
        reach = xp.where(reach == 0, 1, reach)
        return cls(shift, reach / (2 * xp.frexp(reach)[0]))

    def inward(self, points: Array) -> jax.Array:
        # A start may lie far outside: squares of what is clipped are still finite.
        return jnp.asarray(((points - self.shift) / self.scale).clip(-1e15, 1e15).astype(jnp.float32))

    def outward(self, points: Any) -> Any:
        if isinstance(self.shift, np.ndarray) and not isinstance(points, Tracer):
            points = np.asarray(points, np.float64)
        return points * self.scale + self.shift

    def softness(self, root: Any) -> jax.Array:
        """beta inward, of which the root is given: squares of units, like its own, may leave float32's range."""
        return jnp.asarray((root / self.scale).clip(2e-19, 1e19), jnp.float32) ** 2


def _standardized(points: Array) -> tuple[jax.Array, Units]:
    """The points inward, and the units that lead back."""
    return _standardize(points) if isinstance(points, np.ndarray) else _standardize_on_device(points)


def _standardize(points: Array) -> tuple[jax.Array, Units]:
    units = Units.of(points)
    return units.inward(points), units


_standardize_on_device = jax.jit(_standardize)


@partial(jax.jit, static_argnames="num_clusters")
def _random_points(points: jax.Array, num_clusters: int, key: jax.Array) -> jax.Array:
    """Distinct points [k, d], any with the same chance."""
    return jax.random.choice(key, points, (num_clusters,), replace=False)


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
        return _squared_distances(points, centers).argmin(0).astype(jnp.int32)

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


@jax.jit
def _soften(points: jax.Array, centers: jax.Array, beta: jax.Array, num_iterations: int) -> tuple[jax.Array, jax.Array]:
    def iteration(_, centers):
        return _weighted_means(points, _responsibilities(points, centers, beta), centers)

    centers = jax.lax.fori_loop(0, num_iterations, iteration, centers)
    return centers, _responsibilities(points, centers, beta).T


@jax.jit
def _responsibilities(points: jax.Array, centers: jax.Array, beta: jax.Array) -> jax.Array:
    """[k, n]."""
    distances = _squared_distances(points, centers)
    # The nearest center has a share of 1 before they are divided by their sum, so that nothing overflows; it is written
    # down, as XLA computes distances twice and may round them differently, by more than beta where centers lie far off.
    nearest = jnp.arange(len(centers), dtype=jnp.int32)[:, None] == distances.argmin(0)
    shares = jnp.where(nearest, 1, jnp.exp(jnp.minimum((distances.min(0) - distances) / beta, 0)))
    return shares / shares.sum(0)


def _squared_distances(points: jax.Array, centers: jax.Array) -> jax.Array:
    """[k, n]: points lie along the last axis, where a few features at a time vectorise well."""
    if points.shape[1] <= FEW_FEATURES:
        squares = [(points[:, i] - centers[:, i, None]) ** 2 for i in range(points.shape[1])]
        return reduce(jnp.add, squares)
    # |x - mu|^2 = |x|^2 - 2 x.mu + |mu|^2 is one matrix product; about their mean, so that little cancels.
    mean = points.mean(0)
    points, centers = points - mean, centers - mean
    products = jnp.matmul(centers, points.T, precision="highest")
    return jnp.maximum((points**2).sum(-1) - 2 * products + (centers**2).sum(-1)[:, None], 0)


def _means(points: jax.Array, labels: jax.Array, centers: jax.Array) -> jax.Array:
    """The mean of every cluster's points; an empty one stays where it was."""
    return _weighted_means(points, jax.nn.one_hot(labels, len(centers), axis=0, dtype=jnp.float32), centers)


def _weighted_means(points: jax.Array, weights: jax.Array, centers: jax.Array) -> jax.Array:
    """weights [k, n] -> centers [k, d]; without any weight a centre stays where it was."""
    total = weights.sum(-1, keepdims=True)
    sums = jnp.matmul(weights, points, precision="highest")
    return jnp.where(total > 0, sums / jnp.where(total > 0, total, 1), centers)


def _check(points: Any, num_clusters: Any, key: Any, initial_centers: Any = None) -> tuple[Any, int, Any]:
    """Points, number and centers (or None) as they should be, or a `UserError`."""
    points, num_clusters = _points(points), arguments.whole("num_clusters", num_clusters)
    if num_clusters > len(points):
        raise UserError(f"num_clusters={num_clusters}: must lie between 1 and the {len(points)} points")
    if initial_centers is not None:
        initial_centers = arguments.array("initial_centers", initial_centers)
        expected = (num_clusters, points.shape[1])
        if initial_centers.shape != expected:
            raise UserError(f"initial_centers of shape {initial_centers.shape}: expected {expected}")
        arguments.finite("initial_centers", initial_centers)
    elif key is None:
        raise UserError("key=None: pass a jax.random.key for the start, or initial_centers [k, d]")
    else:
        arguments.key("key", key)
    return points, num_clusters, initial_centers


def _points(value: Any) -> Any:
    """NumPy's where they have more digits than a device may hold; all others JAX's, of at least 32 bits."""
    points = arguments.array("points", value)
    if points.ndim != 2 or points.size == 0:
        raise UserError(f"points of shape {points.shape}: expected [n, d], not empty; see pixel_points for images")
    arguments.finite("points", points)
    if isinstance(points, np.ndarray) and points.dtype.itemsize >= 8:
        return points
    return jnp.asarray(points, jnp.float32 if points.dtype.itemsize < 4 else None)


def _images(value: Any) -> Any:
    remedy = "expected floats in [-1, 1]; bytes are brought there by x / 127.5 - 1"
    images = arguments.floats("images", value, remedy)
    if images.ndim < 3 or images.shape[-1] == 0:
        raise UserError(f"images of shape {images.shape}: expected [..., h, w, c]")
    arguments.finite("images", images)
    level = 0 if isinstance(images, Tracer) else np.abs(np.asarray(images)).max(initial=0)
    if level > MOST_LEVEL:
        raise UserError(f"images with values up to {level:g}: {remedy}")
    return images


def _root(beta: Any) -> Any:
    """The square root of a beta that is checked unless it is traced."""
    return jnp.sqrt(beta) if isinstance(beta, Tracer) else math.sqrt(arguments.number("beta", beta, open_below=True))
