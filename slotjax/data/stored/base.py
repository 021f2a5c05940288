"""What every stored data set gives, and what its `open_split` makes of the fields of `config.data`."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slotjax.errors import UserError
from slotjax.nn.fields import choose
from slotjax.system import derived
from slotjax.system.console import progress
from slotjax.system.paths import given

DEFAULT_EVAL_IMAGES = 320  # the paper's number


class Key(NamedTuple):
    """Where the randomness of one training example comes from: its place in the endless sequence of examples.

    Attributes:
      seed: of the run.
      position: step * batch_size + row in the global batch; the same whatever the workers, processes and resumptions.
    """

    seed: int
    position: int

    def generator(self) -> np.random.Generator:
        """A new generator, the same for the same key: for crops, flips, colours, and which part of a video."""
        return np.random.default_rng((self.seed % 2**64, self.position))


class Stored:
    """The examples of one split, by random access: `stored[index]`, or `stored[index, key]` in training.

    An example is a dict with `image` float32 [h, w, 3] in [-1, 1]; where masks are known `segments` int32 [h, w],
    0 = background, ids up to `max_objects`; where objects are known `objects`, arrays of leading length `max_objects`,
    among them `present`. Of a video everything has a leading axis of time, and there may be more: see
    `slotjax.data.scenes.Scene`. A subclass has `__len__` and `example`.
    """

    has_segments = False
    max_objects: int | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def example(self, index: int, key: Key | None) -> dict:
        """One example, a pure function of its arguments: several threads ask at once, in any order.

        Args:
          key: what is augmented or cropped at random draws from `key.generator()` alone; None, as in evaluation, asks
            for the example without any randomness.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """What tells these pictures, as they are given without a key, from any others: the same while no file changes.

        Raises:
          UserError: nobody can tell.
        """
        raise UserError(f"data.feature_cache: a {type(self).__name__} cannot be told from a changed one; set it to 0")

    def __getitem__(self, place: int | tuple[int, Key]) -> dict:
        index, key = place if isinstance(place, tuple) else (place, None)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.example(int(index), key)


def fingerprint_of(files: Iterable[Path], *more: Any) -> str:
    """A checksum of files' names, sizes and times, and of what else matters."""
    digest = hashlib.sha256(repr(more).encode())
    for path in files:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def path_of(config: Any) -> Path:
    """`data.path`; it may be a pattern, or nothing that is there."""
    if not config.get("path"):
        raise UserError(f"data.path is not set: say where {config.get('name')} is, --config.data.path=PATH")
    return given(config["path"], "data.path")


def crop_of(config: Any, default: bool) -> bool | str:
    """`data.crop` as True, False or "reference"."""
    crops = {"default": default, "none": False, "reference": "reference"}
    return choose("data.crop", crops, config.get("crop", "default"))


def centered_of(config: Any) -> bool:
    """`data.crop` where it is the centre that is kept, or the whole that is squashed.

    Raises:
      UserError: it is "reference", the numbers of CLEVR's pictures.
    """
    crop = crop_of(config, default=True)
    if crop == "reference":
        raise UserError("data.crop='reference': is CLEVR's; choose default (the centre) or none (squashed)")
    return bool(crop)


def refuse_max_objects(config: Any) -> None:
    """Raises a `UserError` for `data.max_objects`, where nobody has counted the objects of the pictures."""
    if limit := config.get("max_objects"):
        raise UserError(f"data.max_objects={limit}: {config.get('name')} is not counted; set it to 0")


def counts_of(path: Path, split: str, total: int, count: Callable[[int], int]) -> np.ndarray:
    """The number of objects of every record, int [total]; counted once, then kept in a file beside the data.

    Args:
      path: begins the name of that file.
      split: for people; total: how many records it has.
      count: number of a record -> how many objects it has.
    """
    kept_at = derived.derived_path(path, ".object_counts.json")
    counts = derived.whole_numbers(derived.read(kept_at).get("counts"), total, 2**31)
    if counts is None:
        counts = []
        with progress(f"Counting objects in {split} (once)", total) as advance:
            for record in range(total):
                counts.append(count(record))
                advance(record + 1)
        derived.keep(kept_at, {"counts": counts})
    return np.asarray(counts, np.int64)


def of_split(counts: np.ndarray, config: Any, split: str, path: Path) -> np.ndarray:
    """Indices of the split: of the scenes with few enough objects the first go to "eval", the rest to "train".

    Args:
      counts: int [n], the number of objects of every scene.
    """
    limit = config.get("max_objects")
    passing = np.flatnonzero(counts <= limit) if limit else np.arange(len(counts))
    held_out = config.get("eval_images") or min(DEFAULT_EVAL_IMAGES, max(1, len(passing) // 10))
    if len(passing) <= held_out:
        remedy = f"{'raise data.max_objects or ' if limit else ''}lower data.eval_images; 0 holds out a tenth"
        usable = "1 usable image" if len(passing) == 1 else f"{len(passing)} usable images"
        raise UserError(f"data.path: {path} has {usable}, of which {held_out} would be held out: {remedy}")
    return passing[:held_out] if split == "eval" else passing[held_out:]
