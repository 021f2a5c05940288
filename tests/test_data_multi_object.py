import json
import shutil

import numpy as np
import pytest
import tfrecord_files

from slotjax.data import convert, converted, preprocess, schemas, tf_example, tfrecords
from slotjax.data.stored import multi_object
from slotjax.errors import UserError

TETROMINOES = next(schema for schema in schemas.SCHEMAS if schema.name == "tetrominoes")


def schema_id(schema):
    return f"{schema.name}-{schema.entities}"


def write_scenes(path, schema, count):
    payloads = [tfrecord_files.example(tfrecord_files.scene(schema, seed)) for seed in range(count)]
    return tfrecord_files.write(path, payloads)


@pytest.fixture(scope="module")
def clevr(data_dir, tmp_path_factory):
    source = data_dir / "clevr_with_masks.tfrecords"
    return converted.Converted(convert.convert(source, tmp_path_factory.mktemp("clevr") / "converted"))


def test_genuine_scenes_keep_pixels_masks_and_attributes(clevr, data_dir):
    path = data_dir / "clevr_with_masks.tfrecords"
    assert list(clevr.counts) == [4, 3, 9] and clevr.schema.name == "clevr_with_masks"
    for index, payload in enumerate(tfrecords.read_records(path)):
        stored, record = tf_example.parse_example(payload, "x"), clevr[index]
        np.testing.assert_array_equal(record["image"].ravel(), stored["image"])
        masks = stored["mask"].reshape(11, 240, 320)
        np.testing.assert_array_equal(record["entity"][None] == np.arange(11)[:, None, None], masks == 255)
        for name in (*clevr.schema.numbers, *clevr.schema.codes):
            np.testing.assert_array_equal(record[name].ravel(), stored[name])


@pytest.mark.parametrize("schema", schemas.SCHEMAS, ids=schema_id)
def test_every_schema_survives_conversion(tmp_path, schema):
    small = schema.image[0] < 100
    features = tfrecord_files.scene(schema, 0)
    if small:
        tfrecord_files.write(tmp_path / "x.tfrecords", [tfrecord_files.example(features)])
        records = converted.Converted(convert.convert(tmp_path / "x.tfrecords", tmp_path / "out", schema.name))
        assert records.schema == schema and len(records) == 1
        record = records[0]
    else:
        record = schema.encode(features)
    masks = np.moveaxis(features["mask"], schema.entity_axis, 0)
    np.testing.assert_array_equal(record["entity"], masks.argmax(0))
    np.testing.assert_array_equal(record["image"], features["image"])
    for name, size in schema.numbers.items():
        np.testing.assert_array_equal(record[name].ravel(), features[name])
        assert record[name].shape == ((schema.entities,) if size == 1 else (schema.entities, size))
    assert schema.count_objects(record) == schema.entities - schema.backgrounds


def test_an_example_follows_the_contract(clevr):
    window = preprocess.clevr_window(240, 320, True)
    scenes = multi_object.MultiObject(clevr, np.arange(3), (64, 64), window)
    assert len(scenes) == 3 and scenes.has_segments and scenes.max_objects == 10
    for index in range(3):
        example = scenes[index]
        assert example["image"].shape == (64, 64, 3) and example["image"].dtype == np.float32
        assert -1 <= example["image"].min() < example["image"].max() <= 1
        segments, present = example["segments"], example["objects"]["present"]
        assert segments.dtype == np.int32 and segments.shape == (64, 64)
        assert set(np.unique(segments)) == {0, *(np.flatnonzero(present) + 1)}
        assert present.shape == (10,) and 0 < present.sum() <= clevr.counts[index]
        assert example["objects"]["pixel_coords"].shape == (10, 3)
        for values in example["objects"].values():
            assert len(values) == 10 and not values[~present].any()
        assert example["objects"]["shape"][present].all()  # code 0 is none


