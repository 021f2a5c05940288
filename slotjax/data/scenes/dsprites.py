"""Flat sprites: multi-dSprites in its three variants, and the small scenes of `configs/quick.py`."""

import jax
import jax.numpy as jnp

from slotjax.data.scenes.scene import Scene
from slotjax.errors import UserError

SHAPES = ("square", "ellipse", "heart")
VARIANTS = {  # objects a scene, as in Kabra et al., 2019, multi-object datasets
    "binarized": (2, 3),
    "colored_on_grayscale": (2, 5),
    "colored_on_colored": (1, 4),
}
PROPOSALS = 32


def multi_dsprites(key: jax.Array, *, variant: str = "colored_on_grayscale", resolution: tuple[int, int] = (64, 64)) -> Scene:
    """Squares, ellipses and hearts of any size and angle that hide one another (Burgess et al., 2019, appendix).

    Args:
      variant: "binarized" (2 or 3 white sprites on black), "colored_on_grayscale" (2 to 5 sprites of uniform HSV
        colour on a uniform grey) or "colored_on_colored" (1 to 4 on a uniform HSV colour).
      resolution: height and width in pixels, equal; the original is 64 x 64.

    Returns:
      `Scene`; objects, back to front: shape (0 square, 1 ellipse, 2 heart), scale (0.5..1), orientation (radians), x
      and y (0..1, centre), color [3] (0..1), present. An object may be hidden by those in front of it.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant={variant!r}: multi_dsprites has {', '.join(VARIANTS)}")
    side = _side(resolution)
    low, high = VARIANTS[variant]
    keys = jax.random.split(key, 8)
    shape = jax.random.randint(keys[0], (high,), 0, 3)
    scale = 0.5 + 0.1 * jax.random.randint(keys[1], (high,), 0, 6)
    angle = jax.random.uniform(keys[2], (high,), maxval=2 * jnp.pi)
    centre = jax.random.uniform(keys[3], (high, 2), minval=0.2, maxval=0.8)
    color = _uniform_hsv(keys[4], high)
    background = _uniform_hsv(keys[5], 1)[0]
    if variant == "binarized":
        color, background = jnp.ones((high, 3)), jnp.zeros(3)
    elif variant == "colored_on_grayscale":
        background = jnp.broadcast_to(jax.random.uniform(keys[6]), 3)
    count = jax.random.randint(keys[7], (), low, high + 1)
    # The sprite at scale 1 spans 30 of 64 pixels, as in dSprites.
    inside = sprite_masks(shape, centre, scale * 0.47 / 2, angle, side)
    return _compose(inside, color, background, count, shape=shape, scale=scale, orientation=angle, centre=centre)


def sprites(
    key: jax.Array, *, resolution: tuple[int, int] = (32, 32), min_objects: int = 2, max_objects: int = 4
) -> Scene:
    """Small scenes that a laptop can learn: discs, squares and triangles that keep apart, on a coloured background.

    Six colours for at most four sprites, drawn with replacement, so that sprites often share one.

    Returns:
      `Scene`; objects: shape (0 square, 1 disc, 2 triangle), scale (pixels from centre to edge), orientation
      (radians), x and y (0..1), color [3] (0..1), present.
    """
    if not 1 <= min_objects <= max_objects <= 6:
        raise UserError(f"min_objects={min_objects}, max_objects={max_objects}: need 1 <= min_objects <= max_objects <= 6")
    side = _side(resolution)
    keys = jax.random.split(key, 7)
    shape = jax.random.randint(keys[0], (max_objects,), 0, 3)
    radius = jax.random.uniform(keys[1], (max_objects,), minval=0.11, maxval=0.15)
    angle = jax.random.uniform(keys[2], (max_objects,), maxval=2 * jnp.pi)
    centre = _apart(keys[3], max_objects, 0.34)
    color = jnp.asarray(PALETTE)[jax.random.randint(keys[4], (max_objects,), 0, len(PALETTE))]
    background = hsv_to_rgb(jnp.stack([jax.random.uniform(keys[5]), jnp.float32(0.5), jnp.float32(0.35)]))
    count = jax.random.randint(keys[6], (), min_objects, max_objects + 1)
    inside = _simple_masks(shape, centre, radius, angle, side)
    return _compose(inside, color, background, count, shape=shape, scale=radius * side, orientation=angle, centre=centre)


PALETTE = ((0.95, 0.2, 0.2), (0.2, 0.85, 0.25), (0.25, 0.35, 1.0), (1.0, 0.9, 0.2), (0.95, 0.3, 0.9), (0.2, 0.9, 0.95))


def hsv_to_rgb(hsv: jax.Array) -> jax.Array:
    """[..., 3] hue, saturation, value in [0, 1] -> red, green, blue in [0, 1]."""
    hue, saturation, value = hsv[..., 0:1], hsv[..., 1:2], hsv[..., 2:3]
    wheel = jnp.abs((hue + jnp.array([1.0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return value * (1 - saturation + saturation * jnp.clip(wheel, 0, 1))


def sprite_masks(shape, centre, radius, angle, side: int) -> jax.Array:
    """Which pixels lie inside each sprite: bool [e, r, r]; centre [e, 2] (row, column) and radius [e] over the side."""
    u, v = _local(centre, radius, angle, side)
    square = jnp.maximum(jnp.abs(u), jnp.abs(v)) < 0.71
    ellipse = (u / 0.62) ** 2 + v**2 < 1
    x, y = u / 0.8, v / 0.8 + 0.12
    heart = (x**2 + y**2 - 0.9) ** 3 < x**2 * y**3 * 1.6
    return jnp.stack([square, ellipse, heart])[shape, jnp.arange(len(shape))]


def _simple_masks(shape, centre, radius, angle, side: int) -> jax.Array:
    u, v = _local(centre, radius, angle, side)
    square = jnp.maximum(jnp.abs(u), jnp.abs(v)) < 0.9
    disc = u**2 + v**2 < 1
    triangle = jnp.maximum(jnp.abs(u) * 0.866 + v * 0.5, -v) < 0.62
    return jnp.stack([square, disc, triangle])[shape, jnp.arange(len(shape))]


def _local(centre, radius, angle, side: int):
    """Pixel centres in each sprite's own turned coordinates, where its radius is 1: two of [e, r, r]."""
    pixels = (jnp.arange(side) + 0.5) / side
    dy = (pixels[:, None] - centre[:, 0, None, None]) / radius[:, None, None]
    dx = (pixels[None, :] - centre[:, 1, None, None]) / radius[:, None, None]
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    return cos * dx + sin * dy, cos * dy - sin * dx


