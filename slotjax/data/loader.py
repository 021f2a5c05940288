"""Stored data sets by name, and batches from them in which batch s is a pure function of (seed, s)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from slotjax.data import cache, preprocess
from slotjax.data.stored import clevr_tfds, folder, multi_object
from slotjax.errors import UserError

DEFAULT_EVAL_IMAGES = 320  # the paper's number
# A larger file takes more than a few minutes to convert: that is a step of its own, not a surprise of the first run.
_MAX_UNASKED_BYTES = 2**30


class Stored(Protocol):
    """A random-access sequence of examples.

    An example has `image` float32 [h, w, 3] in [-1, 1]; where masks are known `segments` int32 [h, w], 0 = background,
    ids up to `max_objects`; where objects are known `objects`, arrays of leading length `max_objects` with `present`.
    """

    @property
    def has_segments(self) -> bool: ...

    @property
    def max_objects(self) -> int | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


def open_stored(data_config: Any, resolution: tuple[int, int], split: str) -> Stored:
    """Open one split of the stored data set that `data_config.name` names.

    Args:
      data_config: an `ml_collections.ConfigDict` (or dict) with
        name: a key of `STORED`.
        path: the file or folder; for clevr_tfds the TFDS data directory (None: ~/tensorflow_datasets).
        eval_images: how many images the split "eval" has (None: 320, or a tenth of a small set).
        max_objects: keep scenes with at most so many objects (None: all).
        crop: see `preprocess.clevr_window` and slotjax/data/stored/folder.py; both default to True, the others take none.
      resolution: height and width of the images.
      split: "train" or "eval".

    Raises:
      UserError: data that is missing, damaged, of another kind, or too small for the split.
    """
    if split not in ("train", "eval"):
        raise ValueError(f'split is {split!r}: choose "train" or "eval"')
    name = data_config.get("name")
    if name not in STORED:
        raise UserError(f"data.name is {name!r}, no stored data set: choose one of {', '.join(STORED)}")
    for field, least in (("eval_images", 1), ("max_objects", 1)):
        value = data_config.get(field)
        if value is not None and value < least:
            raise UserError(f"data.{field} is {value}: it must be at least {least}")
    return STORED[name](data_config, (int(resolution[0]), int(resolution[1])), split)


def _open_clevr_tfds(config: Any, resolution: tuple[int, int], split: str) -> Stored:
    path = config.get("path") or "~/tensorflow_datasets"
    limit = (config.get("eval_images") or DEFAULT_EVAL_IMAGES) if split == "eval" else None
    return clevr_tfds.ClevrTfds(
        Path(path).expanduser(),
        {"train": "train", "eval": "validation"}[split],
        resolution,
        max_objects=config.get("max_objects"),
        limit=limit,
        crop=_crop(config, default=True),
    )


def _multi_object(name: str) -> Callable[[Any, tuple[int, int], str], Stored]:
    def open_split(config: Any, resolution: tuple[int, int], split: str) -> Stored:
        path = _path(config)
        records = multi_object.Converted(_converted(path, name))
        if records.schema.name != name:
            raise UserError(f"data.path: {path} holds {records.schema.name}, not {name}: mend data.path or data.name")
        is_clevr = name == "clevr_with_masks"
        crop = _crop(config, default=is_clevr)
        if crop and not is_clevr:
            raise UserError(f"data.crop is {crop!r}, but {name} is not cropped: leave data.crop at its default")
        window = preprocess.clevr_window(*records.schema.image[:2], crop)
        chosen = _split(records.counts, config, split, path)
        return multi_object.MultiObject(records, chosen, resolution, window)

    return open_split


def _open_folder(config: Any, resolution: tuple[int, int], split: str) -> Stored:
    path = _path(config)
    pictures, masks, counts = folder.scan(path)
    chosen = _split(counts if masks else np.zeros(len(pictures), np.int64), config, split, path)
    crop = _crop(config, default=True)
    if crop not in (True, False):
        raise UserError(f"data.crop is {crop!r}: for a folder of pictures choose True (centre) or False (squash)")
    return folder.Folder(
        [pictures[i] for i in chosen],
        [masks[i] for i in chosen] if masks else [],
        resolution,
        crop=crop,
        max_objects=(config.get("max_objects") or max(1, int(counts.max()))) if masks else None,
    )


STORED: dict[str, Callable[[Any, tuple[int, int], str], Stored]] = {
    "clevr_tfds": _open_clevr_tfds,
    "clevr_with_masks": _multi_object("clevr_with_masks"),
    "tetrominoes_tfrecords": _multi_object("tetrominoes"),
    "multi_dsprites_tfrecords": _multi_object("multi_dsprites"),
    "objects_room_tfrecords": _multi_object("objects_room"),
    "folder": _open_folder,
}


def _crop(config: Any, default: bool) -> bool | str:
    crop = config.get("crop")
    return default if crop is None else crop


def _path(config: Any) -> Path:
    path = config.get("path")
    if not path:
        raise UserError(f"data.path is not set: say where {config.get('name')} is, --config.data.path=PATH")
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"data.path: {path} does not exist: check the path")
    return path


def _converted(path: Path, name: str) -> Path:
    """The converted form of what data.path names: itself, or made on first use where the file is small."""
    if path.is_dir():
        if (path / multi_object.INDEX).is_file():
            return path
        files = sorted(path.glob("*.tfrecords"))
        if len(files) != 1:
            found = ", ".join(file.name for file in files[:4]) or "none"
            raise UserError(
                f"data.path: {path} should hold one .tfrecords file, it holds {found}: give the file's path"
            )
        path = files[0]
    from slotjax.data import convert

    destination = cache.derived_path(path, ".converted")
    if not (destination / multi_object.INDEX).is_file():
        if path.stat().st_size > _MAX_UNASKED_BYTES:
            command = f"python -m slotjax.data.convert {path} DESTINATION --dataset {name}"
            raise UserError(f"data.path: {path} must be converted first: {command}")
        cache.say(f"Converting {path} into {destination} (once).")
    elif multi_object.Converted(destination).source == convert.fingerprint(path):
        return destination
    return convert.convert(path, destination, name)


def _split(counts: np.ndarray, config: Any, split: str, path: Path) -> np.ndarray:
    """Indices of the split: of the scenes with few enough objects the first go to "eval", the rest to "train"."""
    limit = config.get("max_objects")
    passing = np.arange(len(counts)) if limit is None else np.flatnonzero(counts <= limit)
    held_out = config.get("eval_images") or min(DEFAULT_EVAL_IMAGES, max(1, len(passing) // 10))
    if len(passing) <= held_out:
        remedy = "lower data.eval_images" + ("" if limit is None else " or raise data.max_objects")
        raise UserError(
            f"data.path: {path} has {len(passing)} usable images, {held_out} are held out for evaluation: {remedy}"
        )
    return passing[:held_out] if split == "eval" else passing[held_out:]


def batches(
    stored: Stored,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    rows: slice | None = None,
    num_workers: int = 0,
) -> Iterator[dict]:
    """Endless batches from `start_step` on, every epoch in another order.

    Batch s holds the entries s * batch_size ... of an endless sequence of shuffled epochs, so it depends on the seed
    and s alone: not on where the iteration started, on the workers, or on how many processes share the batch.

    Args:
      batch_size: of the global batch.
      rows: this process's part of the global batch (None: all of it).
      num_workers: threads that read ahead; 0 reads in the calling thread when asked. (Threads, not processes: reading,
        unpacking and decoding release the interpreter lock, and they work in any script.)
    """
    import grain

    first, last, _ = (rows or slice(None)).indices(batch_size)
    count = last - first
    if count < 1:
        raise ValueError(f"rows {rows} of a batch of {batch_size} are empty")
    order: Any = grain.MapDataset.range(len(stored)).shuffle(seed=seed % 2**32).repeat()

    def example(position: int, _: int) -> dict:
        step, row = divmod(position, count)
        return stored[order[(start_step + step) * batch_size + first + row]]

    ahead = max(2 * count, num_workers) if num_workers else 0
    options = grain.ReadOptions(num_threads=num_workers, prefetch_buffer_size=ahead)
    examples = grain.MapDataset.range(1).repeat().map_with_index(example)
    return iter(examples.to_iter_dataset(options).batch(count, batch_fn=stack))


def eval_batches(stored: Stored, *, batch_size: int) -> Iterator[dict]:
    """Every example once, in order. The last batch is filled up with repeats; `valid` bool [b] marks the others."""
    for start in range(0, len(stored), batch_size):
        positions = np.arange(start, start + batch_size)
        valid = positions < len(stored)
        examples = [stored[i] for i in positions[valid]]
        examples += [examples[-1]] * int((~valid).sum())
        yield stack(examples) | {"valid": valid}


def stack(examples: Sequence[dict]) -> dict:
    """Examples of the same structure as one with a leading axis."""
    return {
        name: stack([example[name] for example in examples])
        if isinstance(value, dict)
        else np.stack([example[name] for example in examples])
        for name, value in examples[0].items()
    }
