"""Data sets and runs of unknown origin: records, indices, metadata, archives, metrics and evaluations."""

import gzip
import json
import stat
import struct
import zipfile

import fuzz_targets as targets
import numpy as np
import pytest
from bounds import HUGE, bounded

from slotjax import pack
from slotjax.data import converted, prepare_clevr, schemas, tfrecords
from slotjax.data.stored import clevr_tfds
from slotjax.errors import UserError
from slotjax.reporting import comparison, history
from slotjax.system import derived

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
        schemas.match_schema({"\x1b[2J\n": np.zeros(1, np.uint8)}, "x: record 0")


# Data sets and runs from others.


@pytest.mark.parametrize("counts", [[HUGE], [-1], ["1"], [[1]], [1.5], {}, None])
def test_an_index_that_lies(tmp_path, counts):
    index = {"format": 1, "source": {}, "dataset": "tetrominoes", "image": [35, 35, 3], "entities": 4}
    for file in ("x", "../x", "/etc/passwd"):
        (tmp_path / "index.json").write_text(json.dumps({**index, "shards": [{"file": file, "counts": counts}]}))
        with pytest.raises(UserError, match="index.json is missing or damaged"):
            converted.Converted(tmp_path)
        (tmp_path / "index.json").write_text(json.dumps({**index, "shards": [{"file": file, "counts": [1]}]}))
        with pytest.raises(UserError, match="is missing: convert the data set again"):
            converted.Converted(tmp_path)


def test_derived_files_are_not_believed(tmp_path, cache_home):
    path = tmp_path / "x.json"
    for content in ("[" * 100_000, '{"a": 1' + "0" * 5000 + "}", "[]", "\0"):
        path.write_text(content)
        assert derived.read(path) == {}
    for value in (None, [1], [1, 2, -1], [1, 2, 10], [1, 2, True], [1, 2, "3"], [1, 2, 3.0]):
        assert derived.whole_numbers(value, 3, 9) is None
    assert derived.whole_numbers([1, 2, 3], 3, 9) == [1, 2, 3]


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
    found = history.read(tmp_path)
    assert found.broken_lines == 5 and found.best == good and found.last_step == 3
    html, _ = comparison.build([found, found])
    assert "<b>" not in html
    for content, message in (
        ("[" * 100_000, "neither metrics nor a checkpoint"),
        (json.dumps({"step": 1} | {f"figure_{i}": 1 for i in range(1000)}), "metrics.jsonl: .*different figures"),
    ):
        path.write_text(content + "\n")
        with pytest.raises(UserError, match=message):
            history.read(tmp_path)


def test_an_evaluation_from_anyone(tmp_path):
    path = tmp_path / "evaluation.json"
    for content in ("[" * 100_000, "{", '{"a": 1' + "0" * 5000 + "}"):
        path.write_text(content)
        with pytest.raises(UserError, match="evaluation.json: cannot be read"):
            pack.read_evaluation(tmp_path)