def test_masks_fit_the_places_of_the_objects(clevr):
    """The middle of an object that nothing hides shows its own id."""
    scenes = multi_object.MultiObject(clevr, np.arange(3), (240, 320), preprocess.clevr_window(240, 320, False))
    hits = []
    for index in range(3):
        example = scenes[index]
        for number in np.flatnonzero(example["objects"]["present"]):
            x, y, _ = example["objects"]["pixel_coords"][number]
            hits.append(example["segments"][int(y), int(x)] == number + 1)
    assert len(hits) == 16 and np.mean(hits) > 0.8


def test_objects_room_has_four_backgrounds(tmp_path):
    schema = next(schema for schema in schemas.SCHEMAS if schema.name == "objects_room")
    records = converted.Converted(convert.convert(write_scenes(tmp_path / "x", schema, 1), tmp_path / "out"))
    example = multi_object.MultiObject(records, np.arange(1), (64, 64), (0, 64, 0, 64))[0]
    entity = records[0]["entity"].astype(int)
    np.testing.assert_array_equal(example["segments"], np.where(entity < 4, 0, entity - 3))


def test_binarized_pictures_get_three_channels(tmp_path):
    schema = next(schema for schema in schemas.SCHEMAS if schema.image[2] == 1)
    records = converted.Converted(convert.convert(write_scenes(tmp_path / "x", schema, 1), tmp_path / "out"))
    image = multi_object.MultiObject(records, np.arange(1), (64, 64), (0, 64, 0, 64))[0]["image"]
    assert image.shape == (64, 64, 3) and (image == image[..., :1]).all()


def test_whole_sample(shared_data, tmp_path):
    source = shared_data / "clevr_with_masks_sample.tfrecords"
    records = converted.Converted(convert.convert(source, tmp_path / "out"))
    assert len(records) == 64 and set(records.counts) == set(range(3, 11))
    scenes = multi_object.MultiObject(records, np.arange(64), (128, 128), preprocess.clevr_window(240, 320, True))
    seen = sum(int(scenes[index]["objects"]["present"].sum()) for index in range(64))
    assert 0.94 < seen / records.counts.sum() < 1


