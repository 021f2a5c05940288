"""Pictures of what a model sees: numpy in, uint8 out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from slotjax.api import SIGMA, responsibilities
from slotjax.drawing.features import in_pictures
from slotjax.errors import UserError
from slotjax.models import Output
from slotjax.system import writing

if TYPE_CHECKING:
    from PIL import Image

# Distinct also for most colour-blind eyes (after Okabe and Ito, 2008), then tints of the same.
PALETTE = np.array(
    [
        (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
        (170, 255, 195), (160, 82, 45), (127, 255, 0), (75, 0, 130), (255, 182, 193), (47, 79, 79), (176, 224, 230),
        (128, 0, 0), (189, 183, 107),
    ],
    np.uint8,
)  # fmt: skip
BACKGROUND = np.array((90, 90, 90), np.uint8)
LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)  # of red, green and blue, as in ITU-R BT.601
TINT = np.float32(0.6)  # of a segment's colour in an overlay; the rest is the picture
VOID = np.array((255, 255, 255), np.uint8)  # what does not count
CHECKERS = np.array(((235, 235, 235), (205, 205, 205)), np.uint8)
SQUARE = 8  # pixels of the checkerboard that stands for what a slot leaves out
FRAME, GAP = 3, 4  # pixels around a panel in the colour of what it shows, and white ones between panels
HEADING = 16  # rows of white above the first panels, for what they are called
QUIET = (200, 200, 200)  # the frame of what is nobody's


def to_uint8(image: np.ndarray) -> np.ndarray:
    """[-1, 1] floats to 0..255, clipped."""
    return np.clip((np.asarray(image, np.float32) + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)


def colours(count: int) -> np.ndarray:
    """A colour for each of so many objects or slots, uint8 [count, 3]."""
    return PALETTE[np.arange(count) % len(PALETTE)]


def colour_segments(segments: np.ndarray, background: bool) -> np.ndarray:
    """Ids [h, w] to colours [h, w, 3]; with `background`, id 0 is grey and 1 has the first colour; -1 is white."""
    ids = np.asarray(segments)
    palette = colours(int(ids.max(initial=0)) + 1)
    palette = np.concatenate([BACKGROUND[None], palette]) if background else palette
    return np.where(ids[..., None] < 0, VOID, palette[ids])


def matching_colours(found: np.ndarray, num_slots: int, truth: np.ndarray | None = None) -> np.ndarray:
    """Each slot's colour, uint8 [k, 3]: that which `colour_segments` gives the true object that the slot has found.

    Slots and objects are matched one to one, so that they share as much as possible (intersection over union; the
    Hungarian algorithm). A slot that is left over, and every slot where the truth is not known, has one of its own.

    Args:
      found, truth: ids of slots and of objects (0: background), int [h, w].
    """
    if truth is None:
        return colours(num_slots)
    from scipy.optimize import linear_sum_assignment

    truth = np.maximum(truth, 0)  # what does not count is nobody's
    objects = int(truth.max(initial=0))
    shared = np.bincount(found.ravel() * (objects + 1) + truth.ravel(), minlength=num_slots * (objects + 1))
    shared = shared.reshape(num_slots, objects + 1).astype(np.float64)
    whole = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    rows, ids = linear_sum_assignment(-shared / np.maximum(whole, 1))
    matched = {int(k): int(i) for k, i in zip(rows, ids, strict=True) if shared[k, i]}
    own = iter(PALETTE[i % len(PALETTE)] for i in range(objects, objects + num_slots))
    of_objects = np.concatenate([BACKGROUND[None], colours(objects)])
    return np.stack([of_objects[matched[k]] if k in matched else next(own) for k in range(num_slots)])


def overlay(picture: np.ndarray, segments: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The picture uint8 [h, w, 3] in grey, tinted by segment, with white borders between segments [h, w], rimmed black.

    In grey, since its own colours would mix with those of the segments: parts of one would look like several.
    """
    grey = (picture @ LUMINANCE)[..., None]
    tinted = (TINT * palette[segments] + (1 - TINT) * grey).astype(np.uint8)
    border = np.zeros(segments.shape, bool)
    border[:-1] |= segments[:-1] != segments[1:]
    border[:, :-1] |= segments[:, :-1] != segments[:, 1:]
    rim = np.pad(border, 1)
    tinted[rim[:-2, 1:-1] | rim[2:, 1:-1] | rim[1:-1, :-2] | rim[1:-1, 2:]] = 0
    tinted[border] = 255
    return tinted


