"""The pictures behind the slot explorer: what every slot draws, explains and attends to, at every iteration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from slotjax.api import jitted_apply, responsibilities
from slotjax.drawing import slots as draw
from slotjax.drawing.features import in_pictures
from slotjax.models import Output
from slotjax.reporting import images
from slotjax.reporting.examples import choose
from slotjax.reporting.history import History
from slotjax.reporting.scoring import Scores, Trained
from slotjax.reporting.titles import headlines, shown, title
from slotjax.training.evaluation import slots_keys

BUDGET = 3_000_000  # bytes of pictures; a page that is mailed should stay well below 5 MB
SIDES = (128, 96, 64, 48, 32)  # longest sides to try, in pixels, until the budget is met

Members = list[tuple[str, int]]  # (group, number) of held-out images


@dataclass(frozen=True)
class Explorer:
    """What the page needs: `settings` shared by all pictures, one dict for each, and their total size in bytes; and the
    template that shows them."""

    template: str
    settings: dict[str, Any]
    examples: list[dict[str, Any]]
    size: int


@dataclass(frozen=True)
class Views:
    """Some held-out images, by their numbers, as the model sees them.

    Attributes:
      indices: the images' numbers [n]; batch: their data; out: the model's output for them.
      weights: whose each pixel is, [n, k, h, w]: the responsibilities, or where nothing is drawn the attention.
      grid: rows and columns of the attention.
    """

    indices: np.ndarray
    batch: dict[str, Any]
    out: Output
    weights: np.ndarray
    grid: tuple[int, int]


def explore(history: History, trained: Trained, scores: Scores) -> Explorer:
    """The best, median and worst held-out images as the model sees them, from the slots they were scored with."""
    indices = np.array([index for _, index in choose(scores)], np.int64)
    batch = trained.feed.held_out(indices)
    keys = slots_keys(batch["index"])
    out = jax.device_get(jitted_apply(trained.model, trained.params, batch["image"], keys, return_history=True))
    views = look(indices, jax.device_get(batch), out, trained.model.token_grid)
    return fit(scores, partial(build, history, scores, views))


def look(indices: np.ndarray, batch: dict[str, Any], out: Output, grid: tuple[int, int]) -> Views:
    """What is to be seen of these images; `grid`: rows and columns of the tokens."""
    if out.masks is None:
        weights = np.asarray(out.attention_history)[:, -1].reshape(len(indices), -1, *grid)
    else:
        weights = np.asarray(responsibilities(out, batch["image"]))
    return Views(indices, batch, in_pictures(out, batch["image"]), weights, grid)


def fit(scores: Scores, build: Callable[[Members, int], Explorer]) -> Explorer:
    """The largest explorer within the budget: pictures are made smaller, then fewer.

    Args:
      build: makes one of some images, with pictures of at most so many pixels a side.
    """
    for each in (3, 1):
        members = choose(scores, each)
        for side in SIDES:
            first = build(members[:1], side)
            if first.size * len(members) > 1.2 * BUDGET:
                continue  # the others will not make up for it
            explorer = build(members, side)
            if explorer.size <= BUDGET:
                return explorer
    return build(members[:1], min(SIDES))


def build(history: History, scores: Scores, seen: Views, members: Members, side: int) -> Explorer:
    """The explorer of some images, with pictures of at most `side` pixels."""
    num_iterations, num_slots = np.asarray(seen.out.attention_history).shape[1:3]
    side = min(side, images.MAX_WEBP_SIDE // max(num_slots, num_iterations))
    size = images.bounded(*seen.batch["image"].shape[1:3], side)
    small_grid = images.bounded(*seen.grid, side)
    settings = {
        "slots": num_slots,
        "iterations": num_iterations,
        "size": size,
        "grid": small_grid,
        "masks": seen.out.masks is not None,
        "draws": seen.out.components is not None,
    }
    drawn = history.task.panels(seen.batch, seen.out)
    shown_ones = []
    for group, index in members:
        position = int(np.flatnonzero(seen.indices == index)[0])
        example = _panels(seen, position, size, small_grid)
        example |= {name: images.data_uri(pictures[position], False) for name, pictures in drawn.items()}
        example |= in_words(history, scores, index) | _claims(seen, position)
        shown_ones.append(example | {"index": index, "group": group})
    return Explorer("explorer.html", settings, shown_ones, size_of(shown_ones))


def size_of(examples: list[dict[str, Any]]) -> int:
    """How much of the page their pictures take, in bytes."""
    return sum(len(v) for example in examples for v in example.values() if isinstance(v, str) and v.startswith("data:"))


def _panels(seen: Views, position: int, size: tuple[int, int], small_grid: tuple[int, int]) -> dict[str, Any]:
    """Data URIs, and the slots' colours: `owner` holds the slot of each pixel, `attention` a row for each iteration."""
    image, out = seen.batch["image"][position], jax.tree.map(lambda leaf: leaf[position], seen.out)
    weights, lossless = seen.weights[position], max(size) <= images.LOSSLESS_SIDE
    truth = seen.batch["segments"][position] if "segments" in seen.batch else None
    owner = np.argmax(weights, 0)
    known = truth if truth is not None and truth.shape == owner.shape else None  # attention may be coarser
    palette = draw.matching_colours(owner, len(weights), known)
    attention = np.asarray(out.attention_history)
    maps = attention.reshape(*attention.shape[:2], *seen.grid)
    if not np.allclose(maps.sum(1), 1, atol=1e-2):  # normalised over inputs: each map by its own peak
        maps = maps / np.maximum(maps.max((2, 3), keepdims=True), 1e-12)
    maps = _resized(images.to_levels(maps), small_grid)
    panels = {
        "colours": palette.tolist(),
        "input": images.data_uri(images.resize(draw.to_uint8(image), size), lossless),
        "attention": images.data_uri(images.sheet(maps), max(small_grid) <= images.LOSSLESS_SIDE),
        "weights": images.data_uri(images.sheet(_resized(images.to_levels(weights)[None], size)), lossless),
        "owner": images.data_uri(images.resize(owner.astype(np.uint8), size, smooth=False), True),
    }
    if out.reconstruction is not None:
        panels["reconstruction"] = images.data_uri(images.resize(draw.to_uint8(out.reconstruction), size), lossless)
    if out.components is not None:
        masks = np.asarray(out.masks)
        of_masks = palette[masks.argmax(0)]
        panels["masks"] = images.data_uri(images.resize(of_masks, size, smooth=False), True)
        cut_out = np.concatenate([draw.to_uint8(out.components), images.to_levels(masks)[..., None]], -1)
        panels["slots"] = images.data_uri(images.sheet(_resized(cut_out[None], size)), lossless)
    if truth is not None:
        coloured = draw.colour_segments(truth, background=True)
        panels["truth"] = images.data_uri(images.resize(coloured, size, smooth=False), True)
    return panels


