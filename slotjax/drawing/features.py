"""Features as pictures: what slots that draw features found, as if they had drawn the picture."""

import dataclasses

import jax
import numpy as np

from slotjax.api import masks_at
from slotjax.models import Output

REACH = 2.0  # deviations of a colour from its mean that are black and white


def in_pictures(out: Output, images: np.ndarray) -> Output:
    """`out` with masks at the images' size, and what can be looked at in place of features.

    Every slot's component is the picture itself, and target and reconstruction are features in colours. An output of
    slots that draw pictures stays as it is.

    Args:
      images: [b, h, w, 3] in [-1, 1], in which `out` was found.
    """
    if out.components is None or out.draws_pictures:
        return out
    images, (target, drawn) = np.asarray(images), map(np.asarray, out.need("target", "reconstruction"))
    masks = np.asarray(masks_at(out, images.shape[1:3]))
    components = np.broadcast_to(images[:, None], (*masks.shape, 3))
    target, drawn = (
        np.stack([_enlarged(colours(one, like), images.shape[1:3]) for one, like in zip(some, target, strict=True)])
        for some in (target, drawn)
    )
    logits = np.log(np.maximum(masks, np.finfo(np.float32).tiny))
    return dataclasses.replace(
        out, masks=masks, mask_logits=logits, components=components, target=target, reconstruction=drawn
    )


def colours(features: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Features [h, w, d] along the three main directions of `like` [n.., d], as red, green and blue in [-1, 1]."""
    points = like.reshape(-1, like.shape[-1])
    mean = points.mean(0)
    _, sizes, directions = np.linalg.svd(points - mean, full_matrices=False)
    deviations = np.maximum(sizes[:3] / np.sqrt(len(points)), np.finfo(np.float32).tiny)
    colour = (features - mean) @ directions[:3].T / (REACH * deviations)
    missing = 3 - colour.shape[-1]  # a picture of one or two tokens has fewer directions
    return np.clip(np.pad(colour, ((0, 0), (0, 0), (0, missing))), -1, 1).astype(np.float32)


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w, 3] -> [*size, 3], to the nearest: a token is a square."""
    return np.asarray(jax.image.resize(picture, (*size, picture.shape[-1]), "nearest"))
