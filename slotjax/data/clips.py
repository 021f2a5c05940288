"""Clips: some frames in a row of a longer video, and what all readers of videos do with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slotjax.data.preprocess import resize_bilinear
from slotjax.errors import UserError


@dataclass(frozen=True)
class Clip:
    """`count` frames of a video of `length`, from `start` on."""

    length: int
    start: int
    count: int

    @classmethod
    def of(cls, length: int, count: int, generator: np.random.Generator | None, where: str) -> "Clip":
        """Drawn uniformly; without a generator the first frames.

        Raises:
          UserError: the video has too few frames; begins with `where`.
        """
        if length < count:
            raise UserError(
                f"{where} has {length} frames, fewer than the {count} asked for: lower data.num_frames or eval_frames"
            )
        start = 0 if generator is None else int(generator.integers(length - count + 1))
        return cls(length, start, count)

    @property
    def frames(self) -> slice:
        return slice(self.start, self.start + self.count)


def frames_of(config: Any, split: str) -> int:
    """How many frames an example of a split has, by `config.data`.

    Raises:
      UserError: it is not said.
    """
    count = (config.get("eval_frames") if split == "eval" else 0) or config.get("num_frames")
    if not count:
        raise UserError(f"data.num_frames=0: {config.get('name')} holds videos: say how many frames a clip has")
    return int(count)


def lengths_in(config: Any) -> str:
    """The fields that say how long clips are, the longest first, with their values."""
    asked = {f"data.{name}": config.get(name) or 0 for name in ("eval_frames", "num_frames")}
    return " and ".join(f"{name}={asked[name]}" for name in sorted(asked, key=lambda name: -asked[name]) if asked[name])


def check_frames(frames: Sequence[np.ndarray], name: str, start: int = 0) -> np.ndarray:
    """Frames of one size as one array [t, *].

    Args:
      name: the video, with which the error begins.
      start: the number of the first of them.

    Raises:
      UserError: a frame is of another size than the first.
    """
    height, width = frames[0].shape[:2]
    for number, frame in enumerate(frames, start):
        if frame.shape != frames[0].shape:
            other = f"{frame.shape[1]}x{frame.shape[0]}"
            raise UserError(
                f"{name}, frame {number} is {other}, but frame {start} {width}x{height}: make them one size"
            )
    return np.stack(frames)


def fit_flow(flow: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """Flow [t, h, w, 2] (row, column) in pixels at another resolution, and in its pixels; bilinear, as SAVi does."""
    scale = np.array(resolution, np.float32) / np.array(flow.shape[1:3], np.float32)
    return np.stack([resize_bilinear(frame, resolution) for frame in flow]) * scale
