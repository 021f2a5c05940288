"""Convert a multi-object TFRecord file, once, into a form with random access.

    python -m slotjax.data.convert SOURCE.tfrecords DESTINATION [--dataset clevr_with_masks]

The original is one gzip stream of up to 10 GB that unpacks to hundreds, and that can only be read from its start. The
converted form (slotjax/data/stored/multi_object.py) takes some 60 KB a CLEVR scene. A conversion that was stopped goes on with
the first unfinished shard; what was done is unpacked again on the way there, but neither checked nor written again.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import cache, tfrecords
from slotjax.data.stored import multi_object
from slotjax.errors import UserError

_SHARD_BYTES = 2**28  # before compression: about 870 CLEVR scenes, the most that a kill can lose
_PROGRESS = "progress.json"


def convert(source: Path, destination: Path, dataset: str | None = None) -> Path:
    """Convert `source` into the folder `destination`, which appears only when it is complete.

    Args:
      dataset: the data set it must be (see `multi_object.NAMES`); None finds out from the records.

    Raises:
      UserError: the source is missing, truncated, damaged or of another schema; the destination holds something else.
    """
    source, destination = Path(source), Path(destination).resolve()
    if not source.is_file():
        raise UserError(f"{source} is not a file: give the path of a .tfrecords file")
    _make_folder(destination.parent)
    with cache.locked(destination):
        if (destination / multi_object.INDEX).is_file():
            _check_same_source(destination, source)
            cache.say(f"{destination} is already there, converted from this file.")
            return destination
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise UserError(f"{destination} exists and is no converted data set: choose another destination")
        work = destination.with_name(destination.name + ".partial")
        try:
            index = _convert_shards(source, work, dataset)
            cache.write_json(work / multi_object.INDEX, index)
            work.replace(destination)
            (destination / _PROGRESS).unlink()
        except (RuntimeError, OSError) as error:  # ArrayRecord's and Python's
            reason = str(error).split(";")[0]
            raise UserError(f"{work} cannot be written ({reason}): make room there and start again") from None
    return destination


def fingerprint(source: Path) -> dict:
    """What identifies a source file, wherever it is copied: size and the checksum of its first MiB."""
    with source.open("rb") as file:
        return {"bytes": source.stat().st_size, "crc32c": tfrecords.masked_crc32c(file.read(2**20))}


def _check_same_source(destination: Path, source: Path) -> None:
    if multi_object.Converted(destination).source != fingerprint(source):
        raise UserError(f"{destination} was converted from another file than {source}: delete it or choose another")


def _convert_shards(source: Path, work: Path, dataset: str | None) -> dict:
    """Write what is missing of the shards in `work`; return the index."""
    _make_folder(work)
    state: dict[str, Any] | None = cache.read_json(work / _PROGRESS)
    if state is None or not _is_progress(state):
        state = {"format": multi_object.FORMAT, "source": fingerprint(source), "shards": []}
    elif state["source"] != fingerprint(source):
        raise UserError(f"{work} holds the unfinished conversion of another file: delete it")
    done = sum(len(shard["counts"]) for shard in state["shards"])
    if done:
        cache.say(f"Going on after {done} records in {len(state['shards'])} shards that are already there.")
    with cache.progress(f"Converting {source.name}", source.stat().st_size, in_bytes=True) as advance:
        payloads = tfrecords.read_records(source, skip=done, progress=advance)
        records = _encoded(payloads, source, done, dataset, state)
        while counts := _write_shard(work / _shard_name(state), records, state):
            state["shards"].append({"file": _shard_name(state), "counts": counts})
            cache.write_json(work / _PROGRESS, state)
    if not state["shards"]:
        raise UserError(f"{source} holds no records: copy or download the file again")
    return state


def _is_progress(state: dict[str, Any]) -> bool:
    """Whether a file of progress holds what this version writes; otherwise the conversion starts anew."""
    shards = state.get("shards")
    return (
        state.get("format") == multi_object.FORMAT
        and isinstance(state.get("source"), dict)
        and isinstance(shards, list)
        and all(isinstance(shard, dict) and isinstance(shard.get("counts"), list) for shard in shards)
    )


def _encoded(
    payloads: Iterator[bytes], source: Path, start: int, dataset: str | None, state: dict
) -> Iterator[tuple[bytes, int]]:
    """Each record in its converted form with its number of objects. The first fixes the schema, noted in `state`."""
    for index, payload in enumerate(payloads, start):
        where = f"{source}: record {index}"
        features = tfrecords.parse_example(payload, where)
        schema = multi_object.match_schema(features, where, dataset)
        found = multi_object.schema_to_json(schema)
        if any(state.setdefault(key, value) != value for key, value in found.items()):
            raise UserError(f"{where} follows another schema than the records before it: the file is a mixture")
        record = schema.encode(features)
        yield record.tobytes(), schema.count_objects(record)


def _shard_name(state: dict) -> str:
    return f"shard-{len(state['shards']):05d}.array_record"


def _write_shard(path: Path, records: Iterator[tuple[bytes, int]], state: dict) -> list[int]:
    """Write up to `_SHARD_BYTES`; return the number of objects of each record written ([] at the end)."""
    from array_record.python.array_record_module import ArrayRecordWriter  # ty: ignore[import-not-found]

    first = next(records, None)
    if first is None:
        return []
    limit = max(1, _SHARD_BYTES // len(first[0]))
    writer = ArrayRecordWriter(str(path), "group_size:1,zstd:1")
    counts = []
    try:
        record = first
        while record is not None:
            writer.write(record[0])
            counts.append(record[1])
            record = next(records, None) if len(counts) < limit else None
    finally:
        writer.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return counts


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error.strerror}): choose another destination") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m slotjax.data.convert", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="the .tfrecords file")
    parser.add_argument("destination", type=Path, help="the folder to write")
    parser.add_argument("--dataset", choices=multi_object.NAMES, help="refuse any other (default: found out)")
    options = parser.parse_args(arguments)
    try:
        made = multi_object.Converted(convert(options.source, options.destination, options.dataset))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on where this one was.", file=sys.stderr)
        return 130
    objects = ", ".join(f"{n}: {scenes}" for n, scenes in enumerate(np.bincount(made.counts)) if scenes)
    print(f"Wrote {len(made)} scenes of {made.schema.name} to {options.destination} (scenes by objects: {objects}).")
    print(f"Use it with --config.data.path={options.destination}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
