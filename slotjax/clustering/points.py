"""Points as clustering takes them, on their own scale, and how far they lie from centres.

They are brought to their own spread, about the place where they lie, before they are cast to float32: neither a large
offset nor a tiny or huge scale costs digits. A point that is not finite is refused outside jit; inside, where values
are not known, it makes every centre NaN.
"""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.errors import UserError
from slotjax.system import arguments
from slotjax.system.arguments import Array

FEW_FEATURES = 8  # up to here distances are faster feature by feature than as a matrix product, and more exact


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


def standardized(points: Array) -> tuple[jax.Array, Units]:
    """The points inward, and the units that lead back."""
    return _standardize(points) if isinstance(points, np.ndarray) else _standardize_on_device(points)


def _standardize(points: Array) -> tuple[jax.Array, Units]:
    units = Units.of(points)
    return units.inward(points), units


_standardize_on_device = jax.jit(_standardize)


def squared_distances(points: jax.Array, centers: jax.Array) -> jax.Array:
    """[k, n]: points lie along the last axis, where a few features at a time vectorise well."""
    if points.shape[1] <= FEW_FEATURES:
        squares = [(points[:, i] - centers[:, i, None]) ** 2 for i in range(points.shape[1])]
        return reduce(jnp.add, squares)
    # |x - mu|^2 = |x|^2 - 2 x.mu + |mu|^2 is one matrix product; about their mean, so that little cancels.
    mean = points.mean(0)
    points, centers = points - mean, centers - mean
    products = jnp.matmul(centers, points.T, precision="highest")
    return jnp.maximum((points**2).sum(-1) - 2 * products + (centers**2).sum(-1)[:, None], 0)


def weighted_means(points: jax.Array, weights: jax.Array, centers: jax.Array) -> jax.Array:
    """weights [k, n] -> centers [k, d]; without any weight a centre stays where it was."""
    total = weights.sum(-1, keepdims=True)
    sums = jnp.matmul(weights, points, precision="highest")
    return jnp.where(total > 0, sums / jnp.where(total > 0, total, 1), centers)


def check(points: Any, num_clusters: Any, key: Any, initial_centers: Any = None) -> tuple[Any, int, Any]:
    """Points, number and centers (or None) as they should be, or a `UserError`."""
    points, num_clusters = as_points(points), arguments.whole("num_clusters", num_clusters)
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


def as_points(value: Any) -> Any:
    """NumPy's where they have more digits than a device may hold; all others JAX's, of at least 32 bits."""
    points = arguments.array("points", value)
    if points.ndim != 2 or points.size == 0:
        raise UserError(f"points of shape {points.shape}: expected [n, d], not empty; see pixel_points for images")
    arguments.finite("points", points)
    if isinstance(points, np.ndarray) and points.dtype.itemsize >= 8:
        return points
    return jnp.asarray(points, jnp.float32 if points.dtype.itemsize < 4 else None)
