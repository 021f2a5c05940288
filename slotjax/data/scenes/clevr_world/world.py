"""What a CLEVR scene consists of before it is drawn: objects, camera, lamps; and the generator's code tables."""

import jax
import jax.numpy as jnp
from flax import struct

from slotjax.data.scenes.clevr_world import camera
from slotjax.data.scenes.clevr_world.shapes import Solids, solids
from slotjax.data.scenes.clevr_world.texture import Texture

# Codes are positions in these tuples, in the order of the TFDS data set `clevr`.
SIZES = ("small", "large")
HALF_EXTENTS = (0.35, 0.7)
MATERIALS = ("rubber", "metal")
SHAPES = ("cube", "sphere", "cylinder")
COLORS = ("gray", "blue", "brown", "yellow", "red", "green", "purple", "cyan")
COLOR_BYTES = (
    (87, 87, 87),
    (42, 75, 215),
    (129, 74, 25),
    (255, 238, 51),
    (173, 35, 35),
    (29, 105, 20),
    (129, 38, 192),
    (41, 208, 208),
)

LAMP_POSITIONS = ((6.4467, -2.9052, 4.2584), (-4.6711, -4.0136, 3.0112), (-1.1685, 2.6460, 5.8157))  # key, fill, back
LAMP_JITTER = 1.0  # uniform, to either side, in each coordinate


@struct.dataclass
class World:
    """A scene to be drawn. n is the capacity, not the number of objects; absent objects stand far below the ground.

    Attributes:
      position: float32 [n, 2], x and y on the ground.
      rotation: float32 [n], recorded in degrees, 0..360; the generator applies the number as radians.
      size, material, shape, color: int32 [n], codes in the tuples above.
      present: bool [n].
      camera: float32 [3], position; it looks at the origin.
      lamps: float32 [3, 3], positions of key, fill and back light; they look at the origin.
      texture: patterns of objects and ground, or None for the generator's plain colours.
    """

    position: jax.Array
    rotation: jax.Array
    size: jax.Array
    material: jax.Array
    shape: jax.Array
    color: jax.Array
    present: jax.Array
    camera: jax.Array
    lamps: jax.Array
    texture: Texture | None = None

    @property
    def half_extent(self) -> jax.Array:
        """World units, [n]."""
        return jnp.array(HALF_EXTENTS)[self.size]

    @property
    def center(self) -> jax.Array:
        """World coordinates [n, 3]; every object stands on the ground."""
        return jnp.concatenate([self.position, self.half_extent[:, None]], axis=1)

    @property
    def base_color(self) -> jax.Array:
        """Linear red, green, blue [n, 3]: the generator uses its sRGB bytes / 255 as they are."""
        return jnp.array(COLOR_BYTES)[self.color] / 255.0

    def solids(self) -> Solids:
        """The geometry; absent objects are moved out of every ray's way."""
        buried = jnp.array([0.0, 0.0, -1e3])
        return solids(
            jnp.where(self.present[:, None], self.center, buried), self.half_extent, self.shape, self.rotation
        )


def sample_lamps(key: jax.Array) -> jax.Array:
    """Draws the jittered lamp positions [3, 3]."""
    return jnp.array(LAMP_POSITIONS) + jax.random.uniform(
        key, (3, 3), jnp.float32, minval=-LAMP_JITTER, maxval=LAMP_JITTER
    )


def project_centers(world: World) -> jax.Array:
    """Column, row (240 x 320 frame) and depth of every object's centre, [n, 3]."""
    return camera.project(camera.look_at_origin(world.camera), world.center)
