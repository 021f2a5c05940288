"""How the discs of moving scenes go: straight on, slowed by friction, bouncing off walls and off each other.

States alone, in small steps; what a frame shows is drawn from them afterwards, all frames at once.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Discs(NamedTuple):
    """What does not change of n discs; lengths in the scene's own unit, times in frames.

    Attributes:
      radius, mass: [n].
      low, high: [n, 2], where each disc's centre may be; infinite for none.
      collide: bool [n, n], symmetric: which pairs bounce off each other; others pass over one another.
      restitution: relative speed after a collision over that before it, above 0 and at most 1.
      friction: speed that is lost in each frame, [n].
    """

    radius: jax.Array
    mass: jax.Array
    low: jax.Array
    high: jax.Array
    collide: jax.Array
    restitution: float = 1.0
    friction: jax.Array | float = 0.0


def glide(discs: Discs, position: jax.Array, velocity: jax.Array, *, num_steps: int, substeps: int) -> jax.Array:
    """Positions [num_steps * substeps + 1, n, 2] from the first ones [n, 2] on, velocities [n, 2] being per frame.

    Pairs that collide and start apart stay apart, and centres that start within their walls stay there.
    """
    move = partial(step, discs, duration=1 / substeps)
    start = position, velocity
    _, positions = jax.lax.scan(lambda state, _: (move(state), state[0]), start, length=num_steps * substeps + 1)
    return positions


def step(discs: Discs, state: tuple[jax.Array, jax.Array], duration: float) -> tuple[jax.Array, jax.Array]:
    """Positions and velocities [n, 2] a moment later.

    What would run into a wall or into another disc within the moment is turned back before it does. Each disc takes
    part in one collision at most, that with the disc it would cut into most, so that each is one of two bodies; where
    this leaves another, everything waits where it is, with the new velocities, for the next moment.
    """
    position, velocity = state
    inwards = jnp.where(position + velocity * duration > discs.high, -jnp.abs(velocity), velocity)
    inwards = jnp.where(position + velocity * duration < discs.low, jnp.abs(velocity), inwards)
    velocity = inwards + _impulses(discs, position, inwards, duration) / discs.mass[:, None]
    moved = position + velocity * duration
    leaving = ((moved > discs.high) & (velocity > 0)) | ((moved < discs.low) & (velocity < 0))
    free = ~jnp.any(_cuts(discs, position, velocity, duration) > 0) & ~jnp.any(leaving)
    speed = jnp.linalg.norm(velocity + 1e-12, axis=-1, keepdims=True)
    lost = jnp.reshape(jnp.asarray(discs.friction, jnp.float32), (-1, 1)) * duration
    return jnp.where(free, moved, position), velocity * jnp.maximum(1 - lost / speed, 0)


def _cuts(discs: Discs, position: jax.Array, velocity: jax.Array, duration: float) -> jax.Array:
    """By how much each pair [n, n] that comes closer would overlap after the moment; 0 where it would not."""
    offset, relative = position[:, None] - position, velocity[:, None] - velocity
    distance = jnp.linalg.norm(offset + relative * duration + 1e-12, axis=-1)
    closer = discs.collide & ((offset * relative).sum(-1) < 0)
    return jnp.where(closer, jnp.maximum(discs.radius[:, None] + discs.radius - distance, 0), 0)


def _impulses(discs: Discs, position: jax.Array, velocity: jax.Array, duration: float) -> jax.Array:
    """What the collisions of the moment give each disc, mass times change of velocity: [n, 2], which sum to 0."""
    cuts = _cuts(discs, position, velocity, duration)
    deepest = cuts.max(1)
    hit = (cuts > 0) & (cuts == deepest[:, None]) & (cuts == deepest)
    offset, relative = position[:, None] - position, velocity[:, None] - velocity
    normal = offset / jnp.linalg.norm(offset + 1e-12, axis=-1, keepdims=True)
    approach = -(normal * relative).sum(-1)
    reduced = discs.mass[:, None] * discs.mass / (discs.mass[:, None] + discs.mass)
    size = jnp.where(hit, (1 + discs.restitution) * reduced * approach, 0)
    return (size[..., None] * normal).sum(1)
