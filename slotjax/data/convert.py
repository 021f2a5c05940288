"""Convert multi-object TFRecords or videos, once, into a form with random access.

    python -m slotjax.data.convert SOURCE DESTINATION [--dataset clevr_with_masks]
    python -m slotjax.data.convert SOURCE DESTINATION --dataset videos

SOURCE is a file, a pattern ('x.tfrecord-*') or a folder of shards. The originals are gzip streams of up to 10 GB that
unpack to hundreds, and that can only be read from their start. The converted form (slotjax/data/converted.py) takes
some 60 KB a CLEVR scene. A conversion that was stopped goes on with the first unfinished shard; what was done is
unpacked again on the way there, but neither checked nor written again.

With `--dataset videos` SOURCE is a folder of videos, or of MOVi's TFRecord files (slotjax/data/convert_videos.py).
"""

import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slotjax import cli
from slotjax.data import array_records, convert_videos, schemas, tf_example, tfrecords
from slotjax.data.converted import FORMAT, INDEX, Converted
from slotjax.data.destination import fill
from slotjax.errors import UserError
from slotjax.system import derived
from slotjax.system.checksum import masked_crc32c
from slotjax.system.console import number, progress, say
from slotjax.system.paths import given
from slotjax.system.writing import write_json

_SHARD_BYTES = 2**28  # before compression: about 870 CLEVR scenes, the most that a kill can lose


def convert(source: str | Path, destination: str | Path, dataset: str | None = None) -> Path:
    """Convert `source` into the folder `destination`, which appears only when it is complete.

    Args:
      source: see `tfrecords.find`.
      dataset: the data set it must be (see `schemas.NAMES`); None finds out from the records.

    Raises:
      UserError: the source is missing, truncated, damaged or of another schema; the destination holds something else.
    """
    files = tfrecords.find(given(source, "source"), "source")
    folder = given(destination, "destination").resolve()
    return fill(
        folder,
        INDEX,
        same=lambda: Converted(folder).source == fingerprint(files),
        write=lambda work: _convert_shards(files, work, dataset),
        source=source,
    )


def fingerprint(files: Sequence[Path]) -> dict:
    """What identifies source files, wherever they are copied: their size and a checksum of their first MiBs."""
    checksums = []
    for path in files:
        with path.open("rb") as file:
            checksums.append(masked_crc32c(file.read(2**20)))
    size = sum(path.stat().st_size for path in files)
    return {"bytes": size, "crc32c": checksums if len(files) > 1 else checksums[0]}


def _convert_shards(files: Sequence[Path], work: Path, dataset: str | None) -> None:
    """Write what is missing of the shards in `work`, each with the index of those that are there."""
    state: dict[str, Any] = derived.read(work / INDEX)
    if state.get("format") != FORMAT:
        state = {"format": FORMAT, "source": fingerprint(files), "shards": []}
    elif state["source"] != fingerprint(files):
        raise UserError(f"{work} holds the unfinished conversion of another file: delete it")
    done = sum(len(shard["counts"]) for shard in state["shards"])
    if done:
        shards = number(len(state["shards"]), "shard")
        say(f"Going on after {number(done, 'record')} in {shards} already there.")
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    size = sum(path.stat().st_size for path in files)
    with progress(f"Converting {name}", size, in_bytes=True) as advance:
        records = _encoded(tfrecords.read_shards(files, skip=done, progress=advance), dataset, state)
        while counts := _write_shard(work / _shard_name(state), records, state):
            state["shards"].append({"file": _shard_name(state), "counts": counts})
            write_json(work / INDEX, state, indent=None, durable=True)
    if not state["shards"]:
        raise UserError(f"{files[0]} holds no records: copy or download the file again")


def _encoded(payloads: Iterator[tuple[str, bytes]], dataset: str | None, state: dict) -> Iterator[tuple[bytes, int]]:
    """Each record in its converted form with its number of objects. The first fixes the schema, noted in `state`."""
    for where, payload in payloads:
        features = tf_example.parse_example(payload, where)
        schema = schemas.match_schema(features, where, dataset)
        found = schemas.schema_to_json(schema)
        if any(state.setdefault(key, value) != value for key, value in found.items()):
            raise UserError(f"{where} follows another schema than the records before it: the file is a mixture")
        record = schema.encode(features)
        yield record.tobytes(), schema.count_objects(record)


def _shard_name(state: dict) -> str:
    return f"shard-{len(state['shards']):05d}.array_record"


def _write_shard(path: Path, records: Iterator[tuple[bytes, int]], state: dict) -> list[int]:
    """Write up to `_SHARD_BYTES`; return the number of objects of each record written ([] at the end)."""
    first = next(records, None)
    if first is None:
        return []
    limit = max(1, _SHARD_BYTES // len(first[0]))
    counts = []

    def counted() -> Iterator[bytes]:
        for record, count in itertools.chain([first], itertools.islice(records, limit - 1)):
            yield record
            counts.append(count)

    array_records.write(path, counted())
    return counts


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser("data.convert", __doc__)
    parser.add_argument("source", help="a .tfrecords file, a pattern or a folder of shards; or a folder of videos")
    parser.add_argument("destination", help="the folder to write")
    parser.add_argument("--dataset", choices=(*schemas.NAMES, "videos"), help="refuse any other (default: found out)")
    options = parser.parse_args(arguments)
    if options.dataset == "videos":
        videos = convert_videos.convert(options.source, options.destination)
        print(f"Use it with --config.data.name=movi --config.data.path={shlex.quote(str(videos))}")
        return
    made = Converted(convert(options.source, options.destination, options.dataset))
    objects = ", ".join(f"{n}: {scenes}" for n, scenes in enumerate(np.bincount(made.counts)) if scenes)
    where, scenes = made.directory, number(len(made), "scene")
    print(f"Wrote {scenes} of {made.schema.name} to {where} (scenes by objects: {objects}).")
    print(f"Use it with --config.data.path={shlex.quote(str(where))}")


if __name__ == "__main__":
    cli.run(main)
