"""The pictures behind the slot explorer: what every slot draws, claims and attends to, at every iteration."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from slotjax.api import apply
from slotjax.config.schema import EVAL_SEED
from slotjax.drawing import slots as pictures
from slotjax.models import Output
from slotjax.reporting import examples as gallery
from slotjax.reporting import images as pixels
from slotjax.reporting.history import Record
from slotjax.reporting.scoring import Judgement, Trained
from slotjax.reporting.titles import shown, title
from slotjax.training.rng import example_keys, stream_key

BUDGET = 3_000_000  # bytes of pictures; a page that is mailed should stay well below 5 MB
SIDES = (128, 96, 64, 48, 32)  # longest sides to try, in pixels, until the budget is met


@dataclass(frozen=True)
class Explorer:
    """What the page needs: `settings` shared by all pictures, one dict for each, and their total size in bytes."""

    settings: dict[str, Any]
    examples: list[dict[str, Any]]
    size: int


def explore(record: Record, trained: Trained, judgement: Judgement) -> tuple[gallery.Gallery, Explorer]:
    """The best, median and worst held-out images as the model sees them, from the slots they were scored with."""
    chosen = gallery.choose(judgement)
    batch = trained.feed.held_out(chosen.indices)
    keys = example_keys(stream_key(EVAL_SEED, "evaluation slots"), 0, batch["index"])
    run = jax.jit(apply, static_argnames=("model", "return_history"))
    out = jax.device_get(run(trained.model, trained.params, batch["image"], keys, return_history=True))
    return fit(record, trained, judgement, chosen.indices, jax.device_get(batch), out)


def fit(
    record: Record,
    trained: Trained,
    judgement: Judgement,
    indices: np.ndarray,
    batch: dict[str, Any],
    out: Output,
) -> tuple[gallery.Gallery, Explorer]:
    """The largest explorer within the budget: pictures are made smaller, then fewer; `indices` are in the batch."""
    for each in (3, 1):
        fewer = gallery.choose(judgement, each)
        members = [(group, index) for group, some in fewer.groups.items() for index in some]
        for side in SIDES:
            first = build(record, trained, judgement, members[:1], indices, batch, out, side)
            if first.size * len(members) > 1.2 * BUDGET:
                continue  # the others will not make up for it
            explorer = build(record, trained, judgement, members, indices, batch, out, side)
            if explorer.size <= BUDGET:
                return fewer, explorer
    return fewer, build(record, trained, judgement, members[:1], indices, batch, out, min(SIDES))


def build(
    record: Record,
    trained: Trained,
    judgement: Judgement,
    members: list[tuple[str, int]],
    indices: np.ndarray,
    batch: dict[str, Any],
    out: Output,
    side: int,
) -> Explorer:
    """The explorer of some (group, index), with pictures of at most `side` pixels; `indices` are in the batch."""
    resolution = tuple(trained.model.resolution)
    num_iterations, num_slots = out.attention_history.shape[1:3]
    side = min(side, pixels.MAX_WEBP_SIDE // max(num_slots, num_iterations))
    grid = trained.model.encoder.grid(resolution)
    size, small_grid = pixels.bounded(*resolution, side), pixels.bounded(*grid, side)
    colours = [f"rgb({r} {g} {b})" for r, g, b in pictures.PALETTE.tolist()]
    settings = {
        "slots": num_slots,
        "iterations": num_iterations,
        "size": size,
        "grid": small_grid,
        "colours": [colours[i % len(colours)] for i in range(num_slots)],
        "masks": out.masks is not None,
        "draws": out.components is not None,
    }
    drawn = record.task.panels(batch, out)
    examples = []
    for group, index in members:
        position = int(np.flatnonzero(indices == index)[0])
        one = jax.tree.map(lambda leaf, position=position: leaf[position], out)
        truth = batch["segments"][position] if "segments" in batch else None
        example = _panels(batch["image"][position], one, truth, grid, size, small_grid)
        example |= {name: pixels.data_uri(images[position], False) for name, images in drawn.items()}
        examples.append(example | {"index": index, "group": group} | _words(record, judgement, index, one, truth))
    size = sum(len(v) for example in examples for v in example.values() if isinstance(v, str) and v.startswith("data:"))
    return Explorer(settings, examples, size)


def _panels(
    image: np.ndarray,
    out: Output,
    truth: np.ndarray | None,
    grid: tuple[int, int],
    size: tuple[int, int],
    small_grid: tuple[int, int],
) -> dict[str, str | None]:
    """Data URIs: `owner` holds the winning slot of each pixel, `attention` a row of tiles for each iteration."""
    lossless = max(size) <= pixels.LOSSLESS_SIDE
    attention = np.asarray(out.attention_history)
    maps = attention.reshape(*attention.shape[:2], *grid)
    if not np.allclose(maps.sum(1), 1, atol=1e-2):  # normalised over inputs: each map by its own peak
        maps = maps / np.maximum(maps.max((2, 3), keepdims=True), 1e-12)
    maps = _resized(pixels.to_levels(maps), small_grid)
    weights = out.masks if out.masks is not None else attention[-1].reshape(-1, *grid)
    levels, owner = pixels.to_levels(weights), np.argmax(weights, 0).astype(np.uint8)
    panels = {
        "input": pixels.data_uri(pixels.resize(pictures.to_uint8(image), size), lossless),
        "attention": pixels.data_uri(pixels.sheet(maps), max(small_grid) <= pixels.LOSSLESS_SIDE),
        "masks": pixels.data_uri(pixels.sheet(_resized(levels[None], size)), lossless),
        "owner": pixels.data_uri(pixels.resize(owner, size, smooth=False), True),
    }
    if out.reconstruction is not None:
        reconstruction = pixels.resize(pictures.to_uint8(out.reconstruction), size)
        panels["reconstruction"] = pixels.data_uri(reconstruction, lossless)
    if out.components is not None:
        cut_out = np.concatenate([pictures.to_uint8(out.components), levels[..., None]], -1)
        panels["slots"] = pixels.data_uri(pixels.sheet(_resized(cut_out[None], size)), lossless)
    if truth is not None:
        coloured = pixels.resize(pictures.colour_segments(truth, background=True), size, smooth=False)
        panels["truth"] = pixels.data_uri(coloured, True)
    return panels


def _resized(tiles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 tiles [rows, columns, h, w(, c)] at another size."""
    if tiles.shape[2:4] == size:
        return tiles
    return np.stack([np.stack([pixels.resize(tile, size) for tile in row]) for row in tiles])


