"""The solids of the CLEVR scenes as one family of convex signed distances.

A cube with rounded edges, a sphere and a cylinder with rounded rims all are "everything within `rounding` of a core":
a cube of half extent 0.8, a point, a flat-topped cylinder of radius and half height 0.93. One formula covers all
three, so nothing branches on the shape. Along a ray the distance to a convex solid is a convex function; Newton's
method from outside therefore never oversteps the surface and settles in a few steps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.vectors import Vector, along, dot

CUBE, SPHERE, CYLINDER = range(3)
_ROUNDING = (0.2, 1.0, 0.07)  # of the half extent
_BOUND = (3**0.5 * 0.8 + 0.2, 1.0, 1.0)  # radius of the ball, for the cylinder of the tube, around the unit solid
_NEWTON_STEPS = 2
_LEAST_SLOPE = 1e-2
_TOLERANCE = 1e-2
_TINY = 1e-12


class Solids(NamedTuple):
    """Placed solids; every field has the same leading shape, [n] for a scene or one entry per ray.

    Attributes:
      x, y, z: centre, world units.
      scale: half extent, world units.
      cos, sin: of the rotation about the vertical axis.
      rounding: radius of the rounded edges as a part of the half extent.
      bound: radius of the ball (of the tube, for a cylinder) around the solid as a part of the half extent.
      round_section: whether the horizontal section is a disc (cylinder) instead of a square.
    """

    x: jax.Array
    y: jax.Array
    z: jax.Array
    scale: jax.Array
    cos: jax.Array
    sin: jax.Array
    rounding: jax.Array
    bound: jax.Array
    round_section: jax.Array


def solids(position: jax.Array, scale: jax.Array, shape: jax.Array, angle: jax.Array) -> Solids:
    """Places unit solids: `position` [n, 3], half extent `scale` [n], `shape` codes [n], `angle` about z [n] in rad."""
    return Solids(
        *position.T,
        scale,
        jnp.cos(angle),
        jnp.sin(angle),
        jnp.array(_ROUNDING)[shape],
        jnp.array(_BOUND)[shape],
        shape == CYLINDER,
    )


def _to_local(solid: Solids, vector: Vector) -> Vector:
    """A world vector in the solid's own frame, in units of its half extent."""
    x, y, z = vector
    inverse = 1.0 / solid.scale
    cos, sin = solid.cos * inverse, solid.sin * inverse
    return cos * x + sin * y, cos * y - sin * x, z * inverse


def _relative(solid: Solids, point: Vector) -> Vector:
    return _to_local(solid, (point[0] - solid.x, point[1] - solid.y, point[2] - solid.z))


def _distance(solid: Solids, point: Vector) -> tuple[jax.Array, Vector]:
    """Signed distance to the unit solid and its gradient outside the core, all in the local frame."""
    x, y, z = point
    core = 1.0 - solid.rounding
    disc = solid.round_section
    inverse_radius = jax.lax.rsqrt(x * x + y * y + _TINY)
    across = jnp.where(disc, (x * x + y * y) * inverse_radius, jnp.abs(x))
    excess = across - core, jnp.where(disc, -core, jnp.abs(y) - core), jnp.abs(z) - core
    out_x, out_y, out_z = (jnp.maximum(value, 0.0) for value in excess)
    squared = out_x * out_x + out_y * out_y + out_z * out_z
    inverse = jax.lax.rsqrt(squared + _TINY)
    inside = jnp.minimum(jnp.maximum(jnp.maximum(excess[0], excess[1]), excess[2]), 0.0)
    toward = out_x * inverse
    gradient = (
        jnp.where(disc, toward * x * inverse_radius, jnp.where(x < 0.0, -toward, toward)),
        jnp.where(disc, toward * y * inverse_radius, jnp.where(y < 0.0, -out_y, out_y) * inverse),
        jnp.where(z < 0.0, -out_z, out_z) * inverse,
    )
    return squared * inverse + inside - solid.rounding, gradient


