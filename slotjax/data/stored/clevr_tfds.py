"""TFDS `clevr`, read from ArrayRecord files without TensorFlow.

`python -m slotjax.data.prepare_clevr` makes those files from the official archive. The data set has no masks; its
object codes are TFDS's own (`dataset_info` there lists the names). In the full pictures (crop off) every object is
present; in the crop those are whose centre lies inside.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from slotjax.data import preprocess
from slotjax.data.pictures import unpack
from slotjax.data.stored.base import DEFAULT_EVAL_IMAGES, Key, Stored, counts_of, crop_of
from slotjax.errors import UserError, first_line, shown
from slotjax.system.extras import extra
from slotjax.system.paths import given
from slotjax.system.reading import read_json

MAX_OBJECTS = 10  # of the CLEVR generator
_FIELDS = {
    "3d_coords": (np.float32, 3),
    "pixel_coords": (np.float32, 3),
    "rotation": (np.float32, 1),
    "size": (np.int32, 1),
    "material": (np.int32, 1),
    "shape": (np.int32, 1),
    "color": (np.int32, 1),
}
_MAX_RECORDS = 10**7
_CLASS = re.compile(
    r"tensorflow_datasets\.core\.features\.\w+\.(FeaturesDict|Sequence|Image|Text|ClassLabel|Tensor|Scalar)"
)
_PREPARE = "prepare it with python -m slotjax.data.prepare_clevr CLEVR_v1.0.zip --data-dir DIR"


def open_split(config: Any, resolution: tuple[int, int], split: str) -> "ClevrTfds":
    return ClevrTfds(
        given(config.get("path") or "~/tensorflow_datasets", "data.path"),
        {"train": "train", "eval": "validation"}[split],
        resolution,
        max_objects=config.get("max_objects") or None,
        limit=(config.get("eval_images") or DEFAULT_EVAL_IMAGES) if split == "eval" else None,
        crop=crop_of(config, default=True),
    )


class ClevrTfds(Stored):
    """Examples of one split: `image` float32 [r, r, 3] in [-1, 1] and `objects` of leading length 10, with `present`.

    Args:
      directory: the folder of the prepared data set, or the TFDS data directory above it.
      split: "train" or "validation".
      max_objects: keep the scenes with at most so many objects (CLEVR6: 6); None keeps all.
      limit: keep the first so many of those.
      crop: see `preprocess.clevr_window`.
    """

    max_objects = MAX_OBJECTS

    def __init__(
        self,
        directory: Path,
        split: str,
        resolution: tuple[int, int],
        *,
        max_objects: int | None = None,
        limit: int | None = None,
        crop: bool | str = True,
    ):
        self._directory = _prepared(Path(directory))
        self._source = _open(self._directory, split)
        self._resolution = resolution
        self._crop = crop
        self._indices = np.arange(len(self._source))
        if max_objects is not None:
            where = self._directory / f"clevr-{split}"
            self._indices = np.flatnonzero(counts_of(where, split, len(self._source), self._count) <= max_objects)
        self._indices = self._indices[:limit]
        if not len(self._indices):
            raise UserError(
                f"{self._directory}: no scene of split {split!r} has at most {max_objects} objects: "
                "raise data.max_objects, or set it to 0 for all"
            )
        self[0]  # so that a crop that does not fit these pictures is refused now

    def __len__(self) -> int:
        return len(self._indices)

    def example(self, index: int, key: Key | None) -> dict:
        record = int(self._indices[index])
        example = self._read(record)
        picture = _decode(example["image"], f"{self._directory}: the picture of record {record}")
        window = preprocess.clevr_window(*picture.shape[:2], self._crop)
        try:
            objects = _objects(example["objects"], window)
        except (ValueError, TypeError) as error:
            raise UserError(f"{self._directory}: the objects of record {record} are not CLEVR's ({error})") from None
        return {"image": preprocess.to_input(picture, window, self._resolution), "objects": objects}

    def _read(self, record: int) -> dict:
        try:
            example = self._source[record]
            if not isinstance(example["image"], bytes) or not _FIELDS.keys() <= example["objects"].keys():
                raise ValueError("it is not CLEVR's")
            return example
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # what a damaged file raises depends on which byte it is
            raise UserError(
                f"{self._directory}: record {record} is damaged ({first_line(error)}): prepare it again"
            ) from None

    def _count(self, record: int) -> int:
        return len(self._read(record)["objects"]["size"])


def _prepared(directory: Path) -> Path:
    """The folder with dataset_info.json: the one given, or the newest version of clevr under it."""
    if not directory.is_dir():
        raise UserError(f"data.path: {directory} is no folder: {_PREPARE}")
    candidates = [directory, *directory.glob("[0-9]*.*.*"), *directory.glob("clevr/[0-9]*.*.*")]
    try:
        found = [path for path in candidates if (path / "dataset_info.json").is_file()]
    except OSError as error:
        raise UserError(f"data.path: {directory} cannot be read ({error.strerror}): check its permissions") from None
    if not found:
        raise UserError(f"data.path: {directory} holds no prepared TFDS clevr: {_PREPARE}")
    return max(found, key=lambda path: [int(part) if part.isdigit() else 0 for part in path.name.split(".")])


def _open(directory: Path, split: str):
    """The split as a sequence of TFDS examples with the picture still encoded."""
    with extra("data"):
        import tensorflow_datasets as tfds

    _check_metadata(directory)
    try:
        builder: Any = tfds.builder_from_directory(str(directory))
        if split not in builder.info.splits or "objects" not in builder.info.features:
            raise UserError(f"{directory} is not TFDS clevr with a split {split!r}: {_PREPARE}")
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        if len(source) > _MAX_RECORDS:
            raise ValueError(f"it claims {len(source)} records")
        return source
    except NotImplementedError:
        raise UserError(f"{directory} is not in ArrayRecord format: {_PREPARE}, with another data directory") from None
    except (UserError, ImportError, MemoryError):
        raise
    except PermissionError as error:
        raise UserError(f"{directory} cannot be read ({error.strerror}): check its permissions") from None
    except Exception as error:  # TFDS has no common class for what damaged metadata raises
        raise UserError(
            f"{directory} is incomplete or damaged ({first_line(error)}): delete it and {_PREPARE}"
        ) from None


def _check_metadata(directory: Path) -> None:
    """Refuses features of other classes than CLEVR's: TFDS imports whatever module features.json names."""
    try:
        for name in ("dataset_info.json", "features.json"):
            classes = _class_names(read_json(directory / name, printable=False))
            if name == "features.json" and (unknown := [one for one in classes if not _CLASS.fullmatch(str(one))]):
                raise ValueError(f"{name} names {shown(unknown[0])}")
    except PermissionError as error:
        raise UserError(f"{directory} cannot be read ({error.strerror}): check its permissions") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{directory} is incomplete or damaged ({error}): delete it and {_PREPARE}") from None


