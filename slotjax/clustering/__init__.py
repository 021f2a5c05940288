"""Where Slot Attention comes from: k-means, and soft k-means, whose loop it makes learnable.

Of NumPy points with 64 bits the centers come back as NumPy's float64, all others are JAX's. All functions can be jitted
and vmapped.
"""

from slotjax.clustering.hard import kmeans, kmeans_plus_plus
from slotjax.clustering.merging import merge
from slotjax.clustering.pixels import pixel_points, segment_images
from slotjax.clustering.soft import responsibilities, soft_kmeans

__all__ = ["kmeans", "kmeans_plus_plus", "merge", "pixel_points", "responsibilities", "segment_images", "soft_kmeans"]
