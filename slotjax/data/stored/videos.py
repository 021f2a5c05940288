"""A folder of the user's own videos: GIF, animated PNG and WebP, MP4 and the like, folders of frames.

`slotjax.data.videos` says what is taken for a video. Frames are cut and resized as pictures are
(`slotjax.data.pictures`). Every frame is unpacked once, at the start, so that a damaged one does not end a run that has
begun. Only folders of frames may have segments: a mask for every frame, in which an object keeps its value.
"""

import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slotjax.data import pictures
from slotjax.data.clips import Clip, check_frames, frames_of, lengths_in
from slotjax.data.stored.base import Key, Stored, centered_of, of_split, path_of
from slotjax.data.videos import Video, find, measure
from slotjax.errors import UserError
from slotjax.system import derived
from slotjax.system.console import number, progress, say

_NAMED = 20  # videos that cannot be used


def open_split(config: Any, resolution: tuple[int, int], split: str) -> "Videos":
    crop, path, count = centered_of(config), path_of(config), frames_of(config, split)
    checked = check(path, find(path))
    _check_lengths(checked, max(count, frames_of(config, "train")), lengths_in(config))
    masked = all(each.video.masks for each in checked)
    counts = np.array([len(each.values) if masked else 0 for each in checked])
    chosen = of_split(counts, config, split, path)
    most = (config.get("max_objects") or max(1, int(counts.max()))) if masked else None
    what = f"up to {number(most, 'object')}" if most else "no segments, so that no ARI is scored"
    frames = number(sum(each.length for each in checked), "frame")
    _say_once(f"{path}: {number(len(checked), 'video')}, {frames}, {what}")
    return Videos([checked[i] for i in chosen], resolution, count, crop=crop, max_objects=most)


_say_once = cache(say)  # the splits of one folder are opened one after the other


class Checked(NamedTuple):
    """A video whose frames could all be read: how many there are, and its masks' values, of which i - 1 is object i."""

    video: Video
    length: int
    values: list[int]


class Videos(Stored):
    """Clips of videos: in training so many frames from a random one on, in evaluation the first.

    An example has `image` float32 [t, h, w, 3] in [-1, 1], and with masks `segments` int32 [t, h, w] and `objects`:
    `present` bool [t, k], the same in every frame.

    Args:
      num_frames: of a clip; no video has fewer.
      max_objects: the most objects a video has, k; None without masks.
    """

    def __init__(
        self,
        videos: Sequence[Checked],
        resolution: tuple[int, int],
        num_frames: int,
        *,
        crop: bool,
        max_objects: int | None,
    ):
        self.has_segments, self.max_objects = max_objects is not None, max_objects
        self._videos, self._crop = videos, crop
        self._resolution, self._num_frames = resolution, num_frames

    def __len__(self) -> int:
        return len(self._videos)

    def example(self, index: int, key: Key | None) -> dict:
        video, length, values = self._videos[index]
        clip = Clip.of(length, self._num_frames, key and key.generator(), str(video.path))
        frames = itertools.islice(video.frames(clip.start), clip.count)
        image = [pictures.as_input(frame, self._resolution, self._crop) for frame in frames]
        example: dict = {"image": check_frames(image, str(video.path), clip.start)}
        if self.max_objects is not None:
            ids = [np.searchsorted([0, *values], pictures.mask_values(mask)) for mask in video.masks[clip.frames]]
            cut = [pictures.as_segments(each.astype(np.uint8), self._resolution, self._crop) for each in ids]
            present = np.arange(self.max_objects) < len(values)
            example["segments"] = np.stack(cut)
            example["objects"] = {"present": np.tile(present, (clip.count, 1))}
        return example


def check(directory: Path, videos: Sequence[Video]) -> list[Checked]:
    """Unpacks every video that was not unpacked before; what was found out is kept for the next start.

    Raises:
      UserError: some cannot be read; names them.
    """
    kept_at = derived.derived_path(directory, ".checked.json")
    kept = derived.read(kept_at)
    stamps = {video: stamp(video) for video in videos}
    facts = {video: known for video in videos if (known := _known(kept.get(_name(video, directory)), stamps[video]))}
    unknown = [video for video in videos if video not in facts]
    faults = []
    if unknown:
        try:
            with progress(f"Checking {directory.name} (once)", len(unknown)) as advance:
                for done, video in enumerate(unknown, 1):
                    try:
                        length, values = measure(video)
                        facts[video] = [*stamps[video], length, *values]
                    except UserError as error:
                        faults.append(str(error))
                    advance(done)
        finally:
            derived.keep(kept_at, {_name(video, directory): numbers for video, numbers in facts.items()})
    if faults:
        named = "; ".join(faults[:_NAMED]) + f"; and {len(faults) - _NAMED} more" * (len(faults) > _NAMED)
        raise UserError(f"data.path: {len(faults)} of {number(len(videos), 'video')} cannot be used: {named}")
    return [Checked(video, facts[video][3], facts[video][4:]) for video in videos]


def _check_lengths(checked: Sequence[Checked], needed: int, said: str) -> None:
    short = [each for each in checked if each.length < needed]
    if short:
        raise UserError(
            f"data.path: {short[0].video.path} has {number(short[0].length, 'frame')}, fewer than the {needed} asked "
            f"for ({len(short)} of {number(len(checked), 'video')}): lower {said}, or take out what is shorter"
        )


def _known(numbers: object, stamp: list[int]) -> list[int] | None:
    """What is kept of a video whose files are still the same: the stamp, the frames, the values of its masks."""
    length = len(numbers) if isinstance(numbers, list) else 0
    facts = derived.whole_numbers(numbers, length, 2**63)
    return facts if facts and length >= 4 and facts[:3] == stamp else None


def stamp(video: Video) -> list[int]:
    """How many files, of what size in all, and the time of the newest."""
    try:
        states = [file.stat() for file in (*video.files, *video.masks)]
    except OSError:
        return [0, 0, 0]  # a link to nowhere, say: reading it will tell
    return [len(states), sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)]


def _name(video: Video, directory: Path) -> str:
    return ascii(str(video.path.relative_to(directory)))  # names that are no UTF-8 too
