"""Look before training: a contact sheet of scenes with their segments.

python -m slotjax.data.preview --scenes clevr --count 16 --out scenes.png
"""

import argparse
import ast
import functools
import inspect
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.data.scenes import SCENES, Scene
from slotjax.errors import UserError

_MOST = 400  # pictures of one sheet
_GAP = 2  # pixels between pictures
_BACKGROUND = (0.12, 0.12, 0.12)


def scene_family(name: str, options: dict[str, object]) -> Callable[[jax.Array], Scene]:
    """The scene family of this name with its options bound, checked without drawing anything.

    Raises:
      UserError: no such family, no such option, or a value the family refuses.
    """
    if name not in SCENES:
        raise UserError(f"unknown scene family {name!r}: choose one of {', '.join(SCENES)}")
    family = SCENES[name]
    known = [parameter for parameter in inspect.signature(family).parameters if parameter != "key"]
    for option in options:
        if option not in known:
            raise UserError(f"{name} has no option {option!r}: it has {', '.join(known) or 'none'}")
    bound = functools.partial(family, **options)
    try:
        jax.eval_shape(bound, jax.random.key(0))
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise UserError(f"{name} does not take {given}: {str(error).splitlines()[0]}") from None
    return bound


def parse_options(texts: list[str]) -> dict[str, object]:
    """Options given as NAME=VALUE, VALUE being a Python literal or a plain word."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise UserError(f"option {text!r} is not of the form NAME=VALUE, as in max_objects=6")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def draw_scenes(family: Callable[[jax.Array], Scene], seed: int, first: int, count: int) -> Scene:
    """Scenes number first .. first + count - 1 of this seed, with a leading axis of length count.

    They are drawn one after the other, so memory does not grow with their number beyond the result.
    """
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(first, first + count))
    return jax.tree.map(np.asarray, _draw(family, keys))


@functools.partial(jax.jit, static_argnums=0)
def _draw(family: Callable[[jax.Array], Scene], keys: jax.Array) -> Scene:
    return jax.lax.map(family, keys)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Pictures in [-1, 1] as uint8."""
    return np.clip(np.round((image + 1.0) * 127.5), 0, 255).astype(np.uint8)


def segment_colors(segments: np.ndarray) -> np.ndarray:
    """Segments int [...] as uint8 pictures [..., 3]: dark grey for the background, a colour of its own for each id."""
    from matplotlib import colormaps

    palette = np.concatenate([[_BACKGROUND], colormaps["tab10"](np.arange(10))[:, :3]])
    index = np.where(segments > 0, (segments - 1) % 10 + 1, 0)
    return np.round(palette[index] * 255).astype(np.uint8)


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


def check_writable(path: Path) -> None:
    """Raises a UserError unless a file could be made at `path`; leaves nothing behind."""
    try:
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another --out") from None


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m slotjax.data.preview", description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", required=True, help=f"the family: {', '.join(SCENES)}")
    parser.add_argument("--count", type=int, default=16, help="how many scenes (default 16)")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write, .png or .jpg")
    parser.add_argument("--seed", type=int, default=0, help="scenes are a function of seed and number (default 0)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the family")
    options = parser.parse_args(arguments)
    if not 1 <= options.count <= _MOST:
        raise UserError(f"--count {options.count}: a sheet has 1 to {_MOST} scenes")
    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out {options.out}: the name must end in .png or .jpg")
    family = scene_family(options.scenes, parse_options(options.option))
    check_writable(options.out)

    from PIL import Image

    scenes = draw_scenes(family, options.seed, 0, options.count)
    Image.fromarray(contact_sheet(scenes)).save(options.out)
    print(f"Wrote {options.count} scenes of {options.scenes} to {options.out}, each above its segments.")
    print(f"To keep scenes: python -m slotjax.data.export --scenes {options.scenes} --count 1000 --out DIR")
    return 0


if __name__ == "__main__":
    from slotjax.cli import run

    run(main)
