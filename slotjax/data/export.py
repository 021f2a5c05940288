"""Keeps scenes as files, so that other people's code can use them too.

    python -m slotjax.data.export --scenes clevr --count 1000 --out DIR [--format tfrecords | array_record]

`tfrecords` is one GZIP file in the layout of the multi-object data sets (CLEVR in the schema of CLEVR-with-masks);
`array_record` a data set that `tfds.builder_from_directory(DIR)` reads. Scenes are a function of the seed and their
number and are written in parts, so the same command goes on where an earlier one was stopped.
"""

import argparse
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from slotjax.data import schemas, tf_example, tfrecords
from slotjax.data.export_array_record import ArrayRecord
from slotjax.data.export_tfrecords import TFRecords
from slotjax.data.rendered import check_seed, draw_scenes, parse_options, scene_family, to_bytes
from slotjax.data.scenes import Scene
from slotjax.errors import UserError
from slotjax.system import derived
from slotjax.system.console import number, progress
from slotjax.system.paths import given
from slotjax.system.writing import write_json

FORMATS = {"tfrecords": TFRecords, "array_record": ArrayRecord}
DEFAULTS = {"clevr": {"resolution": (240, 320), "crop": False, "max_objects": 10}}  # the original's own pictures
READ_BY = {"clevr": "clevr.py:masks"} | {name: f"{name}.py:tfrecords" for name in ("tetrominoes", "multi_dsprites")}
_PART = 32  # scenes of one part: what a stop can cost
_BATCH = 8  # scenes drawn in one call
_MANIFEST = "export.json"


def export(
    name: str, options: dict[str, object], *, count: int, out: Path, format: str, seed: int = 0, split: str = "train"
) -> Path:
    """Writes scenes 0 .. count - 1 of a seed; returns the file (tfrecords) or folder (array_record).

    Raises:
      UserError: anything that would fail, before any work.
    """
    options = DEFAULTS.get(name, {}) | options
    family = scene_family(name, options)
    if count < 1:
        raise UserError(f"--count {count}: at least one scene is needed")
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if not split.isidentifier():
        raise UserError(f"--split {split!r}: use letters, digits and underscores")
    check_seed(seed)
    writer = FORMATS[format](name, jax.eval_shape(family, jax.random.key(0)), out, split)
    sizes = [min(_PART, count - first) for first in range(0, count, _PART)]
    try:
        _claim(out, {"scenes": name, "options": repr(sorted(options.items())), "count": count, "seed": seed})
        with progress(f"{name} to {out}", count) as show:
            for index, size in enumerate(sizes):
                if not writer.has(index, len(sizes)):
                    path = writer.part(index, len(sizes))
                    partial = path.with_name(f".{path.name}.partial")
                    writer.write(partial, _scenes(family, seed, index * _PART, size, show))
                    partial.replace(path)
                show(index * _PART + size)
        return writer.finish(sizes)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): make room, or choose another --out") from None


def _claim(out: Path, wanted: dict[str, object]) -> None:
    """Makes the folder and notes in it what it holds, or checks that it holds the same."""
    found = derived.read(out / _MANIFEST)
    for key, value in wanted.items():
        if found and found.get(key) != value:
            raise UserError(f"{out} holds an export with {key} {found.get(key)!r}, not {value!r}: choose another --out")
    write_json(out / _MANIFEST, wanted)


def _scenes(family: Callable, seed: int, first: int, count: int, show: Callable[[int], object]) -> Iterator[Scene]:
    """Scenes one by one as numpy arrays, pictures in uint8. Every call draws _BATCH, so that one program serves all."""
    for start in range(first, first + count, _BATCH):
        batch = draw_scenes(family, seed, start, _BATCH)
        for index in range(min(_BATCH, first + count - start)):
            scene = jax.tree.map(lambda leaf, index=index: leaf[index], batch)
            yield scene.replace(image=to_bytes(scene.image), segments=scene.segments.astype("uint8"))
            show(start + index + 1)


def hint(name: str, made: Path, split: str) -> str:
    """How what was written is read: by a config where slotjax knows the layout, else in Python."""
    if made.is_dir():
        return (
            f"import tensorflow_datasets as tfds; tfds.builder_from_directory({str(made)!r}).as_data_source({split!r})"
        )
    if name in READ_BY and _follows_a_schema(made):
        return f"python train.py --config configs/{READ_BY[name]} --config.data.path={shlex.quote(str(made))}"
    return (
        "from slotjax.data.tf_example import parse_example; from slotjax.data.tfrecords import read_records; "
        f"examples = [parse_example(record, 'x') for record in read_records({str(made)!r})]"
    )


def _follows_a_schema(made: Path) -> bool:
    """Whether the options were those of the original data set."""
    where = str(made)
    features = tf_example.parse_example(next(tfrecords.read_records(made)), where)
    try:
        schemas.match_schema(features, where)
    except UserError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m slotjax.data.export", description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", required=True, help="the scene family")
    parser.add_argument("--count", type=int, required=True, help="how many scenes")
    parser.add_argument("--out", required=True, help="the folder to write to")
    parser.add_argument("--format", default="tfrecords", help=f"{' or '.join(FORMATS)} (default tfrecords)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--split", default="train", help="name of the split (default train)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the family")
    options = parser.parse_args(arguments)
    made = export(
        options.scenes,
        parse_options(options.option),
        count=options.count,
        out=given(options.out, "--out"),
        format=options.format,
        seed=options.seed,
        split=options.split,
    )
    print(f"Wrote {number(options.count, 'scene')} of {options.scenes} to {made}. To read:")
    print(hint(options.scenes, made, options.split))
    return 0


if __name__ == "__main__":
    from slotjax.cli import run

    run(main)
