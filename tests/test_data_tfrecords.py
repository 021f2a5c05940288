import gzip
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tfrecord_files

from slotjax.data import tf_example, tfrecords
from slotjax.errors import UserError

PAYLOADS = [b"", b"one", bytes(range(256)) * 9]


def parse_all(path):
    return [tf_example.parse_example(record, f"{path}: record") for record in tfrecords.read_records(path)]


def test_checksum_equals_the_published_value():
    assert tfrecords.masked_crc32c(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) % 2**32


def test_records_come_back_packed_or_not_and_skipped(tmp_path):
    raw = b"".join(map(tfrecords.frame, PAYLOADS))
    members = gzip.compress(raw[:700]) + gzip.compress(raw[700:])
    for content in (raw, gzip.compress(raw), members, zlib.compress(raw)):
        path = tmp_path / "x.tfrecords"
        path.write_bytes(content)
        seen = []
        assert [payload for _, payload in tfrecords.read_shards([path], progress=seen.append)] == PAYLOADS
        assert seen == sorted(seen) and len(seen) == 3 and seen[-1] <= len(content)
        assert list(tfrecords.read_shards([path, path], skip=5)) == [(f"{path}: record 2", PAYLOADS[2])]


def test_examples_come_back():
    features = {
        "bytes": np.arange(200, dtype=np.uint8),
        "none": np.zeros(0, np.uint8),
        "floats": np.linspace(-1, 1, 33, dtype=np.float32),
    }
    parsed = tf_example.parse_example(tfrecord_files.example(features), "x")
    assert parsed.keys() == features.keys()
    for name, values in features.items():
        assert parsed[name].dtype == values.dtype
        np.testing.assert_array_equal(parsed[name], values)


@pytest.mark.parametrize("wire", ["one string", "several strings", "single floats", "packed twice"])
def test_other_writers_of_the_same_values(wire):
    message = tfrecord_files.message
    pixels, numbers = np.arange(60, dtype=np.uint8), np.linspace(-1, 1, 7, dtype=np.float32)
    content = {
        "one string": message(1, message(1, pixels.tobytes())),
        "several strings": message(1, b"".join(message(1, pixels[i : i + 20].tobytes()) for i in (0, 20, 40))),
        "single floats": message(2, b"".join(b"\x0d" + number.tobytes() for number in numbers)),
        "packed twice": message(2, message(1, numbers[:3].tobytes()) + message(1, numbers[3:].tobytes())),
    }[wire]
    further = message(1, message(1, b"label") + message(2, message(3, b"\x08\x96\x01")))  # a list of integers
    entry = message(1, message(1, b"x") + message(2, content))
    parsed = tf_example.parse_example(message(1, further + entry), "x")
    np.testing.assert_array_equal(parsed.pop("x"), numbers if "float" in wire or "packed" in wire else pixels)
    assert not parsed


@pytest.mark.parametrize(
    "names",
    [
        ["x.tfrecords"],
        ["x.tfrecord-00000-of-00002", "x.tfrecord-00001-of-00002"],
        ["x-train-00000-of-00002.tfrecords.gz", "x-train-00001-of-00002.tfrecords.gz"],
        ["X.TFRecord.gz"],
    ],
)
def test_files_patterns_and_folders(tmp_path, names):
    for i, name in enumerate([*names, "notes.txt", ".x.tfrecords.1.partial"]):
        (tmp_path / name).write_bytes(gzip.compress(tfrecords.frame(bytes([i]))))
    files = [tmp_path / name for name in names]
    assert tfrecords.find(tmp_path, "data.path") == files
    assert tfrecords.find(tmp_path / f"{names[0][:1]}*", "data.path") == files
    assert tfrecords.find(files[0], "data.path") == files[:1]
    assert [payload for _, payload in tfrecords.read_shards(files)] == [bytes([i]) for i in range(len(names))]


def test_files_that_are_not_all_there(tmp_path):
    for path, says in ((tmp_path, "holds no TFRecord files"), (tmp_path / "x*", "does not exist")):
        with pytest.raises(UserError, match=says):
            tfrecords.find(path, "data.path")
    (tmp_path / "x.tfrecord-00000-of-00002").touch()
    with pytest.raises(UserError, match="shard 00001 of 2 of x.tfrecord-of-00002 is missing"):
        tfrecords.find(tmp_path, "data.path")
    (tmp_path / "y.tfrecords").touch()
    with pytest.raises(UserError, match=r"several data sets \(x.tfrecord-00000-of-00002, y.tfrecords"):
        tfrecords.find(tmp_path, "data.path")


def test_genuine_record(data_dir):
    first, *others = parse_all(data_dir / "clevr_with_masks.tfrecords")
    assert len(others) == 2 and first["mask"].size == 11 * 240 * 320 and first["x"].size == 11


@pytest.mark.parametrize("cut", [1, 5, 11, 13, 40, -1, -5])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated(tmp_path, cut, packed):
    raw = tfrecords.frame(b"first") + tfrecords.frame(b"second record")
    path = tmp_path / "cut.tfrecords"
    path.write_bytes((gzip.compress(raw) if packed else raw)[:cut])
    with pytest.raises(UserError, match=r"cut.tfrecords: record [012]:? (is truncated|has|the compressed)"):
        list(tfrecords.read_records(path))


def test_each_flipped_byte_is_noticed(tmp_path):
    raw = tfrecords.frame(b"first") + tfrecords.frame(b"second")
    path = tmp_path / "flip.tfrecords"
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="copy or download the file again"):
            list(tfrecords.read_records(path))


def test_bytes_after_the_gzip_stream(tmp_path):
    path = tmp_path / "tail.tfrecords"
    path.write_bytes(gzip.compress(tfrecords.frame(b"first")) + b"tail")
    with pytest.raises(UserError, match="record 1"):
        list(tfrecords.read_records(path))


def test_a_claimed_length_is_not_believed(tmp_path):
    for length in (2**62, 2**35, tfrecords.MAX_RECORD_BYTES):
        header = struct.pack("<Q", length)
        path = tmp_path / "huge.tfrecords"
        path.write_bytes(header + struct.pack("<I", tfrecords.masked_crc32c(header)) + b"x" * 100)
        tracemalloc.start()
        with pytest.raises(UserError, match="huge.tfrecords: record 0"):
            list(tfrecords.read_records(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < tfrecords.MAX_RECORD_BYTES + 2**20


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        list(tfrecords.read_records(tmp_path / "none.tfrecords"))
