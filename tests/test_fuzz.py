"""Files of unknown origin: read, or refused in one line, and never at a cost that their size does not explain.

The properties run briefly here, longer with `-m slow`; `benchmarks/fuzz.py` searches on with a coverage-guided fuzzer.
"""

import gzip
import io
import json
import os
import resource
import stat
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager

import fuzz_targets as targets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import slotjax
from slotjax import configuration, loading, pack, untrusted
from slotjax.data import cache, clevr_tfds, folder, multi_object, prepare_clevr, tfrecords
from slotjax.errors import UserError
from slotjax.reporting import comparison, record

SEEDS = {name: seeds() for name, (_, seeds) in targets.TARGETS.items()}
HUGE = 10**12


def at_two_lengths(short: int, long: int):
    """A property as a test of `short` examples, and under the name with `_at_length` as a slow one of `long`."""

    def tests(check):
        def test(data):
            check(data)

        def slow(data):
            check(data)

        test.__name__ = test.__qualname__ = check.__name__
        slow.__name__ = slow.__qualname__ = f"{check.__name__}_at_length"
        slow = settings(max_examples=long, deadline=None)(given(data=st.data())(slow))
        setattr(sys.modules[__name__], f"{check.__name__}_at_length", pytest.mark.slow(slow))
        return settings(max_examples=short, deadline=None)(given(data=st.data())(test))

    return tests


@contextmanager
def bounded(mebibytes: float):
    """Fails if Python or numpy allocated more, or the process grew by more (which Pillow's memory does)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak < mebibytes
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10 < mebibytes + 100


def mutated(data, content: bytes) -> bytes:
    """Some bytes changed, a piece taken from elsewhere or repeated, the end cut off."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["bit", "byte", "number", "piece", "gone"]))
        if kind == "bit":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "number":
            size = data.draw(st.sampled_from([2, 4, 8]))
            value = data.draw(st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            order = data.draw(st.sampled_from(["little", "big"]))
            content[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, order)
        elif kind == "piece":
            start = data.draw(st.integers(0, len(content) - 1))
            content[at:at] = content[start : start + data.draw(st.integers(1, 64))]
        else:
            del content[at : at + data.draw(st.integers(1, 16))]
        content = content or bytearray(b"\0")
    return bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)


@at_two_lengths(60, 3000)
def test_tfrecords_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["tfrecords"]))
    targets.fuzz_tfrecords(seed[:1] + mutated(data, seed[1:]))


@at_two_lengths(40, 3000)
def test_pictures_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["pictures"]))
    targets.TARGETS["pictures"][0](mutated(data, seed))


@at_two_lengths(30, 1500)
def test_weights_of_any_kind(data):
    seed = data.draw(st.sampled_from(SEEDS["weights"]))
    targets.fuzz_weights(seed[:1] + mutated(data, seed[1:]))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 10**400, 1e308, 0.5, -0.0]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.text(max_size=5),
    st.sampled_from(
        ["object_discovery", "set_prediction", "clevr", "folder", "learned", "mlp", "\ud800", "a\nb", "\x1b[2J"]
    ),
    st.lists(st.integers(-1, 70_000), max_size=6),
    st.dictionaries(st.sampled_from(["name", "items", "__class__", "a.b", "\n", "hidden"]), st.integers(), max_size=2),
)


def places(tree, at=()) -> list[tuple]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at] * bool(at) + [place for name, value in inner for place in places(value, (*at, name))]


@at_two_lengths(25, 1000)
def test_configs_of_any_kind(data):
    config = json.loads(data.draw(st.sampled_from(SEEDS["config"])))
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, name = data.draw(st.sampled_from(places(config)))
        branch = config
        for parent in parents:
            branch = branch[parent]
        if data.draw(st.integers(0, 4)):
            branch[name] = data.draw(ODD)
        else:
            del branch[name]
        if not config:
            break
    targets.fuzz_config(json.dumps(config).encode())


@at_two_lengths(25, 3000)
def test_configs_of_any_bytes(data):
    targets.fuzz_config(mutated(data, data.draw(st.sampled_from(SEEDS["config"]))))


# Configs.

REFUSED_CONFIGS = {
    "nested": "[" * 100_000,
    "nested fields": '{"a":' * 500 + "1" + "}" * 500,
    "a number too large": '{"seed": 1' + "0" * 400 + "}",
    "not a number": '{"seed": NaN}',
    "no fields": "[1, 2]",
    "a text": '"text"',
    "control characters": '{"a\\nb": 1}',
    "half a character": '{"seed": "\\ud800"}',
    "dots": '{"a.b": 1}',
    "a class": '{"__class__": {}}',
    "empty": "",
    "wrong encoding": b"\xff\xfe\x00",
    "too long": '{"a": "' + "a" * untrusted.MAX_JSON_BYTES + '"}',
}


