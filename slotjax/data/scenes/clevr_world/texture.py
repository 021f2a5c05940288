"""Procedural materials for the objects and the ground of CLEVR scenes, after ClevrTex (Karazija et al., 2021).

A pattern is a function of a place in space that blends two colours: marble, a sum of waves each bent by those before
it; stripes; checks; dots. Where colours tell objects apart pixels teach enough; here they do not.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.vectors import Vector, dot

PATTERNS = ("marble", "stripes", "checks", "dots")
_WAVES = 4
_COUNTS = (3.0, 14.0)  # wave numbers, radians a world unit, log-uniform; a large object spans 1.4 units
_BEND = 2.0  # radians by which the earlier waves shift the next
_STEEP = (1.5, 6.0, 6.0, 6.0)  # how sharply a pattern goes from one colour to the other
_DOTS = 1.2  # of three: how much of space lies between dots
_COLORS = (0.03, 0.8)  # linear


class Texture(NamedTuple):
    """Patterns of n objects and, last, of the ground.

    Attributes:
      pattern: int32 [n + 1], codes in `PATTERNS`.
      waves: wave vectors [n + 1, waves, 3], radians a world unit; the first three are at right angles to each other.
      phase: [n + 1, waves], radians.
      first, second: the linear colours that are blended, [n + 1, 3].
    """

    pattern: jax.Array
    waves: jax.Array
    phase: jax.Array
    first: jax.Array
    second: jax.Array


def sample_texture(key: jax.Array, base_color: jax.Array) -> Texture:
    """Draws patterns for objects whose own linear colours are `base_color` [n, 3], and for the ground."""
    surfaces = base_color.shape[0] + 1
    keys = jax.random.split(key, 6)
    low, high = jnp.log(jnp.array(_COUNTS))
    counts = jnp.exp(jax.random.uniform(keys[0], (surfaces, _WAVES, 1), jnp.float32, minval=low, maxval=high))
    axes = _rotations(jax.random.normal(keys[1], (surfaces, 4), jnp.float32))
    bent = jax.random.normal(keys[2], (surfaces, 1, 3), jnp.float32)
    bent = bent / (jnp.linalg.norm(bent, axis=-1, keepdims=True) + 1e-6)
    least, most = _COLORS
    colors = jax.random.uniform(keys[3], (surfaces + 1, 3), jnp.float32, minval=least, maxval=most)
    return Texture(
        pattern=jax.random.randint(keys[4], (surfaces,), 0, len(PATTERNS)),
        waves=counts * jnp.concatenate([axes, bent], axis=1),
        phase=jax.random.uniform(keys[5], (surfaces, _WAVES), jnp.float32, maxval=2.0 * jnp.pi),
        first=jnp.concatenate([base_color, colors[:1]]),
        second=colors[1:],
    )


def textured_color(texture: Texture, point: Vector, index: jax.Array) -> Vector:
    """Linear colour at points of the surfaces with this index [...], -1 for the ground."""
    angles = []
    for wave in range(_WAVES):
        vector = tuple(texture.waves[:, wave, i][index] for i in range(3))
        angles.append(dot((vector[0], vector[1], vector[2]), point) + texture.phase[:, wave][index])
    marble = jnp.zeros_like(point[0])
    for angle in angles:
        marble = marble + jnp.cos(angle + _BEND * marble)
    one, two, three = (jnp.cos(angle) for angle in angles[:3])
    pattern = texture.pattern[index]
    value = jnp.select([pattern == i for i in range(3)], [marble, one, one * two], one + two + three - _DOTS)
    share = 0.5 + 0.5 * jnp.tanh(jnp.array(_STEEP)[pattern] * value)
    first, second = texture.first, texture.second
    red, green, blue = (first[:, c][index] * (1.0 - share) + second[:, c][index] * share for c in range(3))
    return red, green, blue


def _rotations(quaternions: jax.Array) -> jax.Array:
    """Quaternions [n, 4] of any length -> rotation matrices [n, 3, 3]."""
    w, x, y, z = jnp.moveaxis(quaternions / (jnp.linalg.norm(quaternions, axis=-1, keepdims=True) + 1e-6), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)
