"""A folder of the user's own pictures, with or without masks.

Every file below the folder whose ending is one of `pairing.ENDINGS`, in capitals or not, is a picture or a mask
(`pairing` tells which); other files are passed over, hidden ones unseen. `slotjax.data.pictures` says what is read and
how it is cut. Every file is unpacked once, at the start, so that a damaged one does not end a run that has begun.
"""

import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import pictures
from slotjax.data.stored import pairing
from slotjax.data.stored.base import Key, Stored, centered_of, fingerprint_of, of_split, path_of
from slotjax.errors import UserError
from slotjax.system import derived
from slotjax.system.console import number, progress, say

_NAMED = 20  # files that cannot be used
_THREADS = 8  # at most: each may hold a large picture


def open_split(config: Any, resolution: tuple[int, int], split: str) -> "Folder":
    crop, path = centered_of(config), path_of(config)
    found = scan(path)
    chosen = of_split(found.counts if found.masks else np.zeros(len(found.pictures), np.int64), config, split, path)
    most = (config.get("max_objects") or max(1, int(found.counts.max()))) if found.masks else None
    paths, masks, classes = (
        [files[i] for i in chosen] if files else [] for files in (found.pictures, found.masks, found.classes)
    )
    return Folder(paths, masks, resolution, crop=crop, max_objects=most, classes=classes)


