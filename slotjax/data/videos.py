"""Videos of any origin, read frame by frame: animated pictures, MP4 and the like, and folders of frames.

GIF, animated PNG and animated WebP are read by Pillow; MP4, MOV, MKV, WebM and AVI by PyAV, which the extra `video`
brings. The pictures of a folder are one video, in the order of their names, numbers in them as numbers (9 before 10).
Folders of masks belong to folders of frames as masks belong to pictures (`stored.pairing`).
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from slotjax.data import pictures
from slotjax.data.stored import pairing
from slotjax.errors import UserError, first_line
from slotjax.system.extras import extra

if TYPE_CHECKING:
    from PIL.Image import Image

ANIMATED = (".gif", ".png", ".apng", ".webp")  # endings of what may move
FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
MOST_FRAMES = 10**5  # of one video
# Demuxers that open nothing but the file itself, in contrast to those of playlists.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"


@dataclass(frozen=True)
class Frames:
    """A folder of frames: the files, and their masks in the same order, or none."""

    path: Path
    files: tuple[Path, ...]
    masks: tuple[Path, ...] = ()

    def frames(self, start: int = 0) -> Iterator["Image"]:
        """RGB pictures from frame `start` on. Raises UserError where one cannot be read, and so do all of these."""
        for file in self.files[start:]:
            yield pictures.read_rgb(file)[0]


@dataclass(frozen=True)
class _File:
    """A single file, without masks."""

    path: Path
    masks: ClassVar[tuple[Path, ...]] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)


class Animation(_File):
    """A picture that moves."""

    def frames(self, start: int = 0) -> Iterator["Image"]:
        """See `Frames.frames`."""
        number = start
        try:
            with self.path.open("rb") as file:
                picture = pictures.opened(file)
                if picture.width * picture.height > pictures.MAX_PIXELS:
                    raise UserError(f"{self.path} has more than {pictures.MAX_PIXELS} pixels: make it smaller")
                for number in range(start, min(getattr(picture, "n_frames", 1), MOST_FRAMES)):
                    picture.seek(number)
                    picture.load()
                    yield pictures.to_rgb(picture.copy(), self.path)[0]
        except (UserError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise many kinds on damaged files
            raise _broken(self.path, number, error) from None


class Film(_File):
    """A file of MP4, MOV, MKV, WebM or AVI."""

    def frames(self, start: int = 0) -> Iterator["Image"]:
        """See `Frames.frames`. What comes before `start` is decoded too."""
        with extra("video"):
            import av

        number = -1  # of the last frame that could be read
        try:
            with av.open(str(self.path), options={"format_whitelist": _DEMUXERS, "err_detect": "explode"}) as film:
                if not film.streams.video:
                    raise UserError(f"{self.path} holds no video: leave it out")
                for number, frame in enumerate(itertools.islice(film.decode(video=0), MOST_FRAMES)):
                    if frame.is_corrupt:
                        raise UserError(f"{self.path}, frame {number} is broken: check or replace it")
                    if number >= start:
                        yield frame.to_image()
        except (av.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise _broken(self.path, number + 1, error) from None


Video = Frames | Animation | Film


def find(directory: Path) -> list[Video]:
    """The videos in and below a folder, in the order of their names.

    Raises:
      UserError: there is no such folder, or nothing in it; masks that do not fit.
    """
    if not directory.is_dir():
        what = "is no folder" if directory.exists() else "does not exist"
        raise UserError(f"data.path: {directory} {what}: give the folder that holds the videos")
    files = pairing.files_below(directory)
    films = [Film(file) for file in files if file.suffix.lower() in FILMS]
    stills: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() in (*pairing.ENDINGS, ".apng"):
            stills[file.parent, file.suffix.lower()].append(file)
    animated = {place for place, group in stills.items() if place[1] in ANIMATED and _animated(group)}
    animations = [Animation(file) for place in animated for file in stills[place]]
    folders = _folders([file for place, group in stills.items() if place not in animated for file in group], directory)
    videos = sorted([*films, *animations, *folders], key=lambda video: in_order(video.path))
    if not videos:
        endings = ", ".join(ending[1:].upper() for ending in (".gif", *FILMS))
        raise UserError(f"data.path: {directory} holds no videos ({endings}, folders of frames): give one that does")
    return videos


def _animated(group: Sequence[Path]) -> bool:
    """Whether files of one folder and ending are animations, as the first and the last say; else they are frames."""
    first, last = moves(group[0]), moves(group[-1])
    if first != last:
        still, other = (group[-1], group[0]) if first else (group[0], group[-1])
        raise UserError(
            f"data.path: {still} is a still picture and {other} an animation: keep frames and animations in folders "
            "of their own"
        )
    return first


def moves(path: Path) -> bool:
    """Whether a picture has several frames; one that cannot be read has not."""
    try:
        with path.open("rb") as file:
            return getattr(pictures.opened(file), "n_frames", 1) > 1
    except Exception:  # it will be named when its frames are read
        return False


def in_order(path: Path) -> list[tuple[str, int, str]]:
    """What to sort names by so that numbers in them count as numbers."""
    parts = re.split(r"(\d+)", str(path))
    return [
        (text, int(digits or 0), digits)
        for text, digits in itertools.zip_longest(parts[::2], parts[1::2], fillvalue="")
    ]


def measure(video: Video) -> tuple[int, list[int]]:
    """Unpacks a whole video: how many frames it has, and the values in its masks, of which value i - 1 is the object i.

    Raises:
      UserError: a frame or mask cannot be read, or is of another size than the first frame; or masks hold more values
        than they may.
    """
    first, length = (0, 0), 0
    for length, frame in enumerate(video.frames(), 1):
        first = frame.size if length == 1 else first
        if frame.size != first:
            raise UserError(_other_size(f"{video.path}, frame {length - 1}", frame.size, first))
    if not length:
        raise UserError(f"{video.path} holds no frames: leave it out")
    found = np.zeros(0, np.int64)
    for mask in video.masks:
        values = pictures.mask_values(mask)
        if values.shape[::-1] != first:
            raise UserError(_other_size(str(mask), values.shape[::-1], first))
        found = np.union1d(found, values)
        if len(found) > pictures.MAX_MASK_IDS + 1:
            most = pictures.MAX_MASK_IDS
            raise UserError(f"{mask.parent} holds more than {most} different values: masks have one for each object")
    return length, [int(value) for value in found if value]


def _other_size(name: str, size: tuple[int, ...], first: tuple[int, ...]) -> str:
    return f"{name} is {size[0]}x{size[1]}, but frame 0 {first[0]}x{first[1]}: make them one size"


def _folders(files: list[Path], directory: Path) -> list[Frames]:
    if not files:
        return []
    stills, masks, _ = pairing.pair(sorted(files, key=in_order), directory)
    groups: dict[Path, list[int]] = defaultdict(list)
    for place, file in enumerate(stills):
        groups[file.parent].append(place)
    return [
        Frames(folder, tuple(stills[i] for i in group), tuple(masks[i] for i in group if masks))
        for folder, group in groups.items()
    ]


def _broken(path: Path, number: int, error: Exception) -> UserError:
    return UserError(f"{path}, frame {number} cannot be read ({first_line(error)}): check or replace it")
