"""People's own videos split into slots that stay with what they found, at the frames' own size."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from slotjax.api import jitted_apply
from slotjax.data.clips import check_frames
from slotjax.data.pictures import as_input
from slotjax.data.videos import FILMS, Animation, Film, Video, find
from slotjax.drawing import slots as draw
from slotjax.errors import UserError
from slotjax.reporting.own_pictures import ZOOM_TO, Options, Trained, check_all_read, result_names, split
from slotjax.system import writing

PART = 16  # frames that are worked on at a time; those that follow begin with the slots of the last
MILLISECONDS = 100  # that a frame of the overlay is shown


def segment(trained: Trained, given: Sequence[Path], folder: Path, options: Options) -> None:
    """Splits videos, writes what was found into the folder, and says which file became which.

    Raises:
      UserError: a folder that cannot be written; when the others are done, videos that cannot be read.
    """
    if options.crop or options.cutouts:
        raise UserError("--crop, --cutouts: are for pictures; leave them out")
    videos, unread = [], []
    for path in given:
        try:
            for one in matching(path):
                videos += videos_of(one)
        except UserError as error:
            unread.append(error)
    asked = len(videos) + len(unread)
    for video, name in zip(videos, result_names([video.path for video in videos]), strict=True):
        try:
            frames = check_frames([np.asarray(frame) for frame in video.frames()], str(video.path))
        except UserError as error:
            unread.append(error)
            continue
        ids = np.concatenate(list(found(trained, frames, options)))
        slots = options.num_slots or trained.model.attention.num_slots
        try:
            written = write(frames, ids, draw.colours(slots), folder / name)
        except OSError as error:
            raise UserError(f"--output {folder}: cannot be written ({error.strerror}); name another folder") from None
        used = len(np.unique(ids))
        print(f"{video.path}: {len(frames)} frames; {used} of {slots} slots win pixels; wrote {', '.join(written)}")
    check_all_read(unread, asked)


def matching(path: Path) -> list[Path]:
    """The path itself, or what a pattern stands for."""
    pattern = not path.exists() and glob.has_magic(str(path))
    return (sorted(map(Path, glob.glob(str(path), recursive=True))) if pattern else []) or [path]


def videos_of(path: Path) -> list[Video]:
    """The video of a file, or those in a folder; a folder of pictures is one."""
    if path.is_dir():
        return find(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a video (GIF, WebP, {', '.join(FILMS)}) or a folder of frames")
    return [Film(path) if path.suffix.lower() in FILMS else Animation(path)]


def found(trained: Trained, frames: np.ndarray, options: Options) -> Iterator[np.ndarray]:
    """Each pixel's slot, uint8 [part, h, w], part by part of the frames, uint8 [t, h, w, 3]."""
    size = trained.model.resolution
    numbers: dict[str, Any] = {"num_slots": options.num_slots, "num_iterations": options.num_iterations}
    start: dict[str, Any] = {"key": jax.random.key(options.seed)}
    for part in (frames[first : first + PART] for first in range(0, len(frames), PART)):
        seen = np.stack([as_input(Image.fromarray(frame), size, crop=False) for frame in part])
        out = jitted_apply(trained.model, trained.params, seen[None], **start, **numbers)
        start = {"initial_slots": out.slots[:, -1]}
        numbers["num_slots"] = None  # as many as there are by now
        each = [jax.tree.map(lambda x, t=t: x[:, t], out) for t in range(len(part))]
        yield np.stack([split(one, frame, options)[0] for one, frame in zip(each, part, strict=True)])


def write(frames: np.ndarray, ids: np.ndarray, palette: np.ndarray, path: Path) -> list[str]:
    """The files of one video, whose names begin with `path`: an animated overlay, and the ids."""
    zoom = max(1, ZOOM_TO // max(ids.shape[1:]))
    tinted = [
        draw.overlay(draw.zoomed(x, zoom), draw.zoomed(y, zoom), palette) for x, y in zip(frames, ids, strict=True)
    ]
    first, *rest = map(Image.fromarray, tinted)
    overlay, arrays = (path.with_name(f"{path.name}_{ending}") for ending in ("overlay.webp", "segments.npz"))
    with writing.whole(overlay) as file:
        first.save(file, format="webp", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0)
    with writing.whole(arrays) as file:
        np.savez_compressed(file, segments=ids)
    return [str(overlay), str(arrays)]
