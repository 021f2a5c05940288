"""Flat sprites: multi-dSprites in its three variants, and the small scenes of `configs/quick.py`."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.draw import Uniform
from slotjax.data.scenes.scene import Scene
from slotjax.errors import UserError

SHAPES = ("square", "ellipse", "heart")
VARIANTS = {  # objects a scene, as in Kabra et al., 2019, multi-object datasets
    "binarized": (2, 3),
    "colored_on_grayscale": (2, 5),
    "colored_on_colored": (1, 4),
}
PROPOSALS = 128  # placements tried at once


def multi_dsprites(
    key: jax.Array, *, variant: str = "colored_on_grayscale", resolution: tuple[int, int] = (64, 64)
) -> Scene:
    """Squares, ellipses and hearts of any size and angle that hide one another (Burgess et al., 2019, appendix).

    Args:
      variant: "binarized" (2 or 3 white sprites on black), "colored_on_grayscale" (2 to 5 sprites of uniform HSV
        colour on a uniform grey) or "colored_on_colored" (1 to 4 on a uniform HSV colour).
      resolution: height and width in pixels, equal; the original is 64 x 64.

    Returns:
      `Scene`; objects, back to front: shape (0 square, 1 ellipse, 2 heart), scale (0.5..1), orientation (radians), x
      and y (0..1, centre), color [3] (0..1), present. An object may be hidden by those in front of it.

    Raises:
      UserError: another variant, or a resolution that is no square of 16 to 1024 pixels a side.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant={variant!r}: multi_dsprites has {', '.join(VARIANTS)}")
    side = side_of(resolution)
    low, high = VARIANTS[variant]
    draw = Uniform(key, 10 * high + 5)
    shape = draw.integers((high,), 3)
    scale = 0.5 + 0.1 * draw.integers((high,), 6)
    angle = draw.floats((high,)) * 2 * jnp.pi
    centre = 0.2 + 0.6 * draw.floats((high, 2))
    color = hsv_to_rgb(draw.floats((high, 3)))
    background = hsv_to_rgb(draw.floats((3,)))
    grey = draw.floats(())
    count = low + draw.integers((), high + 1 - low)
    if variant == "binarized":
        color, background = jnp.ones((high, 3)), jnp.zeros(3)
    elif variant == "colored_on_grayscale":
        background = jnp.broadcast_to(grey, 3)
    # The sprite at scale 1 spans 30 of 64 pixels, as in dSprites.
    inside = sprite_masks(shape, centre, scale * 0.47 / 2, angle, side)
    return _compose(inside, color, background, count, shape=shape, scale=scale, orientation=angle, centre=centre)


def sprites(
    key: jax.Array,
    *,
    resolution: tuple[int, int] = (32, 32),
    min_objects: int = 2,
    max_objects: int = 4,
    background: str = "black",
) -> Scene:
    """Small scenes that a laptop can learn: discs, squares and triangles in two colours each, rim and core.

    Both colours come from the same four, drawn with replacement: sprites share colours, and one sprite has two, so that
    pixels cannot be told apart by colour. Sprites keep their centres apart and hide little of one another.

    Args:
      resolution: height and width in pixels, equal.
      min_objects, max_objects: the number of sprites is uniform between the two, at most 8.
      background: "black", or "colored" (any hue, dark).

    Returns:
      `Scene`; objects: shape (0 square, 1 disc, 2 triangle), scale (pixels from centre to edge), orientation
      (radians), x and y (0..1, centre), color and core [3] (0..1), present.

    Raises:
      UserError: an option out of range, or a resolution that is no square of 16 to 1024 pixels a side.
    """
    check_sprites(min_objects, max_objects, background)
    side, most = side_of(resolution), max_objects
    draw = Uniform(key, most * (5 + 2 * PROPOSALS) + 2)
    look = draw_look(draw, most)
    centre = apart(0.14 + 0.72 * draw.floats((PROPOSALS, most, 2)), 0.28)
    hue = draw.floats(())
    count = min_objects + draw.integers((), most + 1 - min_objects)
    return compose_sprites(look, centre, ground(hue, background), count, side)


def check_sprites(min_objects: int, max_objects: int, background: str) -> None:
    """Raises a `UserError` for options of `sprites` that are out of range."""
    if not 1 <= min_objects <= max_objects <= 8:
        raise UserError(
            f"min_objects={min_objects}, max_objects={max_objects}: need 1 <= min_objects <= max_objects <= 8"
        )
    if background not in ("colored", "black"):
        raise UserError(f"background={background!r}: choose 'colored' or 'black'")


class Look(NamedTuple):
    """How n small sprites look: shape, radius over the side, angle in rad [n], and both colours [n, 3]."""

    shape: jax.Array
    radius: jax.Array
    angle: jax.Array
    rim: jax.Array
    core: jax.Array


def draw_look(draw: Uniform, most: int) -> Look:
    """Draws small sprites, five numbers each."""
    shape = draw.integers((most,), 3)
    radius = 0.12 + 0.04 * draw.floats((most,))
    angle = draw.floats((most,)) * 2 * jnp.pi
    rim, core = (jnp.asarray(COLORS)[draw.integers((most,), len(COLORS))] for _ in range(2))
    return Look(shape, radius, angle, rim, core)


def ground(hue: jax.Array, background: str) -> jax.Array:
    """The colour behind small sprites, [3]."""
    return hsv_to_rgb(jnp.stack([hue, jnp.float32(0.5), jnp.float32(0.35)])) * (background == "colored")


def compose_sprites(look: Look, centre: jax.Array, dark: jax.Array, count: jax.Array, side: int) -> Scene:
    """Small sprites at centres [n, 2] (row, column, over the side)."""
    shape, radius, angle, rim, core = look
    attributes = {"shape": shape, "scale": radius * side, "orientation": angle, "centre": centre, "core": core}
    scene = _compose(_simple_masks(shape, centre, radius, angle, side), rim, dark, count, **attributes)
    cores = _simple_masks(shape, centre, radius * CORE, angle, side)
    own = jnp.take_along_axis(jnp.pad(cores, ((1, 0), (0, 0), (0, 0))), scene.segments[None], 0)[0]
    inner = jnp.concatenate([dark[None], core])[scene.segments] * 2 - 1
    return dataclasses.replace(scene, image=jnp.where(own[..., None], inner, scene.image))


COLORS = ((0.95, 0.2, 0.2), (0.2, 0.85, 0.25), (0.25, 0.35, 1.0), (1.0, 0.9, 0.2))
CORE = 0.55  # size of the core over the sprite's


def hsv_to_rgb(hsv: jax.Array) -> jax.Array:
    """[..., 3] hue, saturation, value in [0, 1] -> red, green, blue in [0, 1]."""
    hue, saturation, value = hsv[..., 0:1], hsv[..., 1:2], hsv[..., 2:3]
    wheel = jnp.abs((hue + jnp.array([1.0, 2 / 3, 1 / 3], jnp.float32)) % 1 * 6 - 3) - 1
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


def side_of(resolution: tuple[int, int]) -> int:
    height, width = resolution
    if height != width or not 16 <= height <= 1024:
        raise UserError(f"resolution={tuple(resolution)}: sprites are drawn on squares of 16 to 1024 pixels a side")
    return height


def apart(proposals: jax.Array, gap: float) -> jax.Array:
    """The first of the proposed centres [p, e, 2] that are all at least `gap` from one another, or the widest apart."""
    count = proposals.shape[1]
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
