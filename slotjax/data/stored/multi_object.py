"""The multi-object data sets of Kabra et al. (2019): what their records hold, and reading the converted form.

A converted data set is a folder of ArrayRecord shards and an `index.json` (slotjax/data/convert.py writes it). A record
is the bytes of one numpy structured scalar: the uint8 picture, the number of the entity that owns each pixel in place
of the bulky masks, and every attribute of every entity.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from slotjax.data import cache, preprocess
from slotjax.errors import UserError, shown
from slotjax.system.reading import read_json

INDEX = "index.json"
FORMAT = 1


@dataclass(frozen=True)
class Schema:
    """The features of one data set's records.

    Attributes:
      image: height, width, channels.
      entities: how many masks a record has, the background's among them.
      numbers: float32 features by name, with the count of numbers per entity.
      codes: small integers, one per entity; 0 = none.
      backgrounds: how many of the first entities are background.
      entity_axis: where the entities are in the stored masks.
    """

    name: str
    image: tuple[int, int, int]
    entities: int
    numbers: dict[str, int] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    backgrounds: int = 1
    entity_axis: int = 0

    @cached_property
    def dtype(self) -> np.dtype:
        """Of a converted record."""
        fields = [("image", "u1", self.image), ("entity", "u1", self.image[:2])]
        for name, size in self.numbers.items():
            fields.append((name, "<f4", (self.entities,) if size == 1 else (self.entities, size)))
        return np.dtype([*fields, *((name, "u1", (self.entities,)) for name in self.codes)])

    @property
    def max_objects(self) -> int:
        return self.entities - self.backgrounds

    def sizes(self) -> dict[str, tuple[str, int]]:
        """Feature name -> kind ("u1" | "f4") and number of values, as stored in the TFRecords."""
        height, width, channels = self.image
        pixels = {"image": ("u1", height * width * channels), "mask": ("u1", self.entities * height * width)}
        numbers = {name: ("f4", size * self.entities) for name, size in self.numbers.items()}
        return pixels | numbers | {name: ("u1", self.entities) for name in self.codes}

    def encode(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """The features of a TFRecord, which match this schema, as a converted record (0-d, of `dtype`)."""
        record = np.zeros((), self.dtype)
        for name in ("image", *self.numbers, *self.codes):
            record[name] = features[name].reshape(self.dtype[name].shape)
        shape = list(self.image[:2])
        shape.insert(self.entity_axis, self.entities)
        masks = np.moveaxis(features["mask"].reshape(shape), self.entity_axis, 0)
        for entity in reversed(range(self.entities)):  # so that the first wins where masks overlap
            record["entity"][masks[entity] > 127] = entity
        return record

    def count_objects(self, record: np.ndarray) -> int:
        """How many objects a converted record shows, in the whole picture.

        By `visibility` where it is stored, which counts the background too; otherwise by the masks.
        """
        if "visibility" in self.numbers:
            return int(np.count_nonzero(record["visibility"][self.backgrounds :]))
        return int(np.count_nonzero(np.bincount(record["entity"].ravel(), minlength=self.entities)[self.backgrounds :]))


_SPRITE = {"x": 1, "y": 1, "shape": 1, "scale": 1, "orientation": 1, "visibility": 1, "color": 3}
_CLEVR = {"x": 1, "y": 1, "z": 1, "rotation": 1, "visibility": 1, "pixel_coords": 3}

SCHEMAS = (
    Schema("clevr_with_masks", (240, 320, 3), 11, _CLEVR, ("size", "material", "shape", "color")),
    Schema("tetrominoes", (35, 35, 3), 4, {"x": 1, "y": 1, "shape": 1, "visibility": 1, "color": 3}),
    Schema("multi_dsprites", (64, 64, 1), 4, _SPRITE, entity_axis=2),  # binarized
    Schema("multi_dsprites", (64, 64, 3), 6, _SPRITE, entity_axis=2),  # coloured on grayscale
    Schema("multi_dsprites", (64, 64, 3), 5, _SPRITE, entity_axis=2),  # coloured on coloured
    Schema("objects_room", (64, 64, 3), 7, backgrounds=4),
    Schema("objects_room", (64, 64, 3), 10, backgrounds=4),  # tests: six objects, identical colours
    Schema("objects_room", (64, 64, 3), 4, backgrounds=4),  # test: the empty room
)
NAMES = tuple(dict.fromkeys(schema.name for schema in SCHEMAS))


def match_schema(features: dict[str, np.ndarray], where: str, name: str | None = None) -> Schema:
    """The schema these features follow; only those of data set `name` are considered, if it is given.

    Raises:
      UserError: none does, or the masks hold other values than 0 and 255.
    """
    if name is not None and name not in NAMES:
        raise UserError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    found = {key: (values.dtype.str[1:], values.size) for key, values in features.items()}
    for schema in SCHEMAS:
        if name in (None, schema.name) and schema.sizes() == found:
            _check_values(features, where)
            return schema
    given = ", ".join(f"{key[:20]!r} [{size}]" for key, (_, size) in sorted(found.items())[:12]) or "no features"
    raise UserError(f"{where} does not follow the schema of {name or 'any of ' + ', '.join(NAMES)} (it has {given})")


def _check_values(features: dict[str, np.ndarray], where: str) -> None:
    mask = features["mask"]
    if ((mask != 0) & (mask != 255)).any():
        raise UserError(f"{where}: feature 'mask' holds other values than 0 and 255: this is another kind of file")
    for name, values in features.items():
        if values.dtype == np.float32 and not np.isfinite(values).all():
            raise UserError(f"{where}: feature {name!r} holds NaN or infinity: {name!r} is damaged")


class Converted:
    """A converted data set as a sequence of raw records, read by random access.

    Attributes:
      schema: what the records hold.
      counts: int [len]: the number of objects in each record.
      source: name and fingerprint of the TFRecord file it was made from.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory)
        path = self.directory / INDEX
        try:
            index = read_json(path, cache.MAX_BYTES)
            if index["format"] != FORMAT:
                found = shown(index["format"])
                raise UserError(f"{path} has format {found}, known is {FORMAT}: convert the data set again")
            self.schema = schema_from_json(index)
            self.source: dict = index["source"]
            shards = [(str(shard["file"]), check_counts(shard["counts"], self.schema)) for shard in index["shards"]]
            self.counts = np.concatenate([counts for _, counts in shards])
        except (OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is missing or damaged ({error}): convert the data set again") from None
        self._open(shards)

    def _open(self, shards: list[tuple[str, np.ndarray]]) -> None:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        for name, _ in shards:
            if Path(name).name != name or not (self.directory / name).is_file():
                raise UserError(f"{self.directory / name} is missing: convert the data set again")
        paths = [f"{self.directory / name}[0:{len(counts)}]" for name, counts in shards]
        self._records = ArrayRecordDataSource(paths)

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> np.ndarray:
        """The record as a 0-d structured array. Raises UserError where it is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            record = self._records[index]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"{self.directory}: record {index} is damaged ({error}): convert it again") from None
        if len(record) != self.schema.dtype.itemsize:
            raise UserError(f"{self.directory}: record {index} has a wrong size: convert the data set again")
        return np.frombuffer(record, self.schema.dtype)[0]


def schema_to_json(schema: Schema) -> dict:
    return {"dataset": schema.name, "image": list(schema.image), "entities": schema.entities}


def check_counts(counts: object, schema: Schema) -> np.ndarray:
    """The numbers of objects of a shard's records. Raises TypeError or ValueError for anything else."""
    if not isinstance(counts, list) or cache.whole_numbers(counts, len(counts), schema.entities) is None:
        raise ValueError("the counts of a shard are no numbers of objects")
    return np.asarray(counts, np.int64)


def schema_from_json(index: dict) -> Schema:
    """Raises UserError when the index names no known schema."""
    for schema in SCHEMAS:
        if all(index.get(key) == value for key, value in schema_to_json(schema).items()):
            return schema
    raise UserError(f"the index of a converted data set names an unknown one: {shown(index.get('dataset'))}")


class MultiObject:
    """Records chosen from a converted data set, as examples.

    An example has `image` float32 [r, r, 3] in [-1, 1], `segments` int32 [r, r] (0 background, id i is object i - 1)
    and `objects`, the stored attributes with leading length `max_objects`; where pixels are among them also
    `picture_coords` [n, 2], column and row as parts of the picture's width and height. `present` is what is visible
    *in the crop at this resolution*: in CLEVR's crop about 3% of the objects are not. Ids are kept; entries not present
    hold zeros.
    """

    has_segments = True

    def __init__(self, records: Converted, indices: np.ndarray, resolution: tuple[int, int], window: preprocess.Window):
        self.schema = records.schema
        self.max_objects = records.schema.max_objects
        self._records = records
        self._indices = indices
        self._resolution = resolution
        self._window = window

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        record, schema = self._records[int(self._indices[index])], self.schema
        entity = preprocess.to_segments(record["entity"], self._window, self._resolution)
        segments = np.maximum(entity - (schema.backgrounds - 1), 0)
        present = np.isin(np.arange(1, schema.max_objects + 1), segments)
        stored = {name: record[name][schema.backgrounds :] for name in (*schema.numbers, *schema.codes)}
        stored |= {name: stored[name].astype(np.int32) for name in schema.codes}
        if "pixel_coords" in stored:
            stored["picture_coords"] = preprocess.in_window(stored["pixel_coords"], self._window)
        objects = {"present": present}
        for name, values in stored.items():
            objects[name] = np.where(present.reshape((-1,) + (1,) * (values.ndim - 1)), values, 0)
        image = preprocess.to_input(record["image"], self._window, self._resolution)
        return {"image": image, "segments": segments, "objects": objects}