def _side(resolution: tuple[int, int]) -> int:
    height, width = resolution
    if height != width or not 16 <= height <= 1024:
        raise UserError(f"resolution={tuple(resolution)}: sprites are drawn on squares of 16 to 1024 pixels a side")
    return height


def _uniform_hsv(key: jax.Array, count: int) -> jax.Array:
    return hsv_to_rgb(jax.random.uniform(key, (count, 3)))


def _apart(key: jax.Array, count: int, gap: float) -> jax.Array:
    """Centres [count, 2] at least `gap` from one another, or the widest apart of the proposals."""
    proposals = jax.random.uniform(key, (PROPOSALS * 4, count, 2), minval=0.15, maxval=0.85)
    distance = jnp.linalg.norm(proposals[:, :, None] - proposals[:, None] + 1e-9, axis=-1) + 9 * jnp.eye(count)
    nearest = jnp.minimum(distance.min((1, 2)), gap)
    return proposals[nearest.argmax()]


def _compose(inside, color, background, count, *, centre, **attributes) -> Scene:
    """Later sprites hide earlier ones; those from `count` on are absent."""
    present = jnp.arange(len(color)) < count
    ids = jnp.where(inside & present[:, None, None], jnp.arange(1, len(color) + 1)[:, None, None], 0)
    segments = ids.max(0).astype(jnp.int32)
    palette = jnp.concatenate([background[None], color])
    objects = {**attributes, "color": color, "y": centre[:, 0], "x": centre[:, 1]}
    objects = {name: jnp.where(present.reshape(-1, *[1] * (x.ndim - 1)), x, 0) for name, x in objects.items()}
    return Scene(image=palette[segments] * 2 - 1, segments=segments, objects={**objects, "present": present})
