"""What reads files of unknown origin, as functions of bytes that fail only where a reader misbehaves.

Shared by the tests and `benchmarks/fuzz.py`. The first byte of an input says how the rest is wrapped, so that checksums
do not keep the mutations of a fuzzer from what lies behind them.
"""

import functools
import gzip
import io
import json
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import tf2_files
import tfrecord_files
from helpers import config_of
from PIL import Image
from safetensors.numpy import save

from slotjax import weights
from slotjax.api import init
from slotjax.config import disk, schema
from slotjax.convert import read_tf2
from slotjax.data import pictures, schemas, tf_example, tfrecords
from slotjax.data.stored.movi import Movi
from slotjax.data.videos import Animation, Film, measure
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.reporting.timelapse import read_sheet
from slotjax.system import protobuf

FOLDER = Path(tempfile.gettempdir()) / f"slotjax-fuzz-{os.getuid()}-{os.getpid()}"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def attempt(path: Path, read: Callable[[], object]) -> None:
    """`read` may do its work or complain in one line that names the file; anything else is a finding."""
    try:
        read()
    except UserError as error:
        if CONTROL.search(str(error)) or path.name not in str(error) or len(str(error)) > 2000:
            raise AssertionError(f"not a line about {path.name}: {str(error)[:500]!r}") from error


def file(name: str, content: bytes) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    path.write_bytes(content)
    return path


def fuzz_tfrecords(content: bytes) -> None:
    """0: a file as it is; 1: in gzip; 2: a record with the right checksums; 3: likewise, as one feature of it."""
    kind, rest = content[:1], content[1:]
    if kind == b"\1":
        rest = gzip.compress(rest, 1)
    elif kind == b"\2":
        rest = tfrecords.frame(rest)
    elif kind == b"\3":
        feature = tfrecord_files.message(1, b"x") + tfrecord_files.message(2, rest)
        rest = tfrecords.frame(tfrecord_files.message(1, tfrecord_files.message(1, feature)))
    path = file("x.tfrecords", rest)

    def read() -> None:
        for index, record in enumerate(tfrecords.read_records(path)):
            where = f"{path}: record {index}"
            schemas.match_schema(tf_example.parse_example(record, where), where)

    attempt(path, read)


def fuzz_config(content: bytes) -> None:
    path = file("config.json", content)

    def read() -> None:
        config = disk.load(path)
        disk.differences(config, schema.defaults())
        config = disk.load_valid(path)
        if config.model.resolution[0] * config.model.resolution[1] <= 2**14:  # larger ones take their time
            shapes(build_model(config.model))

    attempt(path, read)


def fuzz_pictures(content: bytes) -> None:
    path = file("x.png", content)
    attempt(path, lambda: pictures.load_picture(path, (8, 8)))
    attempt(path, lambda: pictures.read_mask(path))
    read_sheet(path, 720)


def fuzz_weights(content: bytes) -> None:
    """0: a file as it is; 1: the JSON of its header, before numbers; 2: the config of a file whose arrays are fine."""
    kind, rest = content[:1], content[1:]
    if kind == b"\1":
        rest = struct.pack("<Q", len(rest)) + rest + bytes(64)
    elif kind == b"\2":
        rest = save(arrays(), {weights.CONFIG: rest.decode("latin-1")})
    path = file("x.safetensors", rest)
    attempt(path, lambda: weights.load(path))


def fuzz_checkpoints(content: bytes) -> None:
    """0: an index as it is; 1: a block of a table whose checksums are right; 2: the entry of a tensor, likewise."""
    kind, rest = content[:1], content[1:]
    if kind == b"\1":
        rest = tf2_files.table(rest)
    elif kind == b"\2":
        rest = tf2_files.table(tf2_files.block([tf2_files.header(), (f"x{tf2_files.VARIABLE}".encode(), rest)]))
    file("ckpt.data-00000-of-00001", bytes(64))
    path = file("ckpt.index", rest)
    attempt(path.with_suffix(""), lambda: read_tf2(path.with_suffix("")))


def fuzz_movi(content: bytes) -> None:
    """0: a file as it is; 1: a record with the right checksums."""
    kind, rest = content[:1], content[1:]
    folder = FOLDER / "movi"
    folder.mkdir(exist_ok=True, parents=True)
    file("movi/own-train.tfrecord-00000-of-00001", tfrecords.frame(rest) if kind == b"\1" else rest)

    def read() -> None:
        stored = Movi(folder, "train", (8, 8), 2)
        for index in range(len(stored)):
            stored[index]

    attempt(folder, read)


def fuzz_videos(content: bytes) -> None:
    """An animation, which Pillow reads, or a film, which PyAV reads."""
    animation, film = file("x.gif", content), file("x.mp4", content)
    attempt(animation, lambda: measure(Animation(animation)))
    attempt(film, lambda: measure(Film(film)))


def shapes(model) -> dict:
    """Of a model's parameters, which are not computed."""
    images = jax.ShapeDtypeStruct((1, *model.inputs["image"].shape), "float32")
    return jax.eval_shape(lambda images: init(model, jax.random.key(0), images), images)


