"""Folders of pictures as people have them."""

import os

import numpy as np
import pytest
from picture_files import gradient, save

from slotjax.data.stored import Key, folder, open_stored
from slotjax.errors import UserError

MASK = np.eye(30, 40, dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(cache_home):
    """Nothing is kept elsewhere."""


def make(directory, picture, mask=None, count=4):
    """`count` pictures under names like images/{}.jpg, and their masks."""
    for i in range(count):
        save(directory / picture.format(i), gradient(30, 40))
        if mask:
            save(directory / mask.format(i), MASK)
    return directory


def opened(directory, split="train", **fields):
    return open_stored({"name": "folder", "path": str(directory)} | fields, (30, 40), split)


@pytest.mark.parametrize("picture", ["{}.jpg", "images/{}.jpg", "a/images/{}.JPEG"])
@pytest.mark.parametrize("mask", ["masks/{}.png", "Masks/{}.PNG", "mask/{}.tif", "labels/{}.bmp", "gt/{}.jpg.png"])
def test_masks_where_people_have_them(tmp_path, capsys, picture, mask):
    if picture.endswith("JPEG"):
        mask = mask.replace(".jpg", ".JPEG")
    stored = opened(make(tmp_path / "p", picture, mask))
    assert stored.has_segments and len(stored) == 3 and stored.max_objects == 1
    np.testing.assert_array_equal(stored[0]["segments"], MASK)
    assert "4 pictures, 4 with a mask" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("{}.jpg", "{}_mask.PNG"),
        ("{}.png", "{}-segmentation.png"),
        ("images/train/{}.jpg", "annotations/train/{}.png"),
        ("train/{}.jpg", "train_masks/{}_mask.gif"),
        ("JPEGImages/{}.jpg", "SegmentationObject/{}.png"),
        ("images/{}.jpg", "annotations/trimaps/{}.png"),
        ("images/{}.jpg", "masks_png/{}.png"),
    ],
)
def test_masks_of_known_data_sets(tmp_path, picture, mask):
    stored = opened(make(tmp_path / "p", picture, mask))
    assert stored.has_segments and len(stored) == 3
    np.testing.assert_array_equal(stored[2]["segments"], MASK)


@pytest.mark.parametrize(("masks", "classes"), [("masks", "class_masks"), ("SegmentationObject", "SegmentationClass")])
def test_masks_of_classes_beside_those_of_objects(tmp_path, masks, classes):
    directory = make(tmp_path / "p", "{}.jpg", masks + "/{}.png")
    make(directory, "{}.jpg", classes + "/{}.png")
    kinds = (MASK > 0).astype(np.uint8)
    kinds[0, :] = 7
    save(directory / classes / "3.png", kinds)
    stored = opened(directory, eval_images=3)
    np.testing.assert_array_equal(stored[0]["segments"], MASK)
    assert set(np.unique(stored[0]["classes"])) == {0, 1, 2}
    assert "classes" not in stored[0, Key(0, 0)]
    (directory / classes / "3.png").unlink()
    with pytest.raises(UserError, match=r"3.jpg has no mask \(1 of 4 pictures have none\)"):
        opened(directory)
    save(directory / classes / "3.png", kinds[:9])
    with pytest.raises(UserError, match="3.png is 40x9, but its picture 40x30"):
        opened(directory)
    assert opened(make(tmp_path / "q", "{}.jpg", classes + "/{}.png"))[0].keys() == {"image", "segments", "objects"}


def test_names_that_come_back_in_several_folders(tmp_path):
    for i, part in enumerate(("train", "val")):
        save(tmp_path / "p" / "images" / part / "x.png", gradient(30, 40))
        save(tmp_path / "p" / "masks" / part / "x.png", MASK * 0 + i)
    found = folder.scan(tmp_path / "p")
    assert list(found.counts) == [0, 1] and [path.parent.name for path in found.masks] == ["train", "val"]


@pytest.mark.parametrize(
    ("picture", "mask", "says"),
    [
        ("{}.jpg", "labels/mask{}.png", r"labels/mask0.png seems to be a mask, but neither it nor any other has the"),
        ("with_mask/{}.jpg", None, r"holds pictures only where the name says masks \(with_mask\): rename that"),
        ("{}.jpg", "masks/{}.jpg", r"none of the 4 masks, such as .*masks/0.jpg, shows an object"),
    ],
)
def test_masks_are_never_left_out_in_silence(tmp_path, picture, mask, says):
    with pytest.raises(UserError, match=says) as error:
        opened(make(tmp_path / "p", picture, mask))
    assert "\n" not in str(error.value)


def test_masks_that_do_not_fit(tmp_path):
    directory = make(tmp_path / "p", "{}.png", "masks/{}.png")
    save(directory / "4.png", gradient(4, 4))
    with pytest.raises(UserError, match=r"4.png has no mask \(1 of 5 pictures have none\)"):
        opened(directory)
    save(directory / "masks" / "4.png", MASK)
    with pytest.raises(UserError, match="1 file of 10 cannot be used: .*masks/4.png is 40x30, but its picture 4x4"):
        opened(directory)
    save(directory / "masks" / "4.tif", MASK)
    with pytest.raises(UserError, match="4.png has two masks, .*masks/4.png and .*masks/4.tif"):
        opened(directory)
    os.remove(directory / "masks" / "4.tif")
    save(directory / "4.jpg", gradient(4, 4))
    with pytest.raises(UserError, match="masks/4.png is the mask of .*4.jpg or of .*4.png"):
        opened(directory)


