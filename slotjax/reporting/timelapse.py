"""How a run learned, in pictures: the same held-out examples at every evaluation."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slotjax.data.pictures import unpack
from slotjax.errors import UserError
from slotjax.reporting import images
from slotjax.reporting.history import History
from slotjax.reporting.titles import columns, headlines, shown, title
from slotjax.system import writing

MOST = 24  # frames, evenly spaced where there were more evaluations
BUDGET = 1_500_000  # bytes of pictures in a page
WIDTHS = (960, 720)  # to try, in pixels, until the budget is met
ANIMATED_WIDTH = 800
MILLISECONDS, LAST_MILLISECONDS = 500, 2500  # how long a frame of the animation, and its last one, stay


@dataclass(frozen=True)
class Frame:
    """One evaluation's picture: the file, and what it scored in words."""

    step: int
    path: Path
    words: str


def frames(history: History) -> list[Frame]:
    """At most `MOST` of the pictures that the run has drawn, oldest first, the first and the last among them.

    What lies beyond the last evaluation, as after going back to an older checkpoint, is left out.
    """
    evaluations = {row["step"]: row for row in history.evaluations}
    steps = [0, *sorted(evaluations.keys() - {0})]
    files = [(step, history.workdir / "pictures" / f"step_{step:07d}.png") for step in steps]
    files = [(step, path) for step, path in files if path.is_file()]
    chosen = sorted(set(np.linspace(0, len(files) - 1, MOST).round().astype(int).tolist())) if files else []
    return [Frame(*files[i], in_words(history, evaluations.get(files[i][0], {}))) for i in chosen]


def in_words(history: History, row: dict[str, Any]) -> str:
    """The first two figures of an evaluation."""
    names = headlines(columns([row], history.task), history.task)[:2]
    return ", ".join(f"{title(name, history.task)} {shown(row[name])}" for name in names)


def embedded(history: History) -> list[dict[str, Any]]:
    """What the page holds of every frame, within the budget; those that cannot be read are left out."""
    chosen = frames(history)
    for width in WIDTHS:
        found = _uris(chosen, width)
        if sum(len(each["uri"]) for each in found) <= BUDGET:
            return found
    while sum(len(each["uri"]) for each in found) > BUDGET and len(found) > 1:
        found = [*found[:-1:2], found[-1]] if len(found) > 2 else found[-1:]
    return found


def _uris(chosen: list[Frame], width: int) -> list[dict[str, Any]]:
    pairs = ((frame, _uri(frame.path, frame.path.stat().st_mtime_ns, width)) for frame in chosen)
    return [{"step": frame.step, "uri": uri, "words": frame.words} for frame, uri in pairs if uri]


@lru_cache(maxsize=8 * MOST)  # while a run goes on its page is written again and again, each time with one frame more
def _uri(path: Path, written: int, width: int) -> str | None:
    del written  # another picture under the same name is read anew
    return read_sheet(path, width)


def read_sheet(path: Path, width: int) -> str | None:
    """A PNG at most `width` wide as a data URI; None if it cannot be read."""
    picture = _opened(path, width)
    return None if picture is None else images.data_uri(np.asarray(picture), lossless=False)


def _opened(path: Path, width: int) -> Image.Image | None:
    try:
        with path.open("rb") as file:
            picture = unpack(file, path, ("PNG",))[0].convert("RGB")
    except (OSError, UserError):
        return None
    picture.thumbnail((width, 4 * width))
    return picture


def animate(history: History, path: Path) -> bool:
    """Writes the frames as an animated WebP that runs for ever; whether there were at least two."""
    pictures = [picture for frame in frames(history) if (picture := _opened(frame.path, ANIMATED_WIDTH))]
    pictures = [picture for picture in pictures if picture.size == pictures[-1].size]
    if len(pictures) < 2:
        return False
    times = [MILLISECONDS] * (len(pictures) - 1) + [LAST_MILLISECONDS]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "duration": times, "loop": 0}
    with writing.whole(path) as file:
        pictures[0].save(file, "webp", quality=images.QUALITY, method=4, **options)
    return True
