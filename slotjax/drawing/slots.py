"""Pictures of what a model sees: numpy in, uint8 out."""

from pathlib import Path

import numpy as np

from slotjax.models import Output

# Distinct also for most colour-blind eyes (after Okabe and Ito, 2008), then tints of the same; black is the background.
PALETTE = np.array(
    [
        (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
        (120, 120, 120), (160, 82, 45), (127, 255, 0), (75, 0, 130), (255, 182, 193), (47, 79, 79), (176, 224, 230),
        (128, 0, 0), (189, 183, 107),
    ],
    np.uint8,
)  # fmt: skip
GAP = 2  # white pixels between panels


def to_uint8(image: np.ndarray) -> np.ndarray:
    """[-1, 1] floats to 0..255, clipped."""
    return np.clip((np.asarray(image, np.float32) + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)


def colour_segments(segments: np.ndarray, background: bool) -> np.ndarray:
    """Ids [h, w] to colours [h, w, 3]; with `background`, id 0 is black."""
    ids = np.asarray(segments)
    colours = PALETTE[(ids - background) % len(PALETTE)]
    return np.where((ids == 0)[..., None], 0, colours).astype(np.uint8) if background else colours


def overlay(image: np.ndarray, segments: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """The image [h, w, 3] in [-1, 1] tinted by segment, with the borders between segments drawn white."""
    tinted = (1 - strength) * to_uint8(image) + strength * colour_segments(segments, background=False)
    ids = np.asarray(segments)
    border = np.zeros(ids.shape, bool)
    border[:-1] |= ids[:-1] != ids[1:]
    border[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    tinted[border] = 255
    return tinted.astype(np.uint8)


def slot_panel(component: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What one slot draws [h, w, 3] where its mask [h, w] lets it, on white."""
    mask = np.asarray(mask)[..., None]
    return to_uint8(mask * np.asarray(component) + (1 - mask))


def panels(image: np.ndarray, out: Output, index: int, truth: np.ndarray | None = None) -> list[np.ndarray]:
    """The row of one image: input, reconstruction, (true segments,) found segments, slots."""
    components, masks = np.asarray(out.components)[index], np.asarray(out.masks)[index]
    row = [to_uint8(image), to_uint8(np.asarray(out.reconstruction)[index])]
    if truth is not None:
        row.append(colour_segments(truth, background=True))
    row.append(colour_segments(masks.argmax(0), background=False))
    return row + [slot_panel(*slot) for slot in zip(components, masks, strict=True)]


def contact_sheet(images: np.ndarray, out: Output, segments: np.ndarray | None = None, size: int = 96) -> np.ndarray:
    """One row of `panels` for each image, side by side, uint8 [h, w, 3]; smaller ones are enlarged to about `size`."""
    rows = []
    for index, image in enumerate(np.asarray(images)):
        truth = None if segments is None else np.asarray(segments[index])
        rows.append(panels(image, out, index, truth))
    return grid(rows, zoom=max(1, size // images.shape[1]))


def grid(rows: list[list[np.ndarray]], zoom: int = 1) -> np.ndarray:
    """Equal panels [h, w, 3] in rows, with white gaps, each pixel `zoom` pixels wide."""
    rows = [[panel.repeat(zoom, 0).repeat(zoom, 1) for panel in row] for row in rows]
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            sheet[top : top + height, left : left + width] = panel
    return sheet


def save(picture: np.ndarray, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    Image.fromarray(picture).save(temporary, format="png")
    temporary.replace(path)
