"""Pictures segmented by clustering their pixels: the baseline that learning has to beat."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.clustering.hard import kmeans, kmeans_plus_plus
from slotjax.clustering.soft import soft_kmeans
from slotjax.errors import UserError
from slotjax.system import arguments
from slotjax.system.arguments import Array

MOST_LEVEL = 10.0  # pictures with values beyond are of other units than [-1, 1], however noisy


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
