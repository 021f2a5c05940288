"""The objects of CLEVR scenes as sets of numbers, whichever data set they come from.

An object is 19 numbers: its coordinates scaled to [0, 1], one-hot codes of its size, material, shape and colour in the
order of the TFDS data set `clevr`, and 1 for a real object. Padding is all zeros (Locatello et al., 2020, app. E.1).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from slotjax.data.scenes.clevr_world.world import COLORS, MATERIALS, SHAPES, SIZES

COORDINATES = slice(0, 3)
ATTRIBUTES = {"size": slice(3, 5), "material": slice(5, 7), "shape": slice(7, 10), "color": slice(10, 18)}
REAL = 18
NUM_PROPERTIES = 19
EXTENT = 6.0  # x and y are in [-3, 3]; the original scales z by the same rule

NAMES = {"size": SIZES, "material": MATERIALS, "shape": SHAPES, "color": COLORS}
# CLEVR-with-masks counts from 1 and, for sizes and colours, in another order.
RECORD_COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
RECORD_NAMES = {"size": ("large", "small"), "material": MATERIALS, "shape": SHAPES, "color": RECORD_COLORS}
_COORDINATE_FIELDS = (("3d_coords",), ("x", "y", "z"))


def missing(objects: Mapping[str, object]) -> list[str]:
    """The fields that `objects` would need and has not."""
    coordinates = min(([f for f in fields if f not in objects] for fields in _COORDINATE_FIELDS), key=len)
    return [name for name in ATTRIBUTES if name not in objects] + coordinates


def coordinates(objects: Mapping[str, Any]) -> jax.Array:
    """World coordinates [..., n, 3]."""
    if "3d_coords" in objects:
        return jnp.asarray(objects["3d_coords"])
    return jnp.stack([objects[axis] for axis in "xyz"], axis=-1)


def codes(objects: Mapping[str, Any], name: str) -> jax.Array:
    """The attribute `name` of every object in TFDS's order, int [..., n]; CLEVR-with-masks' codes are translated."""
    values = jnp.asarray(objects[name])
    if "3d_coords" in objects:
        return values
    table = jnp.array([0, *(NAMES[name].index(word) for word in RECORD_NAMES[name])])
    return table[values]


def targets(objects: Mapping[str, Any], count: int) -> jax.Array:
    """The sets to predict: objects with leading axes [b, n] -> float32 [b, count, 19], real objects first.

    `count` must not be below the number of objects in a scene: what is beyond it is cut off.
    """
    present = jnp.asarray(objects["present"])
    parts = [(coordinates(objects) + EXTENT / 2) / EXTENT]
    parts += [jax.nn.one_hot(codes(objects, name), len(NAMES[name])) for name in ATTRIBUTES]
    rows = jnp.concatenate([*parts, jnp.ones((*present.shape, 1))], axis=-1) * present[..., None]
    order = jnp.argsort(~present, axis=-1, stable=True)
    rows = jnp.take_along_axis(rows, order[..., None], axis=-2)[:, :count]
    return jnp.pad(rows, ((0, 0), (0, count - rows.shape[1]), (0, 0)))