class Folder(Stored):
    """The pictures of a folder as examples: `image`, and with masks `segments` and `objects` (`present` alone).

    Without a key there are `classes` too, where there are masks of them.

    Args:
      paths: the pictures.
      masks: their masks, in the same order; or empty.
      max_objects: the most objects a mask shows; None without masks.
      classes: masks of classes, likewise.
    """

    def __init__(
        self,
        paths: list[Path],
        masks: list[Path],
        resolution: tuple[int, int],
        *,
        crop: bool,
        max_objects: int | None,
        classes: list[Path],
    ):
        self.has_segments = bool(masks)
        self.max_objects = max_objects
        self._paths, self._masks, self._classes = paths, masks, classes
        self._resolution, self._crop = resolution, crop

    def __len__(self) -> int:
        return len(self._paths)

    def fingerprint(self) -> str:
        return fingerprint_of(self._paths, self._resolution, self._crop)

    def example(self, index: int, key: Key | None) -> dict:
        image = pictures.load_picture(self._paths[index], self._resolution, self._crop)
        if self.max_objects is None:
            return {"image": image}
        segments = pictures.load_mask(self._masks[index], self._resolution, self._crop)
        present = np.isin(np.arange(1, self.max_objects + 1), segments)
        example = {"image": image, "segments": segments, "objects": {"present": present}}
        if self._classes and key is None:
            example["classes"] = pictures.load_mask(self._classes[index], self._resolution, self._crop)
        return example


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
      pictures: in the order of their names.
      masks: one for each picture; or none at all.
      counts: int [n], the number of objects of each mask.
      classes: masks of classes, one for each picture; or none at all.
    """

    pictures: list[Path]
    masks: list[Path]
    counts: np.ndarray
    classes: list[Path]


def scan(directory: Path) -> Found:
    """Finds the pictures and masks of a folder, unpacks those that were not unpacked before, and says what it found.

    Raises:
      UserError: the folder is missing or holds no pictures; masks do not fit the pictures; files are damaged.
    """
    if not directory.is_dir():
        what = "is no folder" if directory.exists() else "does not exist"
        raise UserError(f"data.path: {directory} {what}: give the folder that holds the pictures")
    files = pairing.files_below(directory)
    usable = [path for path in files if path.suffix.lower() in pairing.ENDINGS]
    others = _others(path for path in files if path.suffix.lower() not in pairing.ENDINGS)
    if not usable:
        raise UserError(
            f"data.path: {directory} holds no pictures{others and f', {others}'}: give one with PNG or JPEG"
        )
    found, masks, classes, unused = _paired(usable, directory)
    counts = _check(directory, found, masks, classes)
    if masks and not counts.any():
        raise UserError(
            f"data.path: none of the {number(len(masks), 'mask')}, such as {masks[0]}, shows an object: mend them"
        )
    passed = [f"{number(unused, 'mask')} without a picture"] * bool(unused) + [others] * bool(others)
    _say_once(
        f"{directory}: {number(len(found), 'picture')}, {len(masks) or 'none'} with a mask"
        + (f"; passed over: {', '.join(passed)}" if passed else "")
    )
    return Found(found, masks, counts, classes)


def _paired(files: list[Path], directory: Path) -> tuple[list[Path], list[Path], list[Path], int]:
    """Pictures, their masks, those of classes if there are both, and how many masks have no picture."""
    of_classes = [path for path in files if pairing.shows_classes(path, directory)]
    rest = sorted({*files} - {*of_classes})
    found, masks, unused = pairing.pair(rest, directory)
    if not of_classes or not masks:
        found, masks, unused = pairing.pair(files, directory)
        return found, masks, [], unused
    _, classes, others = pairing.pair(sorted([*found, *of_classes]), directory)
    return found, masks, classes, unused + others


_say_once = functools.cache(say)  # the splits of one folder are opened one after the other


def _others(files: Iterable[Path]) -> str:
    """In words: "3 other files (.txt 2, .json 1)"."""
    counts = Counter(ascii(path.suffix or path.name).strip("'") for path in files)
    kinds = ", ".join(f"{ending} {count}" for ending, count in counts.most_common(5))
    return f"{number(counts.total(), 'other file')} ({kinds})" if counts else ""


def _check(directory: Path, found: list[Path], masks: list[Path], classes: list[Path]) -> np.ndarray:
    """Unpacks every file that was not unpacked before; returns the number of objects of each of `masks`, int [n].

    What was found out is kept for the next start: of each file size, time, height and width, and the number of objects
    (0 of a picture).
    """
    kept_at = derived.derived_path(directory, ".checked.json")
    kept = derived.read(kept_at)
    measures = dict.fromkeys(found, _measure_picture) | dict.fromkeys([*masks, *classes], _measure_mask)
    stamps = {path: _stamp(path) for path in measures}
    facts = {path: known for path in measures if (known := _known(kept, path, directory, stamps[path])) is not None}
    unknown = {path: measure for path, measure in measures.items() if path not in facts}
    faults: dict[Path, str] = {}
    if unknown:
        try:
            for path, result in _measured(unknown, f"Checking {directory.name} (once)"):
                if isinstance(result, str):
                    faults[path] = result
                else:
                    facts[path] = [*stamps[path], *result]
        finally:
            derived.keep(kept_at, {_name(path, directory): numbers for path, numbers in facts.items()})
    for picture, mask in itertools.chain(zip(found, masks), zip(found, classes)):  # noqa: B905, either may be empty
        if picture in facts and mask in facts and facts[picture][2:4] != facts[mask][2:4]:
            (height, width), (rows, columns) = facts[picture][2:4], facts[mask][2:4]
            faults[mask] = f"{mask} is {columns}x{rows}, but its picture {width}x{height}: resize it"
    if faults:
        named = "; ".join([*faults.values()][:_NAMED]) + f"; and {len(faults) - _NAMED} more" * (len(faults) > _NAMED)
        raise UserError(f"data.path: {number(len(faults), 'file')} of {len(measures)} cannot be used: {named}")
    return np.array([facts[mask][4] for mask in masks], np.int64)


def _known(kept: dict, path: Path, directory: Path, stamp: list[int]) -> list[int] | None:
    """What is kept of a file that is still the same."""
    facts = derived.whole_numbers(kept.get(_name(path, directory)), 5, 2**63)
    return facts if facts and facts[:2] == stamp and facts[4] <= pictures.MAX_MASK_IDS else None


def _measured(
    measures: Mapping[Path, Callable[[Path], list[int]]], description: str
) -> Iterable[tuple[Path, list[int] | str]]:
    """What is measured of each file, by threads, with a bar; or what is wrong with it."""

    def attempt(path: Path) -> list[int] | str:
        try:
            return measures[path](path)
        except UserError as error:
            return str(error)

    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        with progress(description, len(measures)) as advance:
            for done, found in enumerate(zip(measures, pool.map(attempt, measures), strict=True), 1):
                yield found
                advance(done)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest


def _measure_picture(path: Path) -> list[int]:
    width, height = pictures.read_rgb(path)[0].size
    return [height, width, 0]


def _measure_mask(path: Path) -> list[int]:
    ids = pictures.read_mask(path)
    return [*ids.shape, int(ids.max(initial=0))]


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return [0, 0]  # a link to nowhere, say: reading it will tell
    return [status.st_size, status.st_mtime_ns]


def _name(path: Path, directory: Path) -> str:
    return ascii(str(path.relative_to(directory)))  # names that are no UTF-8 too
