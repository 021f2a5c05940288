import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from slotjax.data import prepare_clevr
from slotjax.data.stored import base, clevr_tfds
from slotjax.errors import UserError


@pytest.fixture(scope="module")
def prepared(data_dir, tmp_path_factory):
    """The extract: 3 training scenes, 2 for validation, 1 for testing."""
    return prepare_clevr.prepare(data_dir / "clevr_v1.zip", tmp_path_factory.mktemp("tfds"))


def scenes_in(archive, split="train"):
    with zipfile.ZipFile(archive) as opened:
        return json.loads(opened.read(f"CLEVR_v1.0/scenes/CLEVR_{split}_scenes.json"))["scenes"]


def test_prepared_without_tensorflow_as_a_user_types_it(data_dir, tmp_path):
    command = (
        "import sys; from slotjax.data import prepare_clevr; "
        "code = prepare_clevr.main(sys.argv[1:]); assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    arguments = [str(data_dir / "clevr_v1.zip"), "--data-dir", str(tmp_path)]
    run = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert str(tmp_path / "clevr" / "3.1.0") in run.stdout
    assert "WARNING" not in run.stderr and "absl" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clevr"]


def test_scenes_have_the_pictures_and_objects_of_the_archive(prepared, data_dir):
    source = clevr_tfds._open(prepared, "train")
    scenes = {scene["image_filename"]: scene for scene in scenes_in(data_dir / "clevr_v1.zip")}
    assert len(source) == len(scenes) == 3
    with zipfile.ZipFile(data_dir / "clevr_v1.zip") as archive:
        for example in source:
            name = example["file_name"].decode()
            assert example["image"] == archive.read(f"CLEVR_v1.0/images/train/{name}")
            coordinates = [thing["3d_coords"] for thing in scenes[name]["objects"]]
            np.testing.assert_allclose(example["objects"]["3d_coords"], coordinates, rtol=1e-6)
            assert len(example["question_answer"]["answer"]) == 1


def test_an_example_follows_the_contract(prepared):
    stored = clevr_tfds.ClevrTfds(prepared.parent.parent, "train", (64, 48))
    assert len(stored) == 3 and not stored.has_segments and stored.max_objects == 10
    everything = clevr_tfds.ClevrTfds(prepared, "train", (64, 48), crop=False)
    for index in range(3):
        example, whole = stored[index], everything[index]
        assert example["image"].shape == (64, 48, 3) and example["image"].dtype == np.float32
        present, objects = example["objects"]["present"], example["objects"]
        assert present.sum() <= whole["objects"]["present"].sum() == len(stored._read(index)["objects"]["size"])
        assert objects["3d_coords"].shape == (10, 3) and objects["shape"].dtype == np.int32
        assert not any(values[~present].any() for values in objects.values())
        x, y, _ = objects["pixel_coords"][present].T
        assert (x >= 64).all() and (x < 256).all() and (y >= 29).all() and (y < 221).all()


def test_crop_is_cut_from_the_picture(prepared):
    stored = clevr_tfds.ClevrTfds(prepared, "validation", (192, 192))
    picture = clevr_tfds._decode(stored._read(0)["image"], "x")
    expected = picture[29:221, 64:256].astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(stored[0]["image"], expected, atol=1e-6)


def test_filter_counts_objects_once(prepared, data_dir, monkeypatch):
    counts = sorted(len(scene["objects"]) for scene in scenes_in(data_dir / "clevr_v1.zip"))
    assert len(clevr_tfds.ClevrTfds(prepared, "train", (8, 8), max_objects=counts[1])) == np.searchsorted(
        counts, counts[1], "right"
    )
    monkeypatch.setattr(base, "progress", None)  # a second time nothing is counted
    assert len(clevr_tfds.ClevrTfds(prepared, "train", (8, 8), max_objects=10)) == 3
    assert len(clevr_tfds.ClevrTfds(prepared, "train", (8, 8), max_objects=10, limit=2)) == 2
    with pytest.raises(UserError, match="raise data.max_objects"):
        clevr_tfds.ClevrTfds(prepared, "train", (8, 8), max_objects=1)


def test_whole_sample(shared_data, tmp_path):
    folder = prepare_clevr.prepare(shared_data / "clevr_v1_sample.zip", tmp_path)
    sizes = {split: len(clevr_tfds.ClevrTfds(folder, split, (8, 8))) for split in ("train", "validation", "test")}
    assert sizes == {"train": 24, "validation": 8, "test": 8}


def test_missing_and_empty_folders(tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="slotjax.data.prepare_clevr"):
            clevr_tfds.ClevrTfds(folder, "train", (8, 8))


def test_damaged_data_is_named(data_dir, tmp_path):
    folder = prepare_clevr.prepare(data_dir / "clevr_v1.zip", tmp_path)
    (shard,) = folder.glob("clevr-train*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"record \d is damaged"):
        list(clevr_tfds.ClevrTfds(folder, "train", (8, 8)))
    shard.unlink()
    with pytest.raises(UserError, match="damaged") as caught:
        list(clevr_tfds.ClevrTfds(folder, "train", (8, 8)))
    assert "\n" not in str(caught.value)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="incomplete or damaged"):
        clevr_tfds.ClevrTfds(folder, "train", (8, 8))


def rewritten(source, target, change):
    """A copy of an archive; `change(name, content)` gives the new content, None leaves the member out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name, content: None if "/images/val/" in name else content, "images/val"),
        (lambda name, content: None if "train_questions" in name else content, "split 'train'"),
        (lambda name, content: b"{}" if "train_scenes" in name else content, "split 'train'"),
        (lambda name, content: content[:-9] if "val_scenes" in name else content, "split 'val'"),
    ],
)
def test_wrong_archives(data_dir, tmp_path, change, says):
    archive = rewritten(data_dir / "clevr_v1.zip", tmp_path / "wrong.zip", change)
    with pytest.raises(UserError) as error:
        prepare_clevr.main([str(archive), "--data-dir", str(tmp_path / "data")])
    assert "wrong.zip" in str(error.value) and says in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("data/clevr/*/dataset_info.json"))


def test_an_archive_that_is_none_or_damaged(data_dir, tmp_path, monkeypatch):
    archive, target = tmp_path / "damaged.zip", tmp_path / "data"
    for path, says in ((archive, "does not exist: give the path"), (tmp_path, "is no file: give the path")):
        with pytest.raises(UserError, match=says):
            prepare_clevr.prepare(path, target)
    archive.write_bytes(b"no zip")
    with pytest.raises(UserError, match="is no zip archive"):
        prepare_clevr.prepare(archive, target)
    content = bytearray((data_dir / "clevr_v1.zip").read_bytes())
    content[30_000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UserError, match="CLEVR_train_000000.png is damaged"):
        prepare_clevr.prepare(archive, target)


def test_what_is_no_fault_of_the_files_comes_through(prepared, data_dir, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def missing(*_, **__):
        raise ImportError("no module named array_record")

    monkeypatch.setattr(tfds, "builder_from_directory", missing)
    with pytest.raises(ImportError, match="array_record"):
        clevr_tfds.ClevrTfds(prepared, "train", (8, 8))
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", missing)
    with pytest.raises(ImportError, match="array_record"):
        prepare_clevr.prepare(data_dir / "clevr_v1.zip", tmp_path)


def test_paths_inside_an_archive_cannot_escape(data_dir, tmp_path):
    archive = rewritten(data_dir / "clevr_v1.zip", tmp_path / "evil.zip", lambda name, content: content)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("CLEVR_v1.0/images/train/../../../../escaped.png", b"evil")
    with pytest.raises(UserError):
        prepare_clevr.prepare(archive, tmp_path / "a" / "b" / "c" / "data")
    assert not list(tmp_path.rglob("escaped*"))