def hit_distance(solid: Solids, origin: Vector, direction: Vector, newton_steps: int = _NEWTON_STEPS) -> jax.Array:
    """Distance along the unit `direction` from `origin` to the solid, infinite where the ray misses."""
    start, ray = _relative(solid, origin), _to_local(solid, direction)
    t, reached = _bounds_entry(solid, start, ray)
    for _ in range(newton_steps):
        t = jax.lax.stop_gradient(t)  # one step from a converged point has the exact derivative
        distance, gradient = _distance(solid, along(start, t, ray))
        slope = jnp.minimum(dot(gradient, ray), -_LEAST_SLOPE)
        t = t - distance / jax.lax.stop_gradient(slope)
    missed = distance > _TOLERANCE  # the last step still had to approach: the ray grazes by
    return jnp.where(reached & ~missed, t, jnp.inf)


def _bounds_entry(solid: Solids, start: Vector, ray: Vector) -> tuple[jax.Array, jax.Array]:
    """Where a local ray enters the unit cube and, for the rounder solids, the ball or upright tube inside it.

    Returns:
      a distance not beyond the solid's surface, and whether the ray enters all of them ahead of its start.
    """
    enter, leave = 0.0, jnp.inf
    for p, d in zip(start, ray, strict=True):
        inverse = 1.0 / jnp.where(jnp.abs(d) < _TINY, _TINY, d)
        near, far = (-1.0 - p) * inverse, (1.0 - p) * inverse
        enter, leave = jnp.maximum(enter, jnp.minimum(near, far)), jnp.minimum(leave, jnp.maximum(near, far))
    flat = jnp.where(solid.round_section, 0.0, 1.0)  # a tube leaves height out
    a = ray[0] * ray[0] + ray[1] * ray[1] + flat * ray[2] * ray[2] + _TINY
    b = ray[0] * start[0] + ray[1] * start[1] + flat * ray[2] * start[2]
    c = start[0] * start[0] + start[1] * start[1] + flat * start[2] * start[2] - solid.bound**2
    discriminant = b * b - a * c
    root = jnp.sqrt(jnp.maximum(discriminant, _TINY))
    enter, leave = jnp.maximum(enter, (-b - root) / a), jnp.minimum(leave, (root - b) / a)
    return enter, (discriminant > 0.0) & (enter < leave) & (enter > 0.0)


def first_hit(
    solid: Solids, origin: Vector, direction: Vector, skip: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Nearest of the solids [n] along unit rays, apart from the one each ray is told to skip (index [...]).

    Returns:
      distance [...], infinite where nothing is hit, and the solid's index, int32 [...], -1 where nothing is hit.
    """

    def nearer(best: tuple[jax.Array, jax.Array], indexed: tuple[jax.Array, Solids]):
        index, one = indexed
        t = hit_distance(one, origin, direction)
        closer = t < best[0] if skip is None else (t < best[0]) & (skip != index)
        return (jnp.where(closer, t, best[0]), jnp.where(closer, index, best[1])), None

    none = jnp.full_like(direction[0], jnp.inf), jnp.full(direction[0].shape, -1, jnp.int32)
    return jax.lax.scan(nearer, none, (jnp.arange(solid.x.shape[0], dtype=jnp.int32), solid))[0]


def normal(solid: Solids, point: Vector) -> Vector:
    """Outward unit normal in world coordinates at points of the surface."""
    _, (x, y, z) = _distance(solid, _relative(solid, point))
    return solid.cos * x - solid.sin * y, solid.sin * x + solid.cos * y, z


def clearance(solid: Solids, origin: Vector, direction: Vector) -> tuple[jax.Array, jax.Array]:
    """How far a ray passes from the solid, negative inside it, and how far along the ray that is; world units.

    Taken where the ray comes closest to the solid's centre.
    """
    start, ray = _relative(solid, origin), _to_local(solid, direction)
    t = jnp.maximum(-dot(start, ray) * solid.scale * solid.scale, 0.0)
    distance, _ = _distance(solid, along(start, t, ray))
    return distance * solid.scale, t
