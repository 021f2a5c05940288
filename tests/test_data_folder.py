import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slotjax.data.stored import folder
from slotjax.errors import UserError

GREY = np.full((4, 4), 100, np.uint8)


def gradient(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, rows * 0 + 60], -1).astype(np.uint8)


def save(path, array, mode=None):
    path.parent.mkdir(exist_ok=True, parents=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path):
    array = gradient(6, 8)
    image, note = folder.load_picture(save(tmp_path / "a.png", array), (6, 8))
    assert image.dtype == np.float32 and note == ""
    np.testing.assert_allclose(image, array / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_converted_and_said(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    grey = np.full((4, 4), 255, np.uint8)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert("RGB").convert(mode).save(path)
    image, note = folder.load_picture(path, (4, 4))
    assert image.shape == (4, 4, 3) and note
    np.testing.assert_allclose(image, 1, atol=0.02)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, 2:, 3] = 255
    image, note = folder.load_picture(save(tmp_path / "a.png", pixels), (4, 4))
    assert "white" in note and (image[:, :2] == 1).all() and (image[:, 2:] == -1).all()


def test_exif_orientation(tmp_path):
    upright = gradient(20, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    image, note = folder.load_picture(tmp_path / "a.png", (20, 40))
    assert "EXIF" in note
    np.testing.assert_allclose(image, upright / 127.5 - 1, atol=1e-6)
    assert folder._oriented_size(tmp_path / "a.png") == (40, 20)


def test_crop_keeps_the_centre_and_squash_everything(tmp_path):
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 255
    path = save(tmp_path / "a.png", array)
    cropped, note = folder.load_picture(path, (10, 10))
    assert (cropped == 1).all() and "cropped and resized from 30x10" in note
    squashed, _ = folder.load_picture(path, (10, 10), crop=False)
    assert (squashed[:, 0] == -1).all() and (squashed[:, 5] == 1).all() and (squashed[:, 9] == -1).all()


@pytest.mark.parametrize("place", ["masks/{}.png", "{}_mask.png"])
@pytest.mark.parametrize("kind", ["grey", "colours", "palette", "16 bits"])
def test_masks_of_every_kind(tmp_path, cache_home, place, kind):
    ids = np.zeros((8, 8), np.uint8)
    ids[:4, :4], ids[6:, 6:] = 1, 2
    pixels = {
        "grey": ids * 90,
        "palette": ids,
        "colours": np.array([[0, 0, 0], [0, 200, 0], [255, 0, 0]], np.uint8)[ids],
        "16 bits": ids.astype(np.uint16) * 3000,
    }[kind]
    for name in ("x", "y"):
        save(tmp_path / "pictures" / f"{name}.png", gradient(8, 8))
        save(tmp_path / "pictures" / place.format(name), pixels, "P" if kind == "palette" else None)
    pictures, masks, counts = folder.scan(tmp_path / "pictures")
    assert [path.name for path in pictures] == ["x.png", "y.png"] and list(counts) == [2, 2]
    stored = folder.Folder(pictures, masks, (8, 8), crop=True, max_objects=3)
    assert stored.has_segments and stored.max_objects == 3
    np.testing.assert_array_equal(stored[1]["segments"], ids)
    assert stored[1]["segments"].dtype == np.int32
    assert list(stored[1]["objects"]["present"]) == [True, True, False]


def test_masks_are_cut_like_their_pictures(tmp_path, cache_home):
    ids = np.zeros((40, 70), np.uint8)
    ids[10:30, 30:50] = 255
    save(tmp_path / "p" / "x.png", np.repeat(ids[..., None], 3, -1))
    save(tmp_path / "p" / "masks" / "x.png", ids)
    for crop in (True, False):
        pictures, masks, _ = folder.scan(tmp_path / "p")
        example = folder.Folder(pictures, masks, (20, 20), crop=crop, max_objects=1)[0]
        certain = np.abs(example["image"][..., 0]) > 0.99
        assert certain.mean() > 0.7
        np.testing.assert_array_equal((example["segments"] == 1)[certain], (example["image"][..., 0] > 0)[certain])


def test_masks_are_counted_once_until_they_change(tmp_path, cache_home, monkeypatch):
    save(tmp_path / "p" / "x.png", gradient(4, 4))
    save(tmp_path / "p" / "x_mask.png", GREY)
    assert list(folder.scan(tmp_path / "p")[2]) == [1]
    monkeypatch.setattr(folder, "_read_mask", None)
    assert list(folder.scan(tmp_path / "p")[2]) == [1]
    save(tmp_path / "p" / "x_mask.png", gradient(4, 4))
    with pytest.raises(TypeError):
        folder.scan(tmp_path / "p")


def test_hidden_files_are_left_out_and_others_refused(tmp_path):
    save(tmp_path / "a.png", gradient(4, 4))
    save(tmp_path / "deep" / "face_mask.png", gradient(4, 4))  # no picture "face": a picture of its own
    (tmp_path / ".DS_Store").write_text("x")
    pictures, masks, _ = folder.scan(tmp_path)
    assert [path.name for path in pictures] == ["a.png", "face_mask.png"] and not masks
    assert folder.Folder(pictures, [], (4, 4), crop=True, max_objects=None)[0].keys() == {"image"}
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UserError, match="notes.txt is no picture"):
        folder.scan(tmp_path)


def bomb(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 100_000])
def test_bombs_are_refused_unopened(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with pytest.raises(UserError, match="bomb.png (has|cannot be read).*pixels"):
        folder.load_picture(tmp_path / "bomb.png", (8, 8))


def test_wrong_folders_are_named(tmp_path, cache_home):
    with pytest.raises(UserError, match="missing is no folder"):
        folder.scan(tmp_path / "missing")
    (tmp_path / "p").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        folder.scan(tmp_path / "p")
    save(tmp_path / "p" / "x.png", gradient(4, 4))
    save(tmp_path / "p" / "y.png", gradient(4, 4))
    save(tmp_path / "p" / "x_mask.png", GREY)
    with pytest.raises(UserError, match="y.png has no mask"):
        folder.scan(tmp_path / "p")
    save(tmp_path / "p" / "y_mask.png", GREY[:3])
    with pytest.raises(UserError, match="y_mask.png is 4x3"):
        folder.scan(tmp_path / "p")
    save(tmp_path / "p" / "y_mask.png", np.random.default_rng(0).integers(256, size=(4, 400, 3), dtype=np.uint8))
    with pytest.raises(UserError, match="different values"):
        folder.scan(tmp_path / "p")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_pictures_give_one_clear_line(tmp_path_factory, data):
    base = tmp_path_factory.getbasetemp()
    suffix = data.draw(st.sampled_from(["png", "jpg", "gif", "bmp", "webp"]))
    whole = save(base / f"whole.{suffix}", gradient(12, 12)).read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = base / f"damaged.{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        image, _ = folder.load_picture(path, (8, 8))
    except UserError as error:
        assert "damaged." in str(error) and "\n" not in str(error)
    else:
        assert image.shape == (8, 8, 3) and np.isfinite(image).all()
