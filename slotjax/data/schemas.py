"""What the records of the multi-object data sets of Kabra et al. (2019) hold."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slotjax.errors import UserError, shown


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
    """The schema these features follow, whatever else there is; only those of data set `name`, if it is given.

    Raises:
      UserError: none does, or the masks hold other values than 0 and 255.
    """
    if name is not None and name not in NAMES:
        raise UserError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    found = {key: (values.dtype.str[1:], values.size) for key, values in features.items()}
    for schema in SCHEMAS:
        if name in (None, schema.name) and schema.sizes().items() <= found.items():
            _check_values(schema, features, where)
            return schema
    given = ", ".join(f"{key[:20]!r} [{size}]" for key, (_, size) in sorted(found.items())[:12]) or "no features"
    raise UserError(f"{where} does not follow the schema of {name or 'any of ' + ', '.join(NAMES)} (it has {given})")


def _check_values(schema: Schema, features: dict[str, np.ndarray], where: str) -> None:
    mask = features["mask"]
    if ((mask != 0) & (mask != 255)).any():
        raise UserError(f"{where}: feature 'mask' holds other values than 0 and 255: this is another kind of file")
    for name in schema.numbers:
        if not np.isfinite(features[name]).all():
            raise UserError(f"{where}: feature {name!r} holds NaN or infinity: {name!r} is damaged")


def schema_to_json(schema: Schema) -> dict:
    return {"dataset": schema.name, "image": list(schema.image), "entities": schema.entities}


def schema_from_json(index: dict) -> Schema:
    """Raises UserError when the index names no known schema."""
    for schema in SCHEMAS:
        if all(index.get(key) == value for key, value in schema_to_json(schema).items()):
            return schema
    raise UserError(f"the index of a converted data set names an unknown one: {shown(index.get('dataset'))}")
