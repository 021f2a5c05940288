"""Writing TFRecord files for the tests, independent of the reader."""

import gzip

import numpy as np

from slotjax.data.tfrecords import frame


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, np.ndarray]) -> bytes:
    """uint8 arrays as lists of one-byte strings, float32 arrays as packed floats."""
    entries = []
    for name, values in features.items():
        if values.dtype == np.uint8:
            feature = message(1, b"".join(b"\x0a\x01" + bytes([value]) for value in values.ravel()))
        else:
            feature = message(2, message(1, values.astype("<f4").tobytes()))
        entries.append(message(1, message(1, name.encode()) + message(2, feature)))
    return message(1, b"".join(entries))


def write(path, payloads: list[bytes]):
    path.write_bytes(gzip.compress(b"".join(map(frame, payloads)), 1))
    return path


def scene(schema, seed: int) -> dict[str, np.ndarray]:
    """Random features that follow a schema: every pixel belongs to one entity."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(schema.entities, size=schema.image[:2])
    masks = (owner[None] == np.arange(schema.entities)[:, None, None]).astype(np.uint8) * 255
    masks = np.moveaxis(masks, 0, schema.entity_axis)
    features = {"image": rng.integers(256, size=schema.image, dtype=np.uint8), "mask": masks}
    for name, size in schema.numbers.items():
        features[name] = rng.normal(size=schema.entities * size).astype(np.float32)
    if "visibility" in schema.numbers:
        features["visibility"] = np.ones(schema.entities, np.float32)
    for name in schema.codes:
        features[name] = rng.integers(1, 3, size=schema.entities).astype(np.uint8)
    return features
