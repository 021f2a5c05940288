"""Procedural patterns for the objects and the ground of CLEVR scenes, after ClevrTex (Karazija et al., 2021).

Plain colours are what slot models overfit to. A pattern is a sum of a few waves through space, each bent by the ones
before it, which looks like marble or grain; it blends a surface's own colour with a second, random one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.vectors import Vector

_WAVES = 4
_COUNTS = (1.5, 9.0)  # wave numbers, radians per world unit, log-uniform
_BEND = 2.0  # radians by which the earlier waves shift the next


class Texture(NamedTuple):
    """Patterns of n objects and, last, of the ground.

    Attributes:
      waves: wave vectors [n + 1, waves, 3], radians per world unit.
      phase: [n + 1, waves], radians.
      first, second: the linear colours that are blended, [n + 1, 3].
    """

    waves: jax.Array
    phase: jax.Array
    first: jax.Array
    second: jax.Array


def sample_texture(key: jax.Array, base_color: jax.Array) -> Texture:
    """Draws patterns for objects whose own linear colours are `base_color` [n, 3], and for the ground."""
    surfaces = base_color.shape[0] + 1
    keys = jax.random.split(key, 5)
    low, high = jnp.log(jnp.array(_COUNTS))
    lengths = jnp.exp(jax.random.uniform(keys[0], (surfaces, _WAVES, 1), minval=low, maxval=high))
    directions = jax.random.normal(keys[1], (surfaces, _WAVES, 3))
    colors = jax.random.uniform(keys[3], (surfaces, 3), minval=0.05, maxval=0.9)
    return Texture(
        waves=lengths * directions / (jnp.linalg.norm(directions, axis=-1, keepdims=True) + 1e-6),
        phase=jax.random.uniform(keys[2], (surfaces, _WAVES), maxval=2.0 * jnp.pi),
        first=jnp.concatenate([base_color, jax.random.uniform(keys[4], (1, 3), minval=0.1, maxval=0.9)]),
        second=colors,
    )


def textured_color(texture: Texture, point: Vector, index: jax.Array) -> Vector:
    """Linear colour at points of the surfaces with this index [...], -1 for the ground."""
    total = jnp.zeros_like(point[0])
    for wave in range(_WAVES):
        vectors, phase = texture.waves[:, wave], texture.phase[:, wave]
        angle = sum(vectors[:, i][index] * point[i] for i in range(3))
        total = total + jnp.cos(angle + phase[index] + _BEND * total)
    share = 0.5 + 0.5 * jnp.tanh(1.5 * total)
    first, second = texture.first, texture.second
    red, green, blue = (first[:, c][index] * (1.0 - share) + second[:, c][index] * share for c in range(3))
    return red, green, blue