def test_masks_without_pictures_are_counted(tmp_path, capsys):
    directory = make(tmp_path / "p", "{}.png", "masks/{}.png")
    os.remove(directory / "0.png")
    assert len(opened(directory)) == 2
    assert "3 pictures, 3 with a mask; passed over: 1 mask without a picture" in capsys.readouterr().err


def test_a_folder_may_itself_be_called_masks(tmp_path):
    assert len(opened(make(tmp_path / "masks", "{}.png"))) == 3


def test_other_files_are_passed_over_and_counted(tmp_path, capsys):
    directory = make(tmp_path / "p", "{}.png")
    for name in ("notes.txt", "README.TXT", "info.json", "Thumbs.db", ".DS_Store", "labels/0.txt"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("x")
    for split in ("train", "eval"):
        opened(directory, split)
    said = " ".join(capsys.readouterr().err.split())
    assert "4 pictures, none with a mask; passed over: 5 other files (.txt 2" in said and said.count("pictures") == 1
    for path in directory.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"holds no pictures, 5 other files \(.txt 2"):
        opened(directory)


def test_links_are_followed_once(tmp_path):
    directory = make(tmp_path / "p", "{}.png")
    make(tmp_path / "elsewhere", "far{}.png")
    (directory / "link").symlink_to(tmp_path / "elsewhere")
    (directory / "circle").symlink_to(directory)
    assert len(folder.scan(directory).pictures) == 8


@pytest.mark.parametrize("ending", ["jpg", "bmp", "gif", "tif", "png", "webp", "ppm"])
def test_all_damaged_files_are_named_at_the_start(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for i in range(4):
        save(tmp_path / "p" / f"{i}.{ending}", noise)
    for i in (1, 3):
        path = tmp_path / "p" / f"{i}.{ending}"
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match=rf"2 files of 4 cannot be used: .*1\.{ending} .*; .*3\.{ending} ") as error:
        opened(tmp_path / "p")
    assert "\n" not in str(error.value)


def test_files_are_checked_once_until_they_change(tmp_path, monkeypatch):
    directory = make(tmp_path / "p", "{}.png", "masks/{}.png")
    checked = []
    for name in ("_measure_picture", "_measure_mask"):
        measure = getattr(folder, name)
        monkeypatch.setattr(folder, name, lambda path, measure=measure: checked.append(path) or measure(path))
    for _ in range(2):
        assert list(folder.scan(directory).counts) == [1] * 4
    assert len(checked) == 8
    save(directory / "masks" / "2.png", np.stack([MASK, MASK * 2, MASK], -1))
    os.utime(directory / "1.png", ns=(0, 0))
    assert list(folder.scan(directory).counts) == [1] * 4
    assert sorted(path.name for path in checked[8:]) == ["1.png", "2.png"]
    (tmp_path / "p.checked.json").write_text("{\"'0.png'\": [1, 2, -3]}")
    assert list(folder.scan(directory).counts) == [1] * 4
    assert len(checked) == 10 + 8


def test_without_a_place_to_keep_anything(tmp_path, monkeypatch, capsys):
    """A read-only folder, and no home directory: a container's bare user id."""
    directory = make(tmp_path / "p", "{}.png")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    for split in ("train", "eval"):
        opened(directory, split)
    assert capsys.readouterr().err.count("note: what is found out about the data is not kept") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (20, 2)])
def test_a_sensible_share_is_held_out(tmp_path, count, held_out):
    directory = make(tmp_path / "p", "{:02}.png", count=count)
    for fields in ({}, {"eval_images": 0}, {"eval_images": None}):
        assert len(opened(directory, "eval", **fields)) == held_out
        assert len(opened(directory, "train", **fields)) == count - held_out
    with pytest.raises(UserError, match=f"{count} usable images, of which {count} would be held out: lower data.eval"):
        opened(directory, eval_images=count)


def test_scenes_with_many_objects_are_left_out(tmp_path):
    for i in range(4):
        save(tmp_path / "p" / f"{i}.png", gradient(1, 8))
        save(tmp_path / "p" / "masks" / f"{i}.png", np.arange(8, dtype=np.uint8).clip(0, i + 1)[None])
    assert opened(tmp_path / "p", crop="none").max_objects == 4
    few = opened(tmp_path / "p", crop="none", max_objects=2)
    assert len(few) == 1 and few[0]["objects"]["present"].tolist() == [True, True]


def test_wrong_folders_are_named(tmp_path):
    for path, says in ((tmp_path / "missing", "missing does not exist"), (tmp_path, "holds no pictures")):
        with pytest.raises(UserError, match=says):
            folder.scan(path)
    with pytest.raises(UserError, match="'reference': is CLEVR's"):
        opened(tmp_path, crop="reference")
