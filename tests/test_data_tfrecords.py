import gzip
import struct
import tracemalloc

import numpy as np
import pytest
import tfrecord_files
from hypothesis import given, settings
from hypothesis import strategies as st

from slotjax.data import tfrecords
from slotjax.errors import UserError

PAYLOADS = [b"", b"one", bytes(range(256)) * 9]


def parse_all(path):
    return [tfrecords.parse_example(record, f"{path}: record") for record in tfrecords.read_records(path)]


def test_checksum_equals_the_published_value():
    assert tfrecords.masked_crc32c(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) % 2**32


def test_records_come_back_packed_or_not_and_skipped(tmp_path):
    raw = b"".join(map(tfrecords.frame, PAYLOADS))
    members = gzip.compress(raw[:700]) + gzip.compress(raw[700:])
    for content in (raw, gzip.compress(raw), members):
        path = tmp_path / "x.tfrecords"
        path.write_bytes(content)
        seen = []
        assert list(tfrecords.read_records(path, progress=seen.append)) == PAYLOADS
        assert seen == sorted(seen) and len(seen) == 3 and seen[-1] <= len(content)
        assert list(tfrecords.read_records(path, skip=2)) == PAYLOADS[2:]


def test_examples_come_back():
    features = {
        "bytes": np.arange(200, dtype=np.uint8),
        "none": np.zeros(0, np.uint8),
        "floats": np.linspace(-1, 1, 33, dtype=np.float32),
    }
    parsed = tfrecords.parse_example(tfrecord_files.example(features), "x")
    assert parsed.keys() == features.keys()
    for name, values in features.items():
        assert parsed[name].dtype == values.dtype
        np.testing.assert_array_equal(parsed[name], values)


def test_genuine_record(data_dir):
    first, *others = parse_all(data_dir / "clevr_with_masks.tfrecords")
    assert len(others) == 2 and first["mask"].size == 11 * 240 * 320 and first["x"].size == 11


@pytest.mark.parametrize("cut", [1, 5, 11, 13, 40, -1, -5])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated(tmp_path, cut, packed):
    raw = tfrecords.frame(b"first") + tfrecords.frame(b"second record")
    path = tmp_path / "cut.tfrecords"
    path.write_bytes((gzip.compress(raw) if packed else raw)[:cut])
    with pytest.raises(UserError, match=r"cut.tfrecords: record [012]:? (is truncated|has|the gzip)"):
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
        assert peak < 4 * 2**20


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        list(tfrecords.read_records(tmp_path / "none.tfrecords"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_as_a_file(tmp_path_factory, content, packed):
    path = tmp_path_factory.getbasetemp() / "any.tfrecords"
    path.write_bytes(gzip.compress(content) if packed else content)
    try:
        parse_all(path)
    except UserError as error:
        assert "\n" not in str(error) and "any.tfrecords" in str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_an_example(record):
    try:
        parsed = tfrecords.parse_example(record, "any: record 0")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(values.dtype in (np.uint8, np.float32) for values in parsed.values())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_example(data):
    record = bytearray(tfrecord_files.example({"a": np.arange(9, dtype=np.uint8), "b": np.ones(3, np.float32)}))
    for _ in range(data.draw(st.integers(1, 3))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    try:
        tfrecords.parse_example(bytes(record[: data.draw(st.integers(0, len(record)))]), "changed: record 0")
    except UserError as error:
        assert "changed: record 0" in str(error)