def test_a_stopped_conversion_goes_on(tmp_path, monkeypatch, capsys):
    source = write_scenes(tmp_path / "x.tfrecords", TETROMINOES, 7)
    whole = converted.Converted(convert.convert(source, tmp_path / "whole"))
    monkeypatch.setattr(convert, "_SHARD_BYTES", 3 * TETROMINOES.dtype.itemsize)
    encode, calls = schemas.Schema.encode, []

    def killed_at_the_fifth(schema, features):
        calls.append(schema)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return encode(schema, features)

    monkeypatch.setattr(schemas.Schema, "encode", killed_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        convert.main([str(source), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    convert.main([str(source), str(tmp_path / "out")])
    assert "after 3 records" in capsys.readouterr().err.replace("\n", " ")
    assert len(calls) == 5 + 4  # the first shard was not made again
    resumed = converted.Converted(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("shard-*"))) == 3
    assert [record.tobytes() for record in resumed] == [record.tobytes() for record in whole]
    assert {path.name for path in tmp_path.iterdir()} == {"x.tfrecords", "whole", "out"}


def test_shards_with_more_in_them_than_is_read(tmp_path, monkeypatch):
    scenes = [tfrecord_files.scene(TETROMINOES, seed) for seed in range(5)]
    further = {"source": np.frombuffer(b"camera 3", np.uint8), "depth": np.full(3, np.nan, np.float32)}
    for shard, part in enumerate((scenes[:3], scenes[3:])):
        payloads = [tfrecord_files.example(scene | further) for scene in part]
        tfrecord_files.write(tmp_path / f"x.tfrecord-{shard:05d}-of-00002", payloads)
    monkeypatch.setattr(convert, "_SHARD_BYTES", 2 * TETROMINOES.dtype.itemsize)
    made = converted.Converted(convert.convert(tmp_path / "x.tfrecord-*", tmp_path / "out"))
    assert made.schema == TETROMINOES
    np.testing.assert_array_equal([record["image"] for record in made], [scene["image"] for scene in scenes])
    assert convert.convert(tmp_path, tmp_path / "out") == tmp_path / "out"  # the same files


def test_converting_twice_changes_nothing(tmp_path):
    source = write_scenes(tmp_path / "x.tfrecords", TETROMINOES, 2)
    convert.convert(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    convert.convert(source, tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def refusal(*arguments) -> str:
    with pytest.raises(UserError) as error:
        convert.main([str(argument) for argument in arguments])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_wrong_sources_are_named(tmp_path):
    good = tfrecord_files.scene(TETROMINOES, 0)
    cases = {
        "no file": None,
        "another schema": [tfrecord_files.example({"image": good["image"]})],
        "no example": [b"\x09" * 40],
        "no records": [],
        "masks of other values": [tfrecord_files.example(good | {"mask": good["mask"] // 2})],
        "not a number": [tfrecord_files.example(good | {"x": np.full(4, np.nan, np.float32)})],
        "a mixture": [
            tfrecord_files.example(good),
            tfrecord_files.example(tfrecord_files.scene(schemas.SCHEMAS[2], 0)),
        ],
    }
    for name, payloads in cases.items():
        source = tmp_path / f"{name}.tfrecords"
        if payloads is not None:
            tfrecord_files.write(source, payloads)
        error = refusal(source, tmp_path / "out")
        assert source.name in error, error
        assert not (tmp_path / "out").exists()
        shutil.rmtree(tmp_path / "out.partial", ignore_errors=True)


def test_damage_names_the_record(tmp_path, data_dir):
    content = bytearray((data_dir / "clevr_with_masks.tfrecords").read_bytes())
    source = tmp_path / "flipped.tfrecords"
    content[100_000] ^= 1
    source.write_bytes(content)
    assert "flipped.tfrecords: record 1" in refusal(source, tmp_path / "out")
    source.write_bytes(content[:90_000])
    error = refusal(source, tmp_path / "out2")
    assert "flipped.tfrecords: record 1: the compressed stream ends too early" in error


def test_another_data_set_than_asked_for(tmp_path):
    source = write_scenes(tmp_path / "x.tfrecords", TETROMINOES, 1)
    error = refusal(source, tmp_path / "out", "--dataset", "objects_room")
    assert "schema of objects_room" in error


def test_a_destination_in_use_is_left_alone(tmp_path):
    source = write_scenes(tmp_path / "x.tfrecords", TETROMINOES, 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    assert "choose another destination" in refusal(source, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    convert.convert(source, tmp_path / "out")
    other = write_scenes(tmp_path / "y.tfrecords", TETROMINOES, 2)
    assert "converted from another source" in refusal(other, tmp_path / "out")


def test_damage_of_the_converted_form(tmp_path):
    source = write_scenes(tmp_path / "x.tfrecords", TETROMINOES, 3)
    folder = convert.convert(source, tmp_path / "out")
    index, shard = folder / "index.json", folder / "shard-00000.array_record"
    whole = shard.read_bytes()
    for position in range(0, len(whole), 997):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        shard.write_bytes(damaged)
        try:
            records = [record.tobytes() for record in converted.Converted(folder)]
        except UserError as error:
            assert "convert" in str(error) and "\n" not in str(error)
        else:
            shard.write_bytes(whole)
            assert records == [record.tobytes() for record in converted.Converted(folder)]
    shard.unlink()
    with pytest.raises(UserError, match="shard-00000.array_record is missing"):
        converted.Converted(folder)
    good = json.loads(index.read_text())
    for change in ({"format": 9}, {"dataset": "x"}, {"shards": 3}, {"shards": [{"file": "../x", "counts": [1]}]}):
        index.write_text(json.dumps(good | change))
        with pytest.raises(UserError):
            converted.Converted(folder)
    index.write_text("{")
    with pytest.raises(UserError, match=r"index.json is missing or damaged"):
        converted.Converted(folder)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "_write_shard", full)
    source = write_scenes(tmp_path / "x.tfrecords", TETROMINOES, 1)
    assert "No space left on device" in refusal(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
