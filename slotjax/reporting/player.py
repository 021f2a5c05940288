"""Videos that play: what the model sees, draws and finds in every frame, as sheets whose columns are the frames."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from slotjax.api import responsibilities
from slotjax.drawing import slots as draw
from slotjax.reporting import images
from slotjax.reporting.examples import choose
from slotjax.reporting.explorer import Explorer, Members, describe, fit, in_words, size_of
from slotjax.reporting.history import History
from slotjax.reporting.scoring import Scores, Trained
from slotjax.tasks.base import jitted_answer
from slotjax.training.evaluation import slots_keys

MOST_FRAMES = 48  # of a video that are played, its first ones


@dataclass(frozen=True)
class Film:
    """A video's frames, t of them, at their own size.

    Attributes:
      pictures: uint8 [t, h, w, 3] by name: "input", "reconstruction", and "truth" where it is known.
      owner: each pixel's slot by the responsibilities, uint8 [t, h, w].
      slots: what each slot draws, and its mask, uint8 [k, t, h, w, 4].
      colours: each slot's, in all frames, uint8 [k, 3]: that of the true object that it shares most of the video with.
      claims: what each slot wins, in words.
    """

    pictures: dict[str, np.ndarray]
    owner: np.ndarray
    slots: np.ndarray
    colours: np.ndarray
    claims: list[str]


def play(history: History, trained: Trained, scores: Scores) -> Explorer:
    """The best, median and worst held-out videos, from the slots they were scored with."""
    films = {index: film(trained, index) for _, index in choose(scores)}
    return fit(scores, partial(build, history, scores, films))


def film(trained: Trained, index: int) -> Film:
    """One held-out video as the model sees it; one by one, since what slots draw of many takes much memory."""
    batch = trained.feed.held_out(np.array([index], np.int64))
    out = jitted_answer(trained.model, trained.params, batch, slots_keys(batch["index"]))
    target, drawn, components, masks = out.need("target", "reconstruction", "components", "masks")
    owner = responsibilities(out, target).argmax(-3)
    seen = {"image": batch["image"], "drawn": trained.model.colours(drawn), "masks": masks, "owner": owner}
    seen |= {"components": trained.model.colours(components)} | {k: batch[k] for k in ("segments",) if k in batch}
    seen = {name: np.asarray(frames)[0, :MOST_FRAMES] for name, frames in seen.items()}
    return in_bytes(seen)


def in_bytes(seen: dict[str, np.ndarray]) -> Film:
    """A video's "image" and what was "drawn" [t, h, w, 3], "components" [t, k, h, w, 3], "masks" [t, k, h, w], "owner"
    [t, h, w], and true "segments" [t, h, w] where they are known, as they are shown."""
    truth, owner, num_slots = seen.get("segments"), seen["owner"], seen["masks"].shape[1]
    pictures = {"input": draw.to_uint8(seen["image"]), "reconstruction": draw.to_uint8(seen["drawn"])}
    if truth is not None:
        pictures["truth"] = draw.colour_segments(truth, background=True)
    slots = np.concatenate([draw.to_uint8(seen["components"]), images.to_levels(seen["masks"])[..., None]], -1)
    palette = draw.matching_colours(owner, num_slots, truth)
    claims = [describe(owner == k, truth) for k in range(num_slots)]
    return Film(pictures, owner.astype(np.uint8), slots.swapaxes(0, 1), palette, claims)


def build(history: History, scores: Scores, films: dict[int, Film], members: Members, side: int) -> Explorer:
    """The player of some videos, with frames of at most `side` pixels."""
    first = films[members[0][1]]
    num_slots, num_frames, height, width = first.slots.shape[:4]
    side = min(side, images.MAX_WEBP_SIDE // max(num_slots, num_frames))
    size = images.bounded(height, width, side)
    settings = {"slots": num_slots, "frames": num_frames, "size": size, "cut": num_frames == MOST_FRAMES}
    examples = [
        sheets(films[index], size) | in_words(history, scores, index) | {"index": index, "group": group}
        for group, index in members
    ]
    return Explorer("player.html", settings, examples, size_of(examples))


def sheets(film: Film, size: tuple[int, int]) -> dict[str, Any]:
    """Data URIs of a row of frames each, of "slots" a row for each; and what is said of the slots."""
    lossless = max(size) <= images.LOSSLESS_SIDE
    uris: dict[str, Any] = {
        name: _uri(frames[None], size, lossless or name == "truth", smooth=name != "truth")
        for name, frames in film.pictures.items()
    }
    uris |= {"owner": _uri(film.owner[None], size, True, smooth=False), "slots": _uri(film.slots, size, lossless)}
    return uris | {"colours": film.colours.tolist(), "claims": film.claims}


def _uri(tiles: np.ndarray, size: tuple[int, int], lossless: bool, smooth: bool = True) -> str:
    """uint8 tiles [rows, columns, h, w(, c)], each at this size, as one picture."""
    resized = np.stack([np.stack([images.resize(tile, size, smooth) for tile in row]) for row in tiles])
    return images.data_uri(images.sheet(resized), lossless)
