"""Keeps rendered scenes as a file, so that other people's code can use them too.

    python -m slotjax.data.export --scenes clevr --count 1000 --out DIR

The file is one GZIP TFRecord in the layout of the multi-object data sets of Kabra et al. (2019), CLEVR in the schema of
CLEVR-with-masks. Scene i is a function of the seed and i.
"""

import ast
import gzip
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slotjax import cli
from slotjax.data import schemas
from slotjax.data.clevr_properties import NAMES, RECORD_NAMES
from slotjax.data.scenes import SCENES, Scene, check_options
from slotjax.data.tf_example import example, parse_example
from slotjax.data.tfrecords import frame, read_records
from slotjax.errors import UserError, shown
from slotjax.nn.fields import choose
from slotjax.system.console import number, progress
from slotjax.system.writing import whole

CLEVR = ("clevr", "clevr_textured")
DEFAULTS = dict.fromkeys(CLEVR, {"resolution": (240, 320), "crop": False, "max_objects": 10})  # the original's pictures
READ_BY = dict.fromkeys(CLEVR, "clevr.py:masks") | {
    name: f"{name}.py:tfrecords" for name in ("tetrominoes", "multi_dsprites")
}
CLEVR_ENTITIES = 11  # of CLEVR-with-masks, the background among them
BATCH = 8  # scenes drawn in one call


def export(
    name: str, options: dict[str, object], *, count: int, out: Path, seed: int = 0, split: str = "train"
) -> Path:
    """Writes scenes 0 .. count - 1 of a seed into the folder `out`; returns the file, which is whole or not there.

    Raises:
      UserError: anything that would fail, before any work.
    """
    choose("--scenes", SCENES, name)
    check_options(name, options, "--option ")
    family = partial(SCENES[name], **(DEFAULTS.get(name, {}) | options))
    if jax.eval_shape(family, jax.random.key(0)).flow is not None:
        raise UserError(f"--scenes {name}: scenes that move have no such file; export those that stand still")
    if not split.isidentifier():
        raise UserError(f"--split {split!r}: use letters, digits and underscores")
    path = out / f"{name}_{split}.tfrecords"
    if path.exists():
        raise UserError(f"{path} is already there: delete it, or choose another --out")
    try:
        with whole(path) as file, gzip.GzipFile("", "wb", 6, file) as packed, progress(name, count) as show:
            for done, scene in enumerate(draw_scenes(family, seed, count), 1):
                packed.write(frame(example(features(name, scene))))
                show(done)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): make room, or choose another --out") from None
    return path


def draw_scenes(family: Callable[[jax.Array], Scene], seed: int, count: int) -> Iterator[Scene]:
    """The scenes of a seed one by one, as numpy arrays. Every call draws `BATCH`, so that one program serves all."""
    draw = jax.jit(partial(jax.lax.map, family))
    for start in range(0, count, BATCH):
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(start, start + BATCH))
        batch = jax.device_get(draw(keys))
        for index in range(min(BATCH, count - start)):
            yield jax.tree.map(lambda leaf, index=index: leaf[index], batch)


def features(name: str, scene: Scene) -> dict[str, np.ndarray]:
    """The features of a scene of numpy arrays, as the multi-object data sets have them; entity 0 is the background."""
    attributes: dict[str, Any] = dict(scene.objects)
    present = attributes.pop("present")
    entities = CLEVR_ENTITIES if name in CLEVR else len(present) + 1
    if name in CLEVR:
        attributes = of_clevr_with_masks(attributes, present)
    masks = np.where(scene.segments == np.arange(entities)[:, None, None], 255, 0).astype(np.uint8)
    image = np.clip(np.round((scene.image + 1.0) * 127.5), 0, 255).astype(np.uint8)
    stored = {"image": image, "mask": np.moveaxis(masks, 0, 2 if name == "multi_dsprites" else 0)}
    for key, values in (attributes | {"visibility": present}).items():
        values = values if values.dtype == np.uint8 else values.astype(np.float32)
        stored[key] = np.zeros((entities, *values.shape[1:]), values.dtype)
        stored[key][1 : 1 + len(values)] = values
    stored["visibility"][0] = 1
    return stored


def of_clevr_with_masks(objects: dict[str, np.ndarray], present: np.ndarray) -> dict[str, np.ndarray]:
    """CLEVR's attributes under the names and codes of CLEVR-with-masks."""
    attributes = dict(zip("xyz", objects["3d_coords"].T, strict=True))
    attributes |= {key: objects[key] for key in ("pixel_coords", "rotation")}
    for key, names in NAMES.items():
        codes = np.array([1 + RECORD_NAMES[key].index(word) for word in names])[objects[key]]
        attributes[key] = np.where(present, codes, 0).astype(np.uint8)
    return attributes


def hint(name: str, made: Path) -> str:
    """How what was written is read: by a config, or in Python where the options were not the original data set's."""
    if name in READ_BY and follows_a_schema(made):
        return f"python train.py --config configs/{READ_BY[name]} --config.data.path={shlex.quote(str(made))}"
    return (
        "from slotjax.data.tf_example import parse_example; from slotjax.data.tfrecords import read_records; "
        f"examples = [parse_example(record, 'x') for record in read_records({str(made)!r})]"
    )


def follows_a_schema(made: Path) -> bool:
    try:
        schemas.match_schema(parse_example(next(read_records(made)), str(made)), str(made))
    except UserError:
        return False
    return True


def parse_options(texts: list[str]) -> dict[str, object]:
    """Options given as NAME=VALUE, VALUE being a Python literal or a plain word."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise UserError(f"--option {shown(text)}: is not of the form NAME=VALUE, as in max_objects=6")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser("data.export", __doc__)
    parser.add_argument("--scenes", required=True, help=f"the scene family: {', '.join(SCENES)}")
    parser.add_argument("--count", type=cli.integer(1, 10**8), required=True, help="how many scenes")
    parser.add_argument("--out", type=cli.path, required=True, help="the folder to write to")
    parser.add_argument("--seed", type=cli.integer(-(2**63), 2**63 - 1), default=0, help="default 0")
    parser.add_argument("--split", default="train", help="name of the split (default train)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the family")
    given = parser.parse_args(arguments)
    options = parse_options(given.option)
    made = export(given.scenes, options, count=given.count, out=given.out, seed=given.seed, split=given.split)
    print(f"Wrote {number(given.count, 'scene')} of {given.scenes} to {made}. To read:")
    print(hint(given.scenes, made))


if __name__ == "__main__":
    cli.run(main)
