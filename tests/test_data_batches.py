import itertools
import subprocess
import sys
import zlib

import ml_collections
import numpy as np
import pytest
import tfrecord_files

from slotjax.data import convert, prepare_clevr, schemas, tfrecords
from slotjax.data.batches import batches, eval_batches
from slotjax.data.stored import STORED, Key, Stored, multi_object, open_stored
from slotjax.errors import UserError
from slotjax.training.evaluation import leading

TETROMINOES = next(schema for schema in schemas.SCHEMAS if schema.name == "tetrominoes")


class Numbers(Stored):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def example(self, index, key):
        return {"image": np.full((2, 2, 3), index, np.float32), "objects": {"present": np.ones(2, bool)}}


def ids(batch):
    return batch["image"][:, 0, 0, 0].astype(int).tolist()


@pytest.mark.parametrize(("count", "there"), [(2, 2), (4, 4), (5, 5), (9, 7)])
def test_the_leading_examples_are_as_many_as_asked_for_or_all(count, there):
    found = leading(eval_batches(Numbers(7), batch_size=4), count)
    assert ids(found) == list(range(there))
    assert len(found["objects"]["present"]) == there and "valid" not in found


def take(count, **options):
    return [ids(batch) for batch in itertools.islice(batches(Numbers(10), **options), count)]