def config() -> dict:
    return json.loads(config_of("quick:tiny").to_json())


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    """What a file of weights for `config` holds."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes(build_model(config()["model"])))
    return weights.flatten(zeros)


def tfrecord_seeds() -> list[bytes]:
    schema = next(schema for schema in schemas.SCHEMAS if schema.name == "tetrominoes")
    scene = tfrecord_files.example(tfrecord_files.scene(schema, 0))
    small = tfrecord_files.example({"x": np.arange(5, dtype=np.uint8), "y": np.ones(3, np.float32)})
    lists = tfrecord_files.message(1, b"\x0a\1a\x0a\1b"), tfrecord_files.message(2, tfrecord_files.message(1, b"abcd"))
    framed = tfrecords.frame(small)
    whole = [b"\0" + framed * 2, b"\0" + gzip.compress(framed * 2), b"\1" + framed, b"\2" + small, b"\2" + scene]
    return [*whole, *(b"\3" + feature for feature in lists)]


def config_seeds() -> list[bytes]:
    names = ("quick:tiny", "clevr:small,tiny", "clevr_set:small", "folder:tiny")
    return [config_of(name).to_json().encode() for name in names]


def picture_seeds() -> list[bytes]:
    """A small picture in every format that is read, and in the modes that take ways of their own."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(256, size=(9, 11, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(2**16, size=(9, 11), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    wanted = [
        *((colours, {"format": name}) for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")),
        (colours.convert("P"), {"format": "PNG", "transparency": 3}),
        (colours.convert("LA"), {"format": "PNG"}),
        (colours, {"format": "JPEG", "exif": exif, "progressive": True}),
        (colours.convert("CMYK"), {"format": "TIFF", "compression": "tiff_lzw"}),
        (colours.convert("1"), {"format": "TIFF", "compression": "group4"}),
        (colours.convert("P"), {"format": "GIF", "save_all": True, "append_images": [colours.convert("P")] * 2}),
        (deep, {"format": "PNG"}),
        (deep, {"format": "TIFF", "compression": "tiff_adobe_deflate"}),
        (deep.convert("F"), {"format": "TIFF"}),
        (colours.convert("RGBA"), {"format": "WEBP", "lossless": True}),
    ]
    seeds = []
    for picture, options in wanted:
        picture.save(buffer := io.BytesIO(), **options)
        seeds.append(buffer.getvalue())
    return seeds


def weight_seeds() -> list[bytes]:
    text = json.dumps(config())
    header = {"__metadata__": {weights.CONFIG: text}, "x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    return [b"\0" + save(arrays(), {weights.CONFIG: text}), b"\1" + json.dumps(header).encode(), b"\2" + text.encode()]


def resealed(png: bytes) -> bytes:
    """A PNG with the right checksums of its chunks, which Pillow looks at first; as far as its lengths make sense."""
    parts, at = [png[:8]], 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        body = png[at + 4 : at + 8 + length]
        parts.append(png[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big"))
        at += 12 + length
    return b"".join(parts)


def checkpoint_seeds() -> list[bytes]:
    tensor = tf2_files.entry(f"x{tf2_files.VARIABLE}", bytes(24), (2, 3))
    block = tf2_files.block([tf2_files.header(), tensor])
    genuine = (tf2_files.FOLDER / "sharded-1.index").read_bytes()
    return [b"\0" + genuine, b"\0" + tf2_files.table(block), b"\1" + block, b"\2" + tensor[1]]


def movi_seeds() -> list[bytes]:
    frames, flow = animation("PNG", count=1), np.arange(2 * 8 * 8 * 2)
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(ids := io.BytesIO(), "PNG")
    record = tf_example.lists({"video": [frames] * 2, "metadata/num_instances": np.array([1])})
    seen = {"flat_values": np.array([0, 1]), "row_lengths_0": np.array([2])}
    whole = tf_example.lists(
        {f"instances/bbox_frames/ragged_{name}": value for name, value in seen.items()}
        | {"instances/visibility": np.array([3, 200]), "forward_flow": flow, "segmentations": [ids.getvalue()] * 2}
    )
    corners = np.array([0, 0, 1, 1] * 2, np.float32)
    numbers = {"metadata/forward_flow_range": np.array([-1, 3], np.float32)}
    numbers["instances/bboxes/ragged_flat_values"] = corners
    together = b"".join(tf_entries(part) for part in (record, whole, tfrecord_files.example(numbers)))
    record_of_all = tfrecord_files.message(1, together)
    return [b"\0" + tfrecords.frame(record) * 2, b"\1" + record, b"\1" + record_of_all]


def tf_entries(example: bytes) -> bytes:
    """The entries of a tf.train.Example: the one field that it has."""
    (_, _, start, end), *_ = protobuf.fields(example, 0, len(example))
    return example[start:end]


def animation(kind: str, count: int = 3) -> bytes:
    rng = np.random.default_rng(0)
    first, *rest = (Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in range(count))
    first.save(buffer := io.BytesIO(), kind, save_all=True, append_images=rest)
    return buffer.getvalue()


def video_seeds() -> list[bytes]:
    """Films of three frames, and animations."""
    import av

    films = []
    for kind in ("mp4", "avi", "matroska"):
        with av.open(buffer := io.BytesIO(), "w", format=kind) as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
            for shade in (0, 99, 200):
                frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), shade, np.uint8), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        films.append(buffer.getvalue())
    return [*films, *map(animation, ("GIF", "PNG", "WEBP"))]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "tfrecords": (fuzz_tfrecords, tfrecord_seeds),
    "config": (fuzz_config, config_seeds),
    "pictures": (lambda content: (fuzz_pictures(content), fuzz_pictures(resealed(content)))[0], picture_seeds),
    "weights": (fuzz_weights, weight_seeds),
    "checkpoints": (fuzz_checkpoints, checkpoint_seeds),
    "movi": (fuzz_movi, movi_seeds),
    "videos": (lambda content: (fuzz_videos(content), fuzz_videos(resealed(content)))[0], video_seeds),
}