def _class_names(value: Any) -> list[Any]:
    """What stands in a features.json for a class, at any depth and in any of the spellings that TFDS takes."""
    if isinstance(value, list):
        return [name for item in value for name in _class_names(item)]
    if not isinstance(value, dict):
        return []
    own = [value[key] for key in ("type", "pythonClassName", "python_class_name") if key in value]
    return own + _class_names(list(value.values()))


def _decode(encoded: bytes, where: str) -> np.ndarray:
    return np.asarray(unpack(io.BytesIO(encoded), where, ("PNG", "JPEG"))[0].convert("RGB"))


def _objects(stored: dict, window: preprocess.Window) -> dict[str, np.ndarray]:
    """TFDS's lists as arrays of length `MAX_OBJECTS`; entries without an object in the window hold zeros."""
    count = min(len(stored["size"]), MAX_OBJECTS)
    objects = {"present": np.zeros(MAX_OBJECTS, bool)}
    for name, (dtype, size) in _FIELDS.items():
        objects[name] = np.zeros((MAX_OBJECTS,) if size == 1 else (MAX_OBJECTS, size), dtype)
        if count:
            objects[name][:count] = np.asarray(stored[name][:count])
    top, bottom, left, right = window
    x, y, _ = objects["pixel_coords"].T
    objects["present"][:count] = ((left <= x) & (x < right) & (top <= y) & (y < bottom))[:count]
    objects["picture_coords"] = preprocess.in_window(objects["pixel_coords"], window)
    for values in objects.values():
        values[~objects["present"]] = 0
    return objects