def _resized(tiles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 tiles [rows, columns, h, w(, c)] at another size."""
    if tiles.shape[2:4] == size:
        return tiles
    return np.stack([np.stack([images.resize(tile, size) for tile in row]) for row in tiles])


def in_words(history: History, scores: Scores, index: int) -> dict[str, str | list]:
    """The figures of a held-out image, and the one that it is ranked by."""
    figures = scores.images["slots"]
    names = headlines(scores.shown, history.task) or scores.shown
    pairs = [(title(name, history.task), shown(float(figures[name][index]))) for name in names]
    return {"figures": [f"{name} {value}" for name, value in pairs], "rank": pairs[0][1] if pairs else str(index)}


def _claims(seen: Views, position: int) -> dict[str, list]:
    """What each slot claims, for those who listen rather than look."""
    if seen.out.masks is None:
        return {}
    truth = seen.batch["segments"][position] if "segments" in seen.batch else None
    owner = np.argmax(seen.weights[position], 0)
    return {"claims": [describe(owner == k, truth) for k in range(seen.weights.shape[1])]}


def describe(region: np.ndarray, truth: np.ndarray | None) -> str:
    """A slot's region, bool [*s], in words: its share, and which true object [*s] it is nearest to."""
    share = region.mean()
    if not share:
        return "wins no pixel"
    text = f"wins {share:.0%} of the pixels" if share >= 0.005 else "wins below 1% of the pixels"
    overlaps = {} if truth is None else {int(i): iou(region, truth == i) for i in np.unique(truth) if i >= 0}
    if not overlaps:
        return text
    best = max(overlaps, key=lambda i: overlaps[i])
    what = "the background" if best == 0 else f"object {best}"
    return f"{text}; nearest to {what} (IoU {overlaps[best]:.2f})"


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
