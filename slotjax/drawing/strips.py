"""Pictures of videos: frames side by side, and what was found in them below."""

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
    videos, zoom = np.asarray(videos), -(-size // videos.shape[2])
    target = jnp.asarray(videos) if out.target is None else out.target
    found = np.asarray(responsibilities(out, target)).argmax(-3)
    drawn, num_slots, rows = np.asarray(out.reconstruction), out.need("masks")[0].shape[-3], []
    frames = np.unique(np.linspace(0, videos.shape[1] - 1, MOST_FRAMES).round().astype(int))
    for i, video in enumerate(videos):
        objects = None if truth is None else np.asarray(truth[i])
        palette = matching_colours(found[i], num_slots, objects)
        kinds = [to_uint8(video), to_uint8(drawn[i, ..., :3])]
        kinds += [] if objects is None else [colour_segments(objects, background=True)]
        kinds += [palette[found[i]]]
        rows += [[framed(zoomed(kind[t], zoom)) for t in frames] for kind in kinds]
    return grid(rows, [f"frame {t}" for t in frames])
