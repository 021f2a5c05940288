"""Look before training: a contact sheet of scenes with their segments.

python -m slotjax.data.preview --scenes clevr --count 16 --out scenes.png
"""

import argparse

import numpy as np

from slotjax.data.rendered import check_seed, draw_scenes, parse_options, scene_family, to_bytes
from slotjax.data.scenes import SCENES, Scene
from slotjax.errors import UserError
from slotjax.system.console import number
from slotjax.system.paths import given
from slotjax.system.writing import whole

_MOST = 400  # pictures of one sheet
_GAP = 2  # pixels between pictures
# Of segments: the background's, then one for each id.
_COLORS = [(31, 31, 31), (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)]
_COLORS += [(140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)]
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def segment_colors(segments: np.ndarray) -> np.ndarray:
    """Segments int [...] as uint8 pictures [..., 3]: dark grey for the background, a colour of its own for each id."""
    return np.array(_COLORS, np.uint8)[np.where(segments > 0, (segments - 1) % (len(_COLORS) - 1) + 1, 0)]


def contact_sheet(scenes: Scene) -> np.ndarray:
    """Scenes [n, ...] as one picture uint8 [H, W, 3]: each picture above its segments, about as wide as high."""
    count, height, width, _ = scenes.image.shape
    columns = max(1, round((count * 2 * height / width) ** 0.5))
    rows = -(-count // columns)
    cell_height, cell_width = 2 * height + 3 * _GAP, width + _GAP
    sheet = np.full((rows * cell_height, columns * cell_width, 3), 255, np.uint8)
    pictures = zip(to_bytes(np.asarray(scenes.image)), segment_colors(np.asarray(scenes.segments)), strict=True)
    for index, (image, segments) in enumerate(pictures):
        top, left = index // columns * cell_height, index % columns * cell_width
        sheet[top : top + height, left : left + width] = image
        sheet[top + height + _GAP : top + 2 * height + _GAP, left : left + width] = segments
    return sheet


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m slotjax.data.preview", description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", required=True, help=f"the family: {', '.join(SCENES)}")
    parser.add_argument("--count", type=int, default=16, help="how many scenes (default 16)")
    parser.add_argument("--out", required=True, help="the picture to write, .png or .jpg")
    parser.add_argument("--seed", type=int, default=0, help="scenes are a function of seed and number (default 0)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the family")
    options = parser.parse_args(arguments)
    out = given(options.out, "--out")
    if not 1 <= options.count <= _MOST:
        raise UserError(f"--count {options.count}: a sheet has 1 to {_MOST} scenes")
    if out.suffix.lower() not in _FORMATS:
        raise UserError(f"--out {out}: the name must end in .png or .jpg")
    check_seed(options.seed)
    family = scene_family(options.scenes, parse_options(options.option))

    from PIL import Image

    try:
        with whole(out) as file:  # opened before anything is drawn
            scenes = draw_scenes(family, options.seed, 0, options.count)
            Image.fromarray(contact_sheet(scenes)).save(file, _FORMATS[out.suffix.lower()])
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out") from None
    print(f"Wrote {number(options.count, 'scene')} of {options.scenes} to {out}, each above its segments.")
    print(f"To keep scenes: python -m slotjax.data.export --scenes {options.scenes} --count 1000 --out DIR")
    return 0


if __name__ == "__main__":
    from slotjax.cli import run

    run(main)