def checkerboard(height: int, width: int) -> np.ndarray:
    """What stands for nothing, uint8 [h, w, 3]."""
    odd = (np.arange(height)[:, None] // SQUARE + np.arange(width) // SQUARE) % 2
    return CHECKERS[odd]


def slot_panel(component: np.ndarray, mask: np.ndarray, zoom: int = 1) -> np.ndarray:
    """What one slot draws [h, w, 3] where its mask [h, w] lets it, on a checkerboard; each pixel `zoom` pixels wide."""
    mask = zoomed(np.asarray(mask), zoom)[..., None]
    board = checkerboard(*mask.shape[:2])
    return (mask * zoomed(to_uint8(component), zoom) + (1 - mask) * board + 0.5).astype(np.uint8)


def sheet(
    images: np.ndarray | None, out: Output, truth: np.ndarray | None = None, *, size: int = 96, sigma: float = SIGMA
) -> np.ndarray:
    """One row for each image: input, reconstruction, (true objects,) what was found, and what every slot draws.

    What was found is shown twice: by the responsibilities, and by the decoder's masks. Every slot's panel is framed in
    the slot's colour, which is that of the true object it has found.

    Args:
      images: [b, h, w, 3] in [-1, 1], or None where slots were not found in any; truth: int [b, h, w].
      size: smaller panels are enlarged to at least so many pixels.
      sigma: of the responsibilities.
    """
    found = {}
    if images is not None:
        images = np.asarray(images)
        found["responsibilities"] = np.asarray(responsibilities(out, jnp.asarray(images), sigma=sigma)).argmax(1)
        out = in_pictures(out, images)
    components, masks, drawn = map(np.asarray, (out.components, out.masks, out.reconstruction))
    found["masks"] = masks.argmax(1)
    num_slots, zoom, rows = masks.shape[1], -(-size // masks.shape[2]), []
    for i, reconstruction in enumerate(drawn):
        objects = None if truth is None else np.asarray(truth[i])
        segments = [ids[i] for ids in found.values()]
        palette = matching_colours(segments[0], num_slots, objects)
        plain = [] if images is None else [to_uint8(images[i])]
        plain += [to_uint8(reconstruction)]
        plain += [] if objects is None else [colour_segments(objects, background=True)]
        row = [framed(zoomed(panel, zoom)) for panel in (*plain, *(palette[ids] for ids in segments))]
        row += [framed(slot_panel(components[i, k], masks[i, k], zoom), palette[k]) for k in range(num_slots)]
        rows.append(row)
    names = [*(["input"] if images is not None else []), "reconstruction", *(["truth"] if truth is not None else [])]
    return grid(rows, [*names, *found, *(f"slot {k}" for k in range(num_slots))])


def show(
    out: Output, images: np.ndarray | None = None, *, truth: np.ndarray | None = None, most: int = 8
) -> "Image.Image":
    """What a model has found as a picture, which a notebook shows where it is a cell's last value.

    One row for each image: input, reconstruction, (true objects,) what was found, and what every slot draws on a
    checkerboard. The frame of a slot's panel is the legend: it has the colour of the slot's segments, and with `truth`
    that of the true object that the slot has found.

    Args:
      out: of `slotjax.apply` or `slotjax.decode`; the latter's has neither input nor responsibilities.
      images: [*b, h, w, 3] in [-1, 1], in place of `out.target`.
      truth: int [*b, h, w], 0 is the background.
      most: of the images, so many are shown, from the first on.

    Raises:
      UserError: a model that draws nothing, or features while no images are given.
    """
    from PIL import Image

    masks, components, drawn = out.need("masks", "components", "reconstruction")
    if images is None and not out.draws_pictures:
        raise UserError("images: the slots draw features; give the pictures that they were found in")

    def rows(x: Any, axes: int) -> Any:
        return None if x is None else np.asarray(x).reshape(-1, *np.shape(x)[-axes:])[:most]

    pictures = rows(out.target if images is None else images, 3)
    first = Output(
        masks=rows(masks, 3),
        mask_logits=rows(out.mask_logits, 3),
        components=rows(components, 4),
        reconstruction=rows(drawn, 3),
        target=rows(out.target, 3),
    )
    return Image.fromarray(sheet(pictures, first, rows(truth, 2)))


def zoomed(panel: np.ndarray, zoom: int) -> np.ndarray:
    """Each pixel of [h, w, ...] `zoom` pixels wide and high."""
    return panel.repeat(zoom, 0).repeat(zoom, 1)


def framed(panel: np.ndarray, colour: Sequence[int] | np.ndarray = QUIET) -> np.ndarray:
    """The panel [h, w, 3] with a border of `FRAME` pixels."""
    height, width = panel.shape[:2]
    whole = np.empty((height + 2 * FRAME, width + 2 * FRAME, 3), np.uint8)
    whole[:] = colour
    whole[FRAME:-FRAME, FRAME:-FRAME] = panel
    return whole


def grid(rows: list[list[np.ndarray]], headings: Sequence[str] = ()) -> np.ndarray:
    """Equal panels [h, w, 3] in rows on white, under what the columns are called, if anything."""
    height, width = rows[0][0].shape[:2]
    columns, top = max(map(len, rows)), HEADING if headings else 0
    sheet = np.full((top + len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            y, x = top + i * (height + GAP), j * (width + GAP)
            sheet[y : y + height, x : x + width] = panel
    return written(sheet, {(FRAME + j * (width + GAP), 1): name for j, name in enumerate(headings)})


def written(picture: np.ndarray, texts: dict[tuple[int, int], str]) -> np.ndarray:
    """The picture uint8 [h, w, 3] with black texts at (x, y)."""
    if not texts:
        return picture
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(picture)
    brush, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for place, text in texts.items():
        brush.text(place, text, fill=(60, 60, 60), font=font)
    return np.asarray(canvas)


def save(picture: np.ndarray, path: Path, palette: np.ndarray | None = None) -> None:
    """Writes a PNG, whole or not at all: uint8 [h, w, 3], with alpha [h, w, 4], or ids [h, w] with their colours."""
    from PIL import Image

    image = Image.fromarray(picture)
    if palette is not None:
        image = Image.fromarray(picture.astype(np.uint8), "P")
        image.putpalette(palette.ravel().tolist())
    with writing.whole(path) as file:
        image.save(file, format="png")
