"""Exports: what is written reads back as what was drawn, and mistakes end before any work."""

import shlex
from functools import partial

import helpers
import jax
import numpy as np
import pytest

from slotjax.data import export, schemas, tf_example, tfrecords
from slotjax.data.scenes import clevr, tetrominoes
from slotjax.data.stored import open_stored
from slotjax.errors import UserError

CLEVR = {"min_objects": 1, "max_objects": 2}


def drawn(seed: int, index: int):
    """A scene as it is drawn for an export."""
    return jax.jit(tetrominoes)(jax.random.fold_in(jax.random.key(seed), index))


def as_bytes(image):
    return np.round((np.asarray(image) + 1) * 127.5).astype(np.uint8)


def test_tfrecords_round_trip(tmp_path):
    path = export.export("tetrominoes", {}, count=20, out=tmp_path, seed=3)
    records = list(tfrecords.read_records(path))
    assert len(records) == 20
    for index in (0, 13, 19):
        record, scene = _read(records[index], "tetrominoes"), drawn(3, index)
        np.testing.assert_array_equal(record["image"], as_bytes(scene.image))
        np.testing.assert_array_equal(record["entity"], scene.segments)
        np.testing.assert_allclose(record["x"][1:], scene.objects["x"], rtol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_was_exported_is_not_written_over(tmp_path):
    export.export("tetrominoes", {}, count=1, out=tmp_path)
    with pytest.raises(UserError, match="tetrominoes_train.tfrecords is already there"):
        export.export("tetrominoes", {}, count=2, out=tmp_path)
    assert export.export("tetrominoes", {}, count=1, out=tmp_path, split="test").exists()


@pytest.mark.parametrize("family", ["tetrominoes", "multi_dsprites", "sprites"])
def test_the_hint_at_the_end_works(tmp_path, capsys, family):
    """Word by word: as the command of a config, or as Python."""
    arguments = ["--scenes", family, "--count", "3", "--out", str(tmp_path / "my scenes")]
    export.main(arguments)
    hint = capsys.readouterr().out.splitlines()[-1]
    if family == "sprites":
        exec(hint, names := {})
        assert [example["visibility"][0] for example in names["examples"]] == [1, 1, 1]
    else:
        *_, config, path = shlex.split(hint)
        data = helpers.config_of(config.removeprefix("configs/").replace(".py", "")).data
        data.path, data.eval_images = path.removeprefix("--config.data.path="), 0
        assert len(open_stored(data, (64, 64), "train")) == 2


def _read(payload, name):
    features = tf_example.parse_example(payload, "record")
    return schemas.match_schema(features, "record", name).encode(features)


@pytest.mark.slow
def test_clevr_exports_in_the_schema_of_clevr_with_masks(tmp_path):
    path = export.export("clevr", CLEVR, count=2, out=tmp_path)
    family = partial(clevr, resolution=(240, 320), crop=False, **CLEVR)
    scenes = export.draw_scenes(family, 0, 2)
    for scene, payload in zip(scenes, tfrecords.read_records(path), strict=True):
        record, objects = _read(payload, "clevr_with_masks"), scene.objects
        present = objects["present"]
        np.testing.assert_array_equal(record["entity"], scene.segments)
        np.testing.assert_array_equal(record["visibility"], [1, *present, *np.zeros(8)])
        np.testing.assert_allclose(record["z"][1:3], objects["3d_coords"][:, 2])
        np.testing.assert_allclose(record["pixel_coords"][1:3], objects["pixel_coords"])
        np.testing.assert_array_equal(record["shape"][1:3], np.where(present, objects["shape"] + 1, 0))
        np.testing.assert_array_equal(record["size"][1:3], np.where(present, 2 - objects["size"], 0))


@pytest.mark.slow
def test_tensorflow_reads_exported_clevr(tmp_path):
    """With the feature description that readers of CLEVR-with-masks have."""
    tf = pytest.importorskip("tensorflow")
    path = export.export("clevr", CLEVR, count=1, out=tmp_path)
    (payload,) = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
    pixels = {"image": (240, 320, 3), "mask": (11, 240, 320, 1)}
    features = {name: tf.io.FixedLenFeature(shape, tf.string) for name, shape in pixels.items()}
    features |= {name: tf.io.FixedLenFeature([11], tf.string) for name in ("color", "material", "shape", "size")}
    features |= {name: tf.io.FixedLenFeature([11], tf.float32) for name in ("visibility", "rotation", "x", "y", "z")}
    features["pixel_coords"] = tf.io.FixedLenFeature([11, 3], tf.float32)
    read = tf.io.parse_single_example(payload, features)
    scene = next(export.draw_scenes(partial(clevr, resolution=(240, 320), crop=False, **CLEVR), 0, 1))
    image, mask = (tf.squeeze(tf.io.decode_raw(read[name], tf.uint8), -1).numpy() for name in pixels)
    np.testing.assert_array_equal(image, as_bytes(scene.image))
    np.testing.assert_array_equal(mask[..., 0].argmax(0), scene.segments)
    np.testing.assert_array_equal(read["visibility"][1:3], scene.objects["present"])


@pytest.mark.slow
def test_tensorflow_reads_the_tfrecords(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = export.export("tetrominoes", {}, count=3, out=tmp_path)
    payloads = [payload.numpy() for payload in tf.data.TFRecordDataset(str(path), compression_type="GZIP")]
    assert payloads == list(tfrecords.read_records(path))
    features = {"image": tf.io.FixedLenFeature([35, 35, 3], tf.string), "x": tf.io.FixedLenFeature([4], tf.float32)}
    image = tf.io.decode_raw(tf.io.parse_single_example(payloads[0], features)["image"], tf.uint8)
    assert image.shape == (35, 35, 3, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--scenes", "nothing"], "--scenes='nothing': choose one of tetrominoes"),
        (["--scenes", "clevr", "--option", "max_objects=11"], "at most 10"),
        (["--scenes", "clevr", "--option", "max_objects=x"], "--option max_objects='x': must be a whole number"),
        (["--scenes", "clevr", "--option", "colour=red"], "--option colour='red': clevr scenes have no such option"),
        (["--scenes", "clevr", "--option", "max_objects"], "NAME=VALUE"),
        (["--scenes", "clevr", "--option", "resolution=(1,1)"], "no such option"),
        (["--scenes", "moving_sprites"], "--scenes moving_sprites: scenes that move"),
        (["--scenes", "clevr", "--count", "0"], "count: must be a whole number from 1"),
        (["--scenes", "tetrominoes", "--seed", str(2**63)], "seed: must be a whole number"),
        (["--scenes", "tetrominoes", "--split", "a b"], "--split 'a b'"),
        (["--scenes", "tetrominoes", "--out", ""], "an empty path"),
    ],
)
def test_mistakes_end_before_any_work(arguments, message, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message):
        export.main(["--count", "1", "--out", str(out), *arguments])
    assert not out.exists()


def test_unwritable_output(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export.main(["--scenes", "tetrominoes", "--count", "1", "--out", str(tmp_path / "file" / "out")])
