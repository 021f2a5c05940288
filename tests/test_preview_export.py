"""Previews and exports: what is written reads back as what was drawn, and mistakes end before any work."""

import functools
import shlex

import jax
import numpy as np
import pytest
from helpers import config_of
from PIL import Image

from slotjax.data import export, export_tfrecords, preview, rendered, schemas, tf_example, tfrecords
from slotjax.data.scenes import tetrominoes
from slotjax.data.stored import open_stored
from slotjax.errors import UserError

CLEVR = {"resolution": (240, 320), "crop": False, "min_objects": 1, "max_objects": 2}


@pytest.fixture(scope="module")
def pieces():
    return rendered.draw_scenes(functools.partial(tetrominoes), 3, 0, 40)


def test_preview_writes_a_sheet(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert preview.main(["--scenes", "tetrominoes", "--count", "6", "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        colors = np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)
    assert len(colors) >= 6  # the pieces, the background, three ids and the gaps
    assert str(out) in capsys.readouterr().out


def test_tfrecords_round_trip(tmp_path, pieces):
    path = export.export("tetrominoes", {}, count=40, out=tmp_path, format="tfrecords", seed=3)
    records = list(tfrecords.read_records(path))
    assert len(records) == 40
    for index in (0, 33, 39):
        record = _read(records[index], "tetrominoes")
        np.testing.assert_array_equal(record["image"], rendered.to_bytes(pieces.image[index]))
        np.testing.assert_array_equal(record["entity"], pieces.segments[index])
        np.testing.assert_allclose(record["x"][1:], pieces.objects["x"][index], rtol=1e-6)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["export.json", path.name]


@pytest.mark.parametrize("family", ["tetrominoes", "multi_dsprites", "sprites"])
def test_the_hint_at_the_end_works(tmp_path, capsys, family):
    """Word by word: as the command of a config, or as Python."""
    arguments = ["--scenes", family, "--count", "3", "--out", str(tmp_path / "my scenes")]
    assert export.main(arguments) == 0
    hint = capsys.readouterr().out.splitlines()[-1]
    if family == "sprites":
        exec(hint, names := {})
        assert [example["visibility"][0] for example in names["examples"]] == [1, 1, 1]
    else:
        *_, config, path = shlex.split(hint)
        name, variant = config.removeprefix("configs/").split(".py:")
        data = config_of(f"{name}:{variant}").data
        data.path, data.eval_images = path.removeprefix("--config.data.path="), 0
        assert len(open_stored(data, (64, 64), "train")) == 2


def _read(payload, name):
    features = tf_example.parse_example(payload, "record")
    return schemas.match_schema(features, "record", name).encode(features)


def test_an_interrupted_export_goes_on(tmp_path, monkeypatch):
    whole = export.export("tetrominoes", {}, count=40, out=tmp_path / "whole", format="tfrecords")
    write = export_tfrecords.TFRecords.write
    calls = []

    def stop(self, path, scenes):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(self, path, scenes)

    monkeypatch.setattr(export_tfrecords.TFRecords, "write", stop)
    run = functools.partial(export.export, "tetrominoes", {}, out=tmp_path / "two", format="tfrecords")
    with pytest.raises(KeyboardInterrupt):
        run(count=40)
    with pytest.raises(UserError, match="count 40, not 41"):
        run(count=41)
    resumed = run(count=40)
    assert len(calls) == 3  # the first part, the interrupted second, the second again
    assert list(tfrecords.read_records(resumed)) == list(tfrecords.read_records(whole))


def test_array_record_round_trip_through_tfds(tmp_path, pieces):
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = export.export("tetrominoes", {}, count=40, out=tmp_path, format="array_record", seed=3)
    source = tfds.builder_from_directory(folder).as_data_source("train")
    assert len(source) == 40
    for index in (0, 39):
        stored = source[index]
        np.testing.assert_array_equal(stored["image"], rendered.to_bytes(pieces.image[index]))
        np.testing.assert_array_equal(stored["segments"][..., 0], pieces.segments[index])
        np.testing.assert_array_equal(stored["objects"]["shape"], pieces.objects["shape"][index])


@pytest.mark.slow
def test_clevr_exports_in_the_schema_of_clevr_with_masks(tmp_path):
    path = export.export("clevr", CLEVR, count=2, out=tmp_path, format="tfrecords")
    family = rendered.scene_family("clevr", CLEVR)
    scenes = rendered.draw_scenes(family, 0, 0, 2)
    for index, payload in enumerate(tfrecords.read_records(path)):
        record = _read(payload, "clevr_with_masks")
        objects = jax.tree.map(lambda leaf, index=index: leaf[index], scenes.objects)
        present = objects["present"]
        np.testing.assert_array_equal(record["entity"], scenes.segments[index])
        np.testing.assert_array_equal(record["visibility"], [1, *present, *np.zeros(8)])
        np.testing.assert_allclose(record["z"][1:3], objects["3d_coords"][:, 2])
        np.testing.assert_allclose(record["pixel_coords"][1:3], objects["pixel_coords"])
        np.testing.assert_array_equal(record["shape"][1:3], np.where(present, objects["shape"] + 1, 0))
        np.testing.assert_array_equal(record["size"][1:3], np.where(present, 2 - objects["size"], 0))


@pytest.mark.slow
def test_tensorflow_reads_exported_clevr(tmp_path):
    """With the feature description that readers of CLEVR-with-masks have."""
    tf = pytest.importorskip("tensorflow")
    path = export.export("clevr", CLEVR, count=1, out=tmp_path, format="tfrecords")
    (payload,) = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
    pixels = {"image": (240, 320, 3), "mask": (11, 240, 320, 1)}
    features = {name: tf.io.FixedLenFeature(shape, tf.string) for name, shape in pixels.items()}
    features |= {name: tf.io.FixedLenFeature([11], tf.string) for name in ("color", "material", "shape", "size")}
    features |= {name: tf.io.FixedLenFeature([11], tf.float32) for name in ("visibility", "rotation", "x", "y", "z")}
    features["pixel_coords"] = tf.io.FixedLenFeature([11, 3], tf.float32)
    read = tf.io.parse_single_example(payload, features)
    scene = rendered.draw_scenes(rendered.scene_family("clevr", CLEVR), 0, 0, 1)
    image, mask = (tf.squeeze(tf.io.decode_raw(read[name], tf.uint8), -1).numpy() for name in pixels)
    np.testing.assert_array_equal(image, rendered.to_bytes(scene.image[0]))
    np.testing.assert_array_equal(mask[..., 0].argmax(0), scene.segments[0])
    np.testing.assert_array_equal(read["visibility"][1:3], scene.objects["present"][0])


@pytest.mark.slow
def test_tensorflow_reads_the_tfrecords(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = export.export("tetrominoes", {}, count=3, out=tmp_path, format="tfrecords")
    payloads = [payload.numpy() for payload in tf.data.TFRecordDataset(str(path), compression_type="GZIP")]
    assert payloads == list(tfrecords.read_records(path))
    features = {"image": tf.io.FixedLenFeature([35, 35, 3], tf.string), "x": tf.io.FixedLenFeature([4], tf.float32)}
    image = tf.io.decode_raw(tf.io.parse_single_example(payloads[0], features)["image"], tf.uint8)
    assert image.shape == (35, 35, 3, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--scenes", "nothing"], "unknown scene family 'nothing'"),
        (["--scenes", "clevr", "--option", "max_objects=11"], "at most 10"),
        (["--scenes", "clevr", "--option", "colour=red"], "no option 'colour'"),
        (["--scenes", "clevr", "--option", "max_objects"], "NAME=VALUE"),
        (["--scenes", "clevr", "--option", "resolution=(1,1)"], "resolution"),
        (["--scenes", "clevr", "--count", "0"], "count 0"),
        (["--scenes", "tetrominoes", "--seed", str(2**63)], "seeds go from"),
    ],
)
@pytest.mark.parametrize("command", [preview, export])
def test_mistakes_end_before_any_work(command, arguments, message, tmp_path):
    out = tmp_path / "out.png"
    given = [*arguments, "--out", str(out)]
    with pytest.raises(UserError, match=message):
        command.main(given if "--count" in given else [*given, "--count", "1"])
    assert not out.exists()


@pytest.mark.parametrize("command", [preview, export])
def test_unwritable_output(command, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out.png"
    with pytest.raises(UserError, match="cannot be written"):
        command.main(["--scenes", "tetrominoes", "--count", "1", "--out", str(out)])