def test_each_epoch_is_a_new_permutation():
    stream = sum(take(15, seed=1, batch_size=4), [])
    epochs = [stream[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert stream != sum(take(15, seed=2, batch_size=4), [])


@pytest.mark.parametrize("num_workers", [0, 3])
def test_a_batch_is_a_function_of_seed_and_step(num_workers):
    whole = take(9, seed=3, batch_size=4)
    assert take(4, seed=3, batch_size=4, start_step=5, num_workers=num_workers) == whole[5:]
    for rows in (slice(0, 2), slice(2, 4), slice(3, None)):
        part = take(6, seed=3, batch_size=4, start_step=2, rows=rows, num_workers=num_workers)
        assert part == [batch[rows] for batch in whole[2:8]]


def test_batches_are_stacked():
    batch = next(batches(Numbers(3), seed=0, batch_size=5))
    assert batch["image"].shape == (5, 2, 2, 3) and batch["objects"]["present"].shape == (5, 2)
    with pytest.raises(ValueError, match="rows"):
        batches(Numbers(3), seed=0, batch_size=4, rows=slice(4, 8))


class Noisy(Numbers):
    """What a data set that augments would do."""

    def example(self, index, key):
        image = super().example(index, key)["image"]
        return {"image": image if key is None else image + key.generator().random(image.shape)}


@pytest.mark.parametrize("num_workers", [0, 3])
def test_what_is_drawn_at_random_is_a_function_of_seed_and_step(num_workers):
    def take(start, stop, rows=None, workers=0, seed=3):
        options = {"seed": seed, "batch_size": 4, "start_step": start, "rows": rows, "num_workers": workers}
        stream = batches(Noisy(5), **options)
        return np.stack([batch["image"] for batch in itertools.islice(stream, stop - start)])

    whole = take(0, 6)
    np.testing.assert_array_equal(take(4, 6, workers=num_workers), whole[4:])
    for rows in (slice(0, 2), slice(2, 4)):
        np.testing.assert_array_equal(take(1, 6, rows, num_workers), whole[1:, rows])
    assert len(np.unique(whole % 1)) == whole.size  # an example that comes back is drawn anew
    assert (take(0, 6, seed=4) % 1 != whole % 1).any()
    (held_out,) = eval_batches(Noisy(3), batch_size=3)
    assert ids(held_out) == [0, 1, 2] and not (held_out["image"] % 1).any()


def test_the_key_of_an_example():
    same = [Key(-5, 7).generator().integers(2**40) for _ in range(2)]
    others = {Key(seed, position).generator().integers(2**40) for seed in (-5, 0, 2**63 - 1) for position in range(9)}
    assert same[0] == same[1] and len(others) == 27


def test_a_data_set_is_a_file_and_a_line(monkeypatch, tmp_path):
    (tmp_path / "squares.py").write_text(
        "from slotjax.data.stored import Stored\n"
        "class Squares(Stored):\n"
        "    def __len__(self): return 9\n"
        "    def example(self, index, key): return {'image': index**2}\n"
        "def open_split(config, resolution, split): return Squares()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(STORED, "squares", "squares")
    assert list(row["image"] for row in open_stored({"name": "squares"}, (8, 8), "train"))[-1] == 64


def test_the_list_of_data_sets_is_cheap():
    """Whoever checks a config imports it; what reads the files comes when they are read."""
    code = "import sys, slotjax.data.stored; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["grain", "tensorflow_datasets", "array_record", "PIL", "google_crc32c"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damage_reaches_the_caller(num_workers):
    class Damaged(Numbers):
        def example(self, index, key):
            raise UserError("record 7 is damaged")

    with pytest.raises(UserError, match="record 7 is damaged"):
        next(batches(Damaged(10), seed=0, batch_size=2, num_workers=num_workers))


def test_evaluation_sees_each_example_once():
    seen = list(eval_batches(Numbers(7), batch_size=3))
    assert [ids(batch) for batch in seen] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert [batch["valid"].tolist() for batch in seen] == [[True] * 3, [True] * 3, [True, False, False]]
    assert seen[-1]["objects"]["present"].shape == (3, 2)


def config(**fields):
    return ml_collections.ConfigDict(fields)


@pytest.fixture
def tetrominoes(tmp_path):
    payloads = [tfrecord_files.example(tfrecord_files.scene(TETROMINOES, seed)) for seed in range(6)]
    return tfrecord_files.write(tmp_path / "data" / "t.tfrecords", payloads)


@pytest.fixture(autouse=True)
def data_folder(tmp_path):
    (tmp_path / "data").mkdir()


@pytest.mark.parametrize("as_folder", [False, True])
def test_small_files_are_converted_on_first_use(tetrominoes, capsys, as_folder):
    path = tetrominoes.parent if as_folder else tetrominoes
    data = config(name="tetrominoes_tfrecords", path=str(path), eval_images=2)
    train, held_out = (open_stored(data, (35, 35), split) for split in ("train", "eval"))
    assert (len(train), len(held_out)) == (4, 2)
    assert capsys.readouterr().err.count("(once)") == 1
    assert train[0]["image"].shape == (35, 35, 3) and train.max_objects == 3 and train.has_segments
    pictures = [tfrecord_files.scene(TETROMINOES, seed)["image"] / 127.5 - 1 for seed in range(6)]
    stored = [held_out[0], held_out[1], *(train[index] for index in range(4))]
    np.testing.assert_allclose([example["image"] for example in stored], pictures, atol=1e-6)


def test_a_read_only_folder_uses_the_cache(tetrominoes, cache_home, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    data = config(name="tetrominoes_tfrecords", path=str(tetrominoes), eval_images=2)
    for _ in range(2):
        assert len(open_stored(data, (35, 35), "train")) == 4
    assert len(list((cache_home / "slotjax").iterdir())) == 1
    assert [path.name for path in tetrominoes.parent.iterdir()] == ["t.tfrecords"]


def test_several_files_are_converted_into_one(tetrominoes):
    shards = [tetrominoes.with_name(f"t.tfrecord-{i:05d}-of-00002") for i in range(2)]
    records = list(tfrecords.read_records(tetrominoes))
    tetrominoes.unlink()
    for shard, part in zip(shards, (records[:4], records[4:]), strict=True):
        shard.write_bytes(zlib.compress(b"".join(map(tfrecords.frame, part))))
    for path in (tetrominoes.parent, tetrominoes.parent / "*-of-00002", f"{tetrominoes.parent}/t.tfrecord-0000?-*"):
        data = config(name="tetrominoes_tfrecords", path=str(path), eval_images=2)
        assert len(open_stored(data, (35, 35), "train")) == 4


def test_a_home_directory_is_put_for_its_sign(tetrominoes, monkeypatch):
    monkeypatch.setenv("HOME", str(tetrominoes.parent.parent))
    assert len(open_stored(config(name="tetrominoes_tfrecords", path="~/data/t.tfrecords"), (35, 35), "eval")) == 1


def test_a_changed_file_is_noticed(tetrominoes):
    data = config(name="tetrominoes_tfrecords", path=str(tetrominoes), eval_images=2)
    open_stored(data, (35, 35), "train")
    tfrecord_files.write(tetrominoes, [tfrecord_files.example(tfrecord_files.scene(TETROMINOES, 9))])
    with pytest.raises(UserError, match="was converted from another source"):
        open_stored(data, (35, 35), "train")


def test_large_files_are_not_converted_unasked(tetrominoes, monkeypatch):
    monkeypatch.setattr(multi_object, "_MAX_UNASKED_BYTES", 100)
    with pytest.raises(UserError, match="python -m slotjax.data.convert .* --dataset tetrominoes"):
        open_stored(config(name="tetrominoes_tfrecords", path=str(tetrominoes)), (35, 35), "train")


def test_clevr_with_masks_is_cropped_and_filtered(data_dir, tmp_path):
    path = convert.convert(data_dir / "clevr_with_masks.tfrecords", tmp_path / "out")
    data = config(name="clevr_with_masks", path=str(path), eval_images=1, max_objects=6)
    train, held_out = (open_stored(data, (48, 48), split) for split in ("train", "eval"))
    assert len(train) == len(held_out) == 1
    batch = next(batches(train, seed=0, batch_size=2, num_workers=2))
    assert batch["segments"].shape == (2, 48, 48) and batch["objects"]["present"].sum() <= 6
    whole = open_stored(dict(data) | {"crop": "none"}, (48, 48), "train")
    assert np.abs(whole[0]["image"] - train[0]["image"]).max() > 0.1
    with pytest.raises(UserError, match="raise data.max_objects or lower data.eval_images"):
        open_stored(dict(data) | {"eval_images": 2}, (48, 48), "eval")


def test_clevr_tfds(data_dir, tmp_path):
    folder = prepare_clevr.prepare(data_dir / "clevr_v1.zip", tmp_path / "tfds")
    data = config(name="clevr_tfds", path=str(folder), eval_images=1, max_objects=None, crop="reference")
    assert len(open_stored(data, (16, 16), "train")) == 3
    held_out = open_stored(data, (16, 16), "eval")
    assert len(held_out) == 1 and not held_out.has_segments
    (batch,) = eval_batches(held_out, batch_size=2)
    assert batch["image"].shape == (2, 16, 16, 3) and batch["objects"]["3d_coords"].shape == (2, 10, 3)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "cifar"}, "data.name='cifar': choose one of"),
        ({"name": "folder"}, "data.path is not set"),
        ({"name": "folder", "path": "{}/none"}, "none does not exist"),
        ({"name": "folder", "path": "{}"}, "holds no pictures"),
        ({"name": "clevr_tfds", "path": "{}"}, "slotjax.data.prepare_clevr"),
        ({"name": "clevr_with_masks", "path": "{}"}, "holds no TFRecord files"),
        ({"name": "folder", "path": "{}", "crop": "centre"}, "data.crop='centre': choose one of"),
        ({"name": "folder", "path": "{}/" + "x" * 300}, "File name too long"),
        ({"name": "folder", "path": "~nobody-here/x"}, "home directory that is not known"),
        ({"name": "clevr_tfds", "path": "a\0b"}, "is no path"),
        ({"name": "clevr_with_masks", "path": "\udcfc"}, "export LC_ALL=C.UTF-8"),
    ],
)
def test_wrong_settings_are_named(tmp_path, fields, says):
    fields = {key: value.format(tmp_path / "data") if key == "path" else value for key, value in fields.items()}
    with pytest.raises(UserError, match=says) as caught:
        open_stored(config(**fields), (8, 8), "train")
    assert "\n" not in str(caught.value)


def test_wrong_kinds_of_files(tetrominoes):
    with pytest.raises(UserError, match="schema of clevr_with_masks"):
        open_stored(config(name="clevr_with_masks", path=str(tetrominoes)), (8, 8), "train")
    converted = convert.convert(tetrominoes, tetrominoes.with_name("out"))
    with pytest.raises(UserError, match="holds tetrominoes, not objects_room"):
        open_stored(config(name="objects_room_tfrecords", path=str(converted)), (8, 8), "train")
    with pytest.raises(UserError, match="leave data.crop at its default"):
        open_stored(config(name="tetrominoes_tfrecords", path=str(converted), crop="reference"), (8, 8), "train")
    (tetrominoes.parent / "second.tfrecords").write_bytes(b"")
    with pytest.raises(UserError, match="second.tfrecords, t.tfrecords"):
        open_stored(config(name="tetrominoes_tfrecords", path=str(tetrominoes.parent)), (8, 8), "train")
