"""MOVi-A to E (Kubric, Greff et al., 2022) as TFDS stores them, in TFRecord or ArrayRecord files.

Numbers are stored in 16 bits with the range of each video, value = stored / 65535 * (max - min) + min. Optical flow is
(row, column) in pixels: `flow` is the way of what is seen at a pixel until the next frame; `backward_flow` is its way
from the frame before, so that both have the same sign for a steady motion.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data.clips import Clip, check_frames, fit_flow, frames_of
from slotjax.data.crops import random_window
from slotjax.data.pictures import kept_box, unpack
from slotjax.data.preprocess import Window, resize_bilinear, to_input, to_segments
from slotjax.data.records import Records
from slotjax.data.stored.base import DEFAULT_EVAL_IMAGES, Key, Stored, centered_of, counts_of, path_of
from slotjax.data.tf_example import Features
from slotjax.errors import UserError

MOST_OBJECTS = 23  # of any MOVi: 20 that stand and 3 that are thrown
_FLOWS = {"flow": "forward_flow", "backward_flow": "backward_flow"}
_AGAIN = "copy or download it again"


def open_split(config: Any, resolution: tuple[int, int], split: str) -> "Movi":
    return Movi(
        path_of(config),
        {"train": "train", "eval": "validation"}[split],
        resolution,
        frames_of(config, split),
        crop=centered_of(config),
        augment=config.get("augment") == "crop",
        max_objects=config.get("max_objects") or None,
        limit=(config.get("eval_images") or DEFAULT_EVAL_IMAGES) if split == "eval" else None,
    )


class Movi(Stored):
    """Clips of one split's videos: in training so many frames from a random one on, in evaluation the first.

    An example has `image` float32 [t, h, w, 3] in [-1, 1] and, where the set has them, `segments` int32 [t, h, w]
    (id i is object i - 1; ids beyond the objects are background), `flow` and `backward_flow` float32 [t, h, w, 2] in
    pixels of this resolution, `depth` float32 [t, h, w, 1] (distance to the camera, in the set's units), `boxes`
    float32 [t, k, 4] (ymin, xmin, ymax, xmax in 0..1; -1 where the object is not seen) and `objects`: `present` bool
    and `visibility` int32 [t, k], the stored number of pixels.

    Args:
      path: the folder of the prepared data set, or one above it.
      split: "train", "validation" or "test".
      num_frames: of a clip.
      crop: keep the largest centred part of the target's proportions (all of MOVi's, which is square); else squash.
      augment: in training keep a random part in its place (`slotjax.data.crops`), and squash it.
      max_objects: keep the videos with at most so many objects, and be so large, k; None: all, and 23.
      limit: keep the first so many of those.
    """

    def __init__(
        self,
        path: Path,
        split: str,
        resolution: tuple[int, int],
        num_frames: int,
        *,
        crop: bool = True,
        augment: bool = False,
        max_objects: int | None = None,
        limit: int | None = None,
    ):
        self._records, self._resolution, self._num_frames = Records(path, split), resolution, num_frames
        self._crop, self._augment = crop, augment
        self.max_objects = self._most = max_objects or MOST_OBJECTS
        self._indices = np.arange(len(self._records))
        if max_objects:
            where = self._records.directory / f"movi-{split}"
            self._indices = np.flatnonzero(counts_of(where, split, len(self._records), self._count) <= max_objects)
        self._indices = self._indices[:limit]
        if not len(self._indices):
            which = f"video of split {split!r}" + f" with at most {max_objects} objects" * bool(max_objects)
            raise UserError(f"{self._records.directory} holds no {which}: raise data.max_objects, or check data.path")
        self.has_segments = "segmentations" in self._features(0)[1]
        self[0]  # so that videos that are too short, or of another set, are refused now

    def __len__(self) -> int:
        return len(self._indices)

    def example(self, index: int, key: Key | None) -> dict:
        where, features = self._features(index)
        frames = features.strings("video")
        generator = key and key.generator()
        clip = Clip.of(len(frames), self._num_frames, generator, where)
        video = _layer(frames, clip, f"{where}: video", ("RGB",))
        window = top, bottom, left, right = self._window(*video.shape[1:3], generator)
        example: dict = {"image": np.stack([to_input(frame, window, self._resolution) for frame in video])}
        known = self._most
        if "metadata/num_instances" in features:
            known = min(known, _count(features, where))
            example |= self._objects(features, len(frames), clip, where)
            example["boxes"] = _in_window(example["boxes"], window, video.shape[1:3])
        if self.has_segments:
            ids = _layer(features.strings("segmentations"), clip, f"{where}: segmentations", ("L",))
            _same_size(ids, video, f"{where}: segmentations")
            ids = np.where(ids > known, 0, ids)
            example["segments"] = np.stack([to_segments(frame, window, self._resolution) for frame in ids])
        for name, stored in _FLOWS.items():
            if stored in features:
                flow = _numbers(features, stored, (len(frames), *video.shape[1:3], 2), clip, where)
                example[name] = fit_flow(flow[:, top:bottom, left:right], self._resolution)
        if "depth" in features:
            low, high = _range(features, "depth", where)
            depth = _layer(features.strings("depth"), clip, f"{where}: depth", ("I;16", "I;16B", "I"))
            _same_size(depth, video, f"{where}: depth")
            depth = depth[:, top:bottom, left:right, None].astype(np.float32) / np.float32(65535) * (high - low) + low
            example["depth"] = np.stack([resize_bilinear(frame, self._resolution) for frame in depth])
        return example

    def _window(self, height: int, width: int, generator: np.random.Generator | None) -> Window:
        """The part of the frames that is kept."""
        if generator is not None and self._augment:
            return random_window(height, width, generator)
        left, top, right, bottom = kept_box((width, height), self._resolution[::-1], self._crop)
        return round(top), round(bottom), round(left), round(right)

    def _features(self, index: int) -> tuple[str, Features]:
        where, record = self._records[int(self._indices[index])]
        return where, Features(record, where)

    def _objects(self, features: Features, length: int, clip: Clip, where: str) -> dict:
        """`boxes` and `objects` of a clip, padded to, or cut off at, `max_objects`."""
        count = _count(features, where)
        visibility = np.zeros((length, self._most), np.int32)
        boxes = np.full((length, self._most, 4), -1, np.float32)
        kept = min(count, self._most)
        try:
            if "instances/visibility" in features:
                visibility[:, :kept] = features.integers("instances/visibility").reshape(count, length).T[:, :kept]
            if "instances/bboxes/ragged_flat_values" in features:
                corners = features.floats("instances/bboxes/ragged_flat_values").reshape(-1, 4)
                seen = features.integers("instances/bbox_frames/ragged_flat_values")
                lengths = features.integers("instances/bbox_frames/ragged_row_lengths_0")
                owner = np.repeat(np.arange(count), lengths)
                inside = owner < kept
                boxes[seen[inside], owner[inside]] = corners[inside]
        except (ValueError, IndexError) as error:
            raise UserError(f"{where}: the instances do not fit together ({error}): {_AGAIN}") from None
        present = np.broadcast_to(np.arange(self._most) < count, visibility.shape)
        return {
            "boxes": boxes[clip.frames],
            "objects": {"present": present[clip.frames], "visibility": visibility[clip.frames]},
        }

    def _count(self, record: int) -> int:
        where, content = self._records[record]
        return _count(Features(content, where), where)


def _in_window(boxes: np.ndarray, window: Window, size: tuple[int, ...]) -> np.ndarray:
    """Boxes [t, k, 4] over the frame's sides as boxes over the window's; -1 for those of which nothing is left."""
    top, bottom, left, right = window
    corner, sides = np.array([top, left] * 2, np.float32), np.array([bottom - top, right - left] * 2, np.float32)
    cut = np.clip((boxes * np.array([*size, *size], np.float32) - corner) / sides, 0, 1)
    gone = (cut[..., 2:] <= cut[..., :2]).any(-1) | (boxes < 0).any(-1)
    return np.where(gone[..., None], np.float32(-1), cut)


def _count(features: Features, where: str) -> int:
    count = features.integers("metadata/num_instances")
    if len(count) != 1 or not 0 <= count[0] < 2**16:
        raise UserError(f"{where}: metadata/num_instances is no number of objects: {_AGAIN}")
    return int(count[0])


def _layer(frames: list[bytes], clip: Clip, name: str, modes: tuple[str, ...]) -> np.ndarray:
    """The frames of a clip from their PNGs, [t, h, w] or [t, h, w, 3]."""
    if len(frames) != clip.length:
        raise UserError(f"{name} has {len(frames)} frames, the video {clip.length}: {_AGAIN}")
    decoded = []
    for number in range(clip.length)[clip.frames]:
        picture, _ = unpack(io.BytesIO(frames[number]), f"{name}, frame {number}", ("PNG",))
        if picture.mode not in modes:
            raise UserError(f"{name}, frame {number} is a picture of mode {picture.mode}, not {modes[0]}: {_AGAIN}")
        decoded.append(np.asarray(picture))
    return check_frames(decoded, name, clip.start)


def _same_size(layer: np.ndarray, video: np.ndarray, name: str) -> None:
    if layer.shape[:3] != video.shape[:3]:
        raise UserError(
            f"{name} is {layer.shape[2]}x{layer.shape[1]}, the video {video.shape[2]}x{video.shape[1]}: {_AGAIN}"
        )


def _numbers(features: Features, name: str, shape: tuple[int, ...], clip: Clip, where: str) -> np.ndarray:
    """The numbers of 16 bits of a clip, in the range of the video: float32 [t, *]."""
    frame = int(np.prod(shape[1:]))
    part = slice(clip.start * frame, (clip.start + clip.count) * frame)
    stored = features.integers(name, part, total=shape[0] * frame)
    low, high = _range(features, name, where)
    if stored.min(initial=0) < 0 or stored.max(initial=0) > 65535:
        raise UserError(f"{where}: {name} is not of numbers of 16 bits: {_AGAIN}")
    stored = stored.reshape(clip.count, *shape[1:])
    return stored.astype(np.float32) / np.float32(65535) * (high - low) + low


def _range(features: Features, name: str, where: str) -> tuple[np.float32, np.float32]:
    ends = features.floats(f"metadata/{name}_range")
    if len(ends) != 2 or not np.isfinite(ends).all():
        raise UserError(f"{where}: metadata/{name}_range is no range: {_AGAIN}")
    return ends[0], ends[1]
