"""Pictures of videos: frames side by side, and what was found in them below."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from slotjax.api import responsibilities
from slotjax.drawing.slots import colour_segments, framed, grid, matching_colours, to_uint8, zoomed
from slotjax.models import Output

MOST_FRAMES = 10  # of a strip; of longer videos so many, evenly spread


def sheet(videos: np.ndarray, out: Output, truth: np.ndarray | None = None, *, size: int = 64) -> np.ndarray:
    """For each video a row of its frames, one of what the slots draw, (one of the true objects,) and one of the
    segments by the responsibilities, uint8 [h, w, 3].

    A slot has the same colour in all frames: that of the object with which it shares most of the video.

    Args:
      videos: [b, t, h, w, 3] in [-1, 1]; truth: int [b, t, h, w].
      size: smaller frames are enlarged to at least so many pixels.
    """
    frames = np.unique(np.linspace(0, np.shape(videos)[1] - 1, MOST_FRAMES).round().astype(int))
    rows = [[[kind[t] for t in frames] for kind in kinds] for kinds in layers(videos, out, truth)]
    return grid(_framed([row for kinds in rows for row in kinds], size), [f"frame {t}" for t in frames])


def animation(
    videos: np.ndarray, out: Output, truth: np.ndarray | None = None, *, size: int = 64
) -> Iterator[np.ndarray]:
    """The same frame after frame, a column for each video: uint8 [h, w, 3]; arguments as of `sheet`."""
    columns = layers(videos, out, truth)
    for t in range(np.shape(videos)[1]):
        yield grid(_framed([[kind[t] for kind in kinds] for kinds in zip(*columns, strict=True)], size))


def layers(videos: np.ndarray, out: Output, truth: np.ndarray | None) -> list[list[np.ndarray]]:
    """For each video what its rows show, uint8 [t, h, w, 3] each."""
    videos = np.asarray(videos)
    target = jnp.asarray(videos) if out.target is None else out.target
    found = np.asarray(responsibilities(out, target)).argmax(-3)
    drawn, num_slots, shown = np.asarray(out.reconstruction), out.need("masks")[0].shape[-3], []
    for i, video in enumerate(videos):
        objects = None if truth is None else np.asarray(truth[i])
        palette = matching_colours(found[i], num_slots, objects)
        kinds = [to_uint8(video), to_uint8(drawn[i, ..., :3])]
        kinds += [] if objects is None else [colour_segments(objects, background=True)]
        shown.append([*kinds, palette[found[i]]])
    return shown


def _framed(rows: list[list[np.ndarray]], size: int) -> list[list[np.ndarray]]:
    zoom = -(-size // len(rows[0][0]))
    return [[framed(zoomed(panel, zoom)) for panel in row] for row in rows]