def _words(
    record: Record, judgement: Judgement, index: int, out: Output, truth: np.ndarray | None
) -> dict[str, str | list]:
    """The picture's figures, and for each slot what it claims, for those who listen rather than look."""
    scores = judgement.scores["slots"]
    pairs = [(title(name, record.task), shown(float(scores[name][index]))) for name in judgement.figures]
    words: dict[str, str | list] = {"figures": [f"{name} {value}" for name, value in pairs]}
    words["rank"] = pairs[0][1] if pairs else str(index)
    if out.masks is not None:
        owner = np.argmax(out.masks, 0)
        words["claims"] = [describe(owner == k, truth) for k in range(len(out.masks))]
    return words


def describe(region: np.ndarray, truth: np.ndarray | None) -> str:
    """A slot's region bool [h, w] in words: its share, and which true object [h, w] it is nearest to."""
    share = region.mean()
    if not share:
        return "wins no pixel"
    text = f"wins {share:.0%} of the pixels" if share >= 0.005 else "wins below 1% of the pixels"
    if truth is None:
        return text
    overlaps = {int(i): iou(region, truth == i) for i in np.unique(truth)}
    best = max(overlaps, key=lambda i: overlaps[i])
    what = "the background" if best == 0 else f"object {best}"
    return f"{text}; nearest to {what} (IoU {overlaps[best]:.2f})"


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