@pytest.mark.parametrize("content", REFUSED_CONFIGS.values(), ids=REFUSED_CONFIGS)
def test_configs_that_are_none(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with bounded(64), pytest.raises(UserError, match="config.json: ") as error:
        configuration.load_valid(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


CHANGES = [
    ("seed", "0", "seed='0': must be a whole number"),
    ("seed", True, "seed=True: must be a whole number"),
    ("train", [], r"train=\[\]: must be fields"),
    ("train.learning_rate", float("nan"), "train.learning_rate=nan"),
    ("train.learning_rate", 1e999, "train.learning_rate=inf"),
    ("eval.batch_size", HUGE, "eval.batch_size=1000000000000: must be at most"),
    ("data.eval_images", HUGE, "data.eval_images=1000000000000: must be at most"),
    ("data.options", None, "data.options=None: must be fields"),
    ("data.options.max_objects", "4", "data.options.max_objects='4': must be a whole number"),
    ("data.name", ["sprites"], "data.name"),
    ("model", None, "model.name is missing"),
    ("model.name", {}, "model.name={}: choose"),
    ("model.resolution", [HUGE, HUGE], "model.resolution=1000000000000: must be at most"),
    ("model.resolution", 32, "model.resolution=32: must be 2 whole numbers"),
    ("model.num_slots", 2.5, "model.num_slots=2.5: must be a whole number"),
    ("model.slot_dim", HUGE, "model.slot_dim=1000000000000: must be at most"),
    ("model.initializer", "learned", "model.initializer='learned': must be fields"),
    ("model.encoder.strides", [0, 1], "model.encoder.strides=0: must be at least 1"),
    ("model.encoder.kernels", [3] * 1000, "model.encoder.kernels=.*: must be up to 64"),
    ("model.encoder.channels", [8], "give each as many entries"),
    ("model.decoder.hidden", [], "model.decoder.hidden"),
    ("model.decoder.frequencies", 10**6, "model.decoder.frequencies=1000000: must be at most"),
]


@pytest.mark.parametrize(("field", "value", "message"), CHANGES, ids=[f"{f}={str(v)[:20]}" for f, v, _ in CHANGES])
def test_configs_of_no_run(tmp_path, field, value, message):
    config = targets.config()
    *parents, name = field.split(".")
    branch = config
    for parent in parents:
        branch = branch[parent]
    branch[name] = value
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with bounded(32), pytest.raises(UserError, match=message):
        configuration.load_valid(path)


MISSING = ["seed", "train", "train.schedule", "eval.batch_size", "data.options", "model", "model.name", "model.encoder"]
MISSING += ["model.resolution", "model.num_slots", "model.slot_dim", "model.decoder", "model.decoder.name"]


@pytest.mark.parametrize("field", MISSING)
def test_configs_with_less_than_they_need(tmp_path, field):
    config = targets.config()
    *parents, name = field.split(".")
    branch = config
    for parent in parents:
        branch = branch[parent]
    del branch[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"config.json: {field}.*(missing|choose one of)"):
        configuration.load_valid(tmp_path / "config.json")


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("config.json", "x.png"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="config.json: .*no regular file"):
        configuration.load(tmp_path / "config.json")
    with pytest.raises(UserError, match="x.png is no file"):
        folder.load_picture(tmp_path / "x.png", (8, 8))
    os.symlink("/dev/zero", tmp_path / "zero.json")
    assert cache.read_json(tmp_path / "zero.json") is None


# Weights.


def header(shape: str, descr: str = "'<f4'", length: int | None = None) -> bytes:
    """The start of an .npy file."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text


def lying(size: int) -> bytes:
    """An archive whose directory claims a member of so many bytes."""
    content = bytearray(targets.archive({"x.npy": header(f"({size // 4},)")}))
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", size, size)
    return bytes(content)


LINK = zipfile.ZipInfo("link.npy")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(LINK, "/etc/passwd")
    return buffer.getvalue()


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            opened.writestr("x.npy", targets.npy(np.zeros(3, np.float32)))
    return buffer.getvalue()


BAD_WEIGHTS = {
    "10**12 numbers": lambda: targets.archive({"x.npy": header(f"({HUGE},)")}),
    "more than there are numbers": lambda: targets.archive({"x.npy": header("(" + f"{2**62}, " * 4 + ")")}),
    "fewer than none": lambda: targets.archive({"x.npy": header("(-1,)")}),
    "a header of 64 KB": lambda: targets.archive({"x.npy": header("(1,)", length=65535)}),
    "a nested header": lambda: targets.archive({"x.npy": header("(" * 4000 + ")" * 4000)}),
    "a signed header": lambda: targets.archive({"x.npy": header("-" * 9000 + "1")}),
    "code": lambda: targets.archive({"x.npy": header("__import__('os').abort()")}),
    "objects": lambda: targets.archive({"x.npy": header("(1,)", "'|O'") + b"cos\nabort\n(tR."}),
    "a wide text": lambda: targets.archive({"x.npy": header("()", "'<U536870911'")}),
    "structures": lambda: targets.archive({"x.npy": header("(1,)", "[('a', '<f4')]") + b"1234"}),
    "no numbers": lambda: targets.archive({"config.json.npy": header("()", "'<U0'")}),
    "a version": lambda: targets.archive({"x.npy": b"\x93NUMPY\x09\x00" + b" " * 90}),
    "a directory that lies": lambda: lying(2**31),
    "a bomb": lambda: targets.archive({"x.npy": header("(2097152,)") + bytes(2**23)}, zipfile.ZIP_DEFLATED),
    "lzma": lambda: targets.archive({"x.npy": header("(0,)")}, zipfile.ZIP_LZMA),
    "a path": lambda: targets.archive({"../../x.npy": targets.npy(np.zeros(3, np.float32))}),
    "a link": linked,
    "a name twice": twice,
    "both": lambda: targets.archive({f"{n}.npy": targets.npy(np.zeros(3, np.float32)) for n in ("a", "a/b", "a/b/c")}),
    "no archive": lambda: b"PK\3\4" + b"x" * 100,
    "an array": lambda: targets.npy(np.zeros(3, np.float32)),
}


@pytest.mark.parametrize("content", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_are_none(tmp_path, content):
    path = tmp_path / "x.npz"
    content = content()
    path.write_bytes(content)
    with bounded(16), pytest.raises(UserError, match="x.npz: not a file of weights, or damaged") as error:
        slotjax.load(path)
    assert "\n" not in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["x.npz"]


CONFIG_OF_WEIGHTS = [
    (lambda config: config["model"].update(resolution=[HUGE, HUGE]), "model.resolution=1000000000000"),
    (lambda config: config["model"].update(slot_dim=8), "parameters are not the model's: '"),
    (lambda config: config.pop("model"), "damaged"),
    (lambda config: config.update(model=[1]), r"model=\(1,\): must be fields"),
    (lambda config: config["model"].update(name="\ud800"), "control characters"),
]


def test_weights_that_are_not_their_models(tmp_path):
    members, path = dict(targets.arrays()), tmp_path / "x.npz"
    text = targets.npy(np.array(json.dumps(targets.config())))
    path.write_bytes(targets.archive({**members, "config.json.npy": text}))
    slotjax.load(path)
    for change, message in CONFIG_OF_WEIGHTS:
        config = targets.config()
        change(config)
        path.write_bytes(targets.archive({**members, "config.json.npy": targets.npy(np.array(json.dumps(config)))}))
        with pytest.raises(UserError, match=message):
            slotjax.load(path)
    members["attention/project_q.npy"] = targets.npy(np.zeros((16, 16)))
    path.write_bytes(targets.archive({**members, "config.json.npy": text}))
    with pytest.raises(UserError, match=r"1 parameters .*'attention/project_q' is float64\[16, 16\], not float32"):
        slotjax.load(path)


def test_saved_weights_come_back(tmp_path):
    params = {"a": {"b": np.ones((2, 3), np.float32)}, "c": np.float32(2)}
    loading.save_weights(tmp_path / "x.npz", {}, params)
    with (tmp_path / "x.npz").open("rb") as file:
        entries = untrusted.read_arrays(file)
    assert json.loads(str(entries.pop("config.json"))) == {}
    tree = loading.unflatten(entries)
    assert tree["c"] == 2 and tree["a"]["b"].flags.writeable
    np.testing.assert_array_equal(tree["a"]["b"], params["a"]["b"])


# Pictures.


def giant_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def giant_tiff(width: int, height: int) -> bytes:
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 9)]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + fields + bytes(4)


GIANTS = {
    "png": giant_png(60_000, 60_000),
    "tiff": giant_tiff(60_000, 60_000),
    "gif": b"GIF89a"
    + struct.pack("<HH", 60_000, 60_000)
    + b"\0\0\0,"
    + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    + b"\2\0;",
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 90, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(40),
    "ppm": b"P6 60000 60000 255\n" + bytes(40),
}


@pytest.mark.parametrize("name", GIANTS)
def test_giant_pictures_are_refused_unopened(tmp_path, name):
    path = tmp_path / f"x.{name}"
    path.write_bytes(GIANTS[name])
    for read in (
        folder.load_picture,
        lambda path, _: folder._read_mask(path),
        lambda path, _: folder.scan(path.parent),
    ):
        with bounded(8), pytest.raises(UserError, match=rf"x.{name} has .*pixels.*: make it smaller"):
            read(path, (8, 8))
    with bounded(8):
        assert comparison.read_sheet(path) is None
        with pytest.raises(UserError, match="pixels" if name == "png" else "no picture"):
            clevr_tfds._decode(GIANTS[name], "record 0")


def test_formats_that_start_programs_are_not_opened(tmp_path):
    """Encapsulated PostScript, which Pillow hands to Ghostscript, under the name of a PNG."""
    path = tmp_path / "step_1.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert comparison.read_sheet(path) is None
    with pytest.raises(UserError, match="is no picture"):
        folder.load_picture(path, (8, 8))


def test_a_mask_one_pixel_wide_takes_no_longer_than_a_square_one(tmp_path):
    pixels = np.zeros((2**21, 1, 3), np.uint8)
    pixels[5] = 9
    Image.fromarray(pixels).save(tmp_path / "x.tiff", compression="tiff_adobe_deflate")
    start = time.process_time()
    ids, count = folder._read_mask(tmp_path / "x.tiff")
    assert count == 1 and ids.sum() == ids[5, 0] == 1
    assert time.process_time() - start < 3


def test_zero_is_the_background_among_negative_numbers(tmp_path):
    Image.fromarray(np.array([[-5, 0, 7]], np.int32)).save(tmp_path / "x.tiff")
    ids, count = folder._read_mask(tmp_path / "x.tiff")
    assert ids.tolist() == [[1, 0, 2]] and count == 2


# TFRecords.


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "x.tfrecords"
    zeros = gzip.compress(bytes(2**22), 1)
    path.write_bytes(zeros * 256)  # 1 GiB
    with bounded(8), pytest.raises(UserError, match="x.tfrecords: record 0"):
        list(tfrecords.read_records(path))
    size = tfrecords.MAX_RECORD_BYTES + 1
    head = struct.pack("<Q", size)
    head += struct.pack("<I", tfrecords.masked_crc32c(head))
    path.write_bytes(gzip.compress(head) + zeros * 256)
    with bounded(8), pytest.raises(UserError, match=f"x.tfrecords: record 0 claims {size} bytes"):
        list(tfrecords.read_records(path))


def test_many_empty_members_are_soon_read(tmp_path):
    path = tmp_path / "x.tfrecords"
    path.write_bytes(gzip.compress(b"") * 20_000 + gzip.compress(tfrecords.frame(b"end")))
    with bounded(8):
        assert list(tfrecords.read_records(path)) == [b"end"]


def test_names_of_features_are_quoted():
    with pytest.raises(UserError, match=r"it has '\\x1b\[2J\\n' \[1\]"):
        multi_object.match_schema({"\x1b[2J\n": np.zeros(1, np.uint8)}, "x: record 0")


# Data sets and runs from others.


@pytest.mark.parametrize("counts", [[HUGE], [-1], ["1"], [[1]], [1.5], {}, None])
def test_an_index_that_lies(tmp_path, counts):
    index = {"format": 1, "source": {}, "dataset": "tetrominoes", "image": [35, 35, 3], "entities": 4}
    for file in ("x", "../x", "/etc/passwd"):
        (tmp_path / "index.json").write_text(json.dumps({**index, "shards": [{"file": file, "counts": counts}]}))
        with pytest.raises(UserError, match="index.json is missing or damaged"):
            multi_object.Converted(tmp_path)
        (tmp_path / "index.json").write_text(json.dumps({**index, "shards": [{"file": file, "counts": [1]}]}))
        with pytest.raises(UserError, match="is missing: convert the data set again"):
            multi_object.Converted(tmp_path)


def test_derived_files_are_not_believed(tmp_path, cache_home):
    path = tmp_path / "x.json"
    for content in ("[" * 100_000, '{"a": 1' + "0" * 5000 + "}", "[]", "\0"):
        path.write_text(content)
        assert cache.read_json(path) is None
    for value in (None, [1], [1, 2, -1], [1, 2, 10], [1, 2, True], [1, 2, "3"], [1, 2, 3.0]):
        assert cache.whole_numbers(value, 3, 9) is None
    assert cache.whole_numbers([1, 2, 3], 3, 9) == [1, 2, 3]


CLASSES = ["type", "pythonClassName", "python_class_name"]


@pytest.mark.parametrize("key", CLASSES)
def test_metadata_names_no_modules(tmp_path, monkeypatch, key):
    """TFDS would import the module that a features.json names."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"name": "clevr", "version": "3.1.0"}))
    feature = {key: "evil_module.Feature", "content": "{}"}
    features = {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict"}
    features["featuresDict"] = {"features": {"image": feature}}
    (tmp_path / "features.json").write_text(json.dumps(features))
    with pytest.raises(UserError, match=r"features.json names 'evil_module.Feature'"):
        clevr_tfds.ClevrTfds(tmp_path, "train", (8, 8))


def test_links_and_paths_in_the_archive_of_clevr(data_dir, tmp_path):
    """Members are read, never written under their own names, and a link is but a text."""
    source = data_dir / "clevr_v1.zip"
    name = "CLEVR_v1.0/images/train/CLEVR_train_000000.png"
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(archive, "w") as new:
        for member in old.infolist():
            if member.filename == name:
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
                new.writestr(member, "/etc/passwd")
            else:
                new.writestr(member, old.read(member))
        new.writestr("../../escaped.txt", "evil")
    with pytest.raises(UserError, match="CLEVR_train_000000.png is no PNG"):
        prepare_clevr.prepare(archive, tmp_path / "data")
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.parametrize(
    ("member", "old", "new", "says"),
    [
        ("scenes/CLEVR_train_scenes.json", b'"rubber"', b'"a cloud"', "not the official archive"),
        ("scenes/CLEVR_train_scenes.json", b'"3d_coords": [', b'"3d_coords": ["x", ', "not the official archive"),
        ("questions/CLEVR_train_questions.json", b"{", b"[" * 100_000, "not as in the official archive"),
    ],
)
def test_archives_of_clevr_with_other_things_in_them(data_dir, tmp_path, member, old, new, says):
    archive = tmp_path / "other.zip"
    with zipfile.ZipFile(data_dir / "clevr_v1.zip") as source, zipfile.ZipFile(archive, "w") as changed:
        for name in source.namelist():
            content = source.read(name)
            changed.writestr(name, content.replace(old, new, 1) if name.endswith(member) else content)
    with pytest.raises(UserError, match=says) as error:
        prepare_clevr.prepare(archive, tmp_path / "data")
    assert "\n" not in str(error.value)


def test_metrics_from_anyone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    (tmp_path / "config.json").write_text(json.dumps(targets.config()))
    good = {"step": 3, "fg_ari": 0.5, "miou": 0.5, "mse": 0.1, "num_images": 8}
    odd = [
        {"step": 1, "loss": "<b>", "num_images": 8, "fg_ari": "high"},
        {"step": 2, "loss": 10**400, "fg_ari": [1], "num_images": 8, "mse": None},
        {"step": 2, "loss": 1e308, "fg_ari": -1e308, "miou": -1e308, "mse": 1e308, "num_images": 8},
        {"step": -1},
        {"step": 10**400},
        {"step": True},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*odd, good]) + "[]\n{\n")
    found = record.read(tmp_path)
    assert found.broken_lines == 5 and found.best == good and found.last_step == 3
    html, _ = comparison.build([found, found])
    assert "<b>" not in html
    for content, message in (
        ("[" * 100_000, "neither metrics nor a checkpoint"),
        (json.dumps({"step": 1} | {f"figure_{i}": 1 for i in range(1000)}), "metrics.jsonl: .*different figures"),
    ):
        path.write_text(content + "\n")
        with pytest.raises(UserError, match=message):
            record.read(tmp_path)


def test_an_evaluation_from_anyone(tmp_path):
    path = tmp_path / "evaluation.json"
    for content in ("[" * 100_000, "{", '{"a": 1' + "0" * 5000 + "}"):
        path.write_text(content)
        with pytest.raises(UserError, match="evaluation.json: cannot be read"):
            pack.read_evaluation(tmp_path)
