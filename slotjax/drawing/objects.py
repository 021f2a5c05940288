"""Objects of a set drawn on the picture: center, colour, size, shape and material."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from slotjax.data.clevr_properties import ATTRIBUTES, COORDINATES, EXTENT, REAL, coordinates, targets
from slotjax.data.scenes.clevr_world.world import COLOR_BYTES, HALF_EXTENTS, SHAPES
from slotjax.drawing import slots

SIDE = 256  # small pictures are enlarged to at least so many rows
CONFIDENT = 0.5  # predictions below it are not drawn
# How far one scene's camera may stray from the mean of all: weak, but enough where a scene has few objects.
RIDGE = 0.1
CLOSEST = 1.0  # world units: nothing is drawn nearer to the camera


def sheet(images: np.ndarray, predictions: np.ndarray, objects: Mapping[str, Any]) -> np.ndarray:
    """One row for each image: the picture, and as `drawn` the true and the predicted objects on it; uint8 [h, w, 3]."""
    panels = zip(enlarged(images), *drawn(images, predictions, objects), strict=True)
    return slots.grid([list(map(slots.framed, row)) for row in panels], ("input", "true objects", "predicted objects"))


def drawn(images: np.ndarray, predictions: np.ndarray, objects: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The true objects and the predicted ones, each drawn on the pictures: uint8 [b, h, w, 3] twice.

    Squares are cubes, discs spheres, upright bars cylinders; metal has a white edge and a white dot, rubber a black
    edge. Size is the object's, as far away as it is said to be.

    Args:
      images: [b, h, w, 3] in [-1, 1].
      predictions: [b, k, 19].
      objects: the truth, with `picture_coords` and `pixel_coords`, from which the cameras are fitted.
    """
    objects = {name: np.asarray(values) for name, values in objects.items()}
    truth = np.asarray(targets(objects, objects["present"].shape[1]))
    canvases, cameras = enlarged(images), fit_cameras(objects)
    true, predicted = (
        np.stack([draw(*each) for each in zip(canvases, np.asarray(sets), cameras, strict=True)])
        for sets in (truth, predictions)
    )
    return true, predicted


def enlarged(images: np.ndarray) -> np.ndarray:
    """[b, h, w, 3] in [-1, 1] -> uint8, small ones with every pixel repeated until they have `SIDE` rows."""
    images = np.asarray(images)
    zoom = max(1, -(-SIDE // images.shape[1]))
    return slots.to_uint8(images).repeat(zoom, 1).repeat(zoom, 2)


def fit_cameras(objects: Mapping[str, np.ndarray]) -> np.ndarray:
    """The camera of every scene, from where its objects are in the world and in the picture; least squares.

    A camera is a matrix [4, 3] that takes (x, y, z, 1) to (column, row, 1) * depth, column and row in [0, 1] of the
    picture. As depth is known, the fit is linear: first one camera for all scenes, then each scene's own, which its
    objects may pull away from the common one.

    Returns:
      float64 [b, 4, 3]. They place objects to about a hundredth of the picture's side; no more is claimed.
    """
    present = objects["present"]
    depth = objects["pixel_coords"][..., 2:].astype(np.float64)
    seen = np.concatenate([objects["picture_coords"] * depth, depth], axis=-1) * present[..., None]
    points = np.asarray(coordinates(objects), np.float64)
    world = np.concatenate([points, np.ones_like(depth)], axis=-1) * present[..., None]
    common = np.linalg.lstsq(world.reshape(-1, 4), seen.reshape(-1, 3))[0]
    transposed = world.swapaxes(-1, -2)
    own = np.linalg.solve(transposed @ world + RIDGE * np.eye(4), transposed @ (seen - world @ common))
    return common + own


def project(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Column and row in [0, 1] of the picture of world points [n, 3]: float64 [n, 2]."""
    seen = np.concatenate([points, np.ones_like(points[:, :1])], axis=-1) @ camera
    return seen[:, :2] / np.maximum(seen[:, 2:], CLOSEST)


def draw(picture: np.ndarray, members: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """The picture uint8 [h, w, 3] with a marker for each confident member of the set [n, 19], far ones first."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    brush = ImageDraw.Draw(canvas)
    members = members[members[:, REAL] > CONFIDENT]
    points = members[:, COORDINATES].astype(np.float64) * EXTENT - EXTENT / 2
    codes = {name: members[:, part].argmax(-1) for name, part in ATTRIBUTES.items()}
    extent = np.array(HALF_EXTENTS)[codes["size"]]
    height, width = picture.shape[:2]
    centers = project(camera, points) * (width, height)
    tops = project(camera, points + extent[:, None] * np.array([0.0, 0.0, 1.0])) * (width, height)
    radii = np.linalg.norm(tops - centers, axis=-1)
    for i in np.argsort(centers[:, 1]):
        shape, metal = SHAPES[codes["shape"][i]], bool(codes["material"][i])
        _marker(brush, centers[i], radii[i], shape, COLOR_BYTES[codes["color"][i]], metal)
    return np.asarray(canvas)


def _marker(brush: Any, center: np.ndarray, radius: float, shape: str, colour: tuple, metal: bool) -> None:
    x, y = center
    wide = radius * (0.55 if shape == "cylinder" else 0.8)
    tall = radius * 0.8
    edge = (255, 255, 255) if metal else (0, 0, 0)
    outline = brush.ellipse if shape == "sphere" else brush.rectangle
    outline((x - wide, y - tall, x + wide, y + tall), fill=colour, outline=edge, width=2)
    if metal:
        brush.ellipse((x - 2, y - 2, x + 2, y + 2), fill=edge)
