"""What every scene family returns."""

import jax
from flax import struct


@struct.dataclass
class Scene:
    """One rendered scene with its exact segmentation.

    Attributes:
      image: float32 [h, w, 3] in [-1, 1].
      segments: int32 [h, w]; 0 is the background, id i is `objects` entry i - 1.
      objects: per-object arrays of leading length max_objects, among them `present` (bool [max_objects]);
        entries that are not present hold zeros.
    """

    image: jax.Array
    segments: jax.Array
    objects: dict[str, jax.Array]
