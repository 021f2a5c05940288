from pathlib import Path

import numpy as np
import pytest
from picture_files import gradient, save
from PIL import Image

from slotjax.data import pictures
from slotjax.errors import UserError


@pytest.mark.parametrize("given", [str, lambda path: path])
def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path, given):
    array = gradient(6, 8)
    path = given(save(tmp_path / "a.png", array))
    for resolution in ((6, 8), None):
        image = pictures.load_picture(path, resolution)
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, array / 127.5 - 1, atol=1e-6)
    assert pictures.read_rgb(Path(path))[1] == []


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "LAB"])
def test_every_mode_is_converted_and_said(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "LAB") else "a.png")
    grey = np.full((4, 4), 255, np.uint8)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    elif mode == "LAB":
        Image.merge("LAB", [Image.fromarray(grey), *[Image.fromarray(grey // 2 + 1)] * 2]).save(path)
    else:
        Image.fromarray(grey).convert("RGB").convert(mode).save(path)
    image = pictures.load_picture(path, (4, 4))
    assert image.shape == (4, 4, 3) and pictures.read_rgb(path)[1]
    np.testing.assert_allclose(image, 1, atol=0.02)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, 2:, 3] = 255
    path = save(tmp_path / "a.png", pixels)
    image = pictures.load_picture(path, (4, 4))
    assert "white" in pictures.read_rgb(path)[1][0] and (image[:, :2] == 1).all() and (image[:, 2:] == -1).all()


def test_exif_orientation(tmp_path):
    upright = gradient(20, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    image = pictures.load_picture(tmp_path / "a.png")
    assert "EXIF" in pictures.read_rgb(tmp_path / "a.png")[1][0]
    np.testing.assert_allclose(image, upright / 127.5 - 1, atol=1e-6)


def test_crop_keeps_the_centre_and_squash_everything(tmp_path):
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 255
    path = save(tmp_path / "a.png", array)
    assert (pictures.load_picture(path, (10, 10)) == 1).all()
    squashed = pictures.load_picture(path, (10, 10), crop=False)
    assert (squashed[:, 0] == -1).all() and (squashed[:, 5] == 1).all() and (squashed[:, 9] == -1).all()


IDS = np.zeros((8, 8), np.uint8)
IDS[:4, :4], IDS[6:, 6:] = 1, 2
COLORS = np.array([[0, 0, 0], [0, 200, 0], [255, 0, 0]], np.uint8)


def rgba(background, alpha=0):
    pixels = np.concatenate([COLORS, np.full((3, 1), 255, np.uint8)], 1)
    pixels[0] = (*background, alpha)
    return Image.fromarray(pixels[IDS])


def palette(transparent):
    picture = Image.fromarray(IDS + np.uint8(transparent)).convert("P")
    picture.info["transparency"] = transparent
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(IDS * 90),
        Image.fromarray(IDS).convert("P"),
        Image.fromarray(COLORS[IDS]),
        Image.fromarray(IDS.astype(np.uint16) * 3000),
        rgba((255, 255, 255)),
        rgba((0, 0, 0), alpha=255),
        rgba((1, 2, 3), alpha=100),
        rgba((255, 255, 255)).convert("LA"),
        palette(0),
        palette(7),
    ],
    ids=["grey", "palette", "colours", "16 bits", "clear", "black", "faint", "LA", "index 0", "index 7"],
)
def test_masks_of_every_kind(tmp_path, picture):
    """Objects are numbered in the order of their values: green is below red, as bytes of one number."""
    picture.save(tmp_path / "m.png", **{k: v for k, v in picture.info.items() if k == "transparency"})
    ids = pictures.load_mask(str(tmp_path / "m.png"))
    assert ids.dtype == np.int32
    grey = picture.mode == "LA"  # in which red is darker than green
    np.testing.assert_array_equal(ids, np.where(IDS > 0, 3 - IDS, 0) if grey else IDS)


def test_masks_as_jpeg(tmp_path):
    bright = np.kron(IDS > 0, np.ones((8, 8))).astype(np.uint8) * 255
    Image.fromarray(bright).save(tmp_path / "m.jpg")
    np.testing.assert_array_equal(pictures.load_mask(tmp_path / "m.jpg"), bright > 0)
    for several in (IDS, IDS * 100, COLORS[IDS]):
        Image.fromarray(np.repeat(np.repeat(several, 8, 0), 8, 1)).save(tmp_path / "m.jpg")
        with pytest.raises(UserError, match=r"m.jpg is a mask of several values as JPEG, .*: save it as PNG"):
            pictures.load_mask(tmp_path / "m.jpg")


def test_a_mask_is_cut_like_its_picture(tmp_path):
    ids = np.zeros((40, 70), np.uint8)
    ids[10:30, 30:50] = 255
    picture, mask = save(tmp_path / "x.png", np.repeat(ids[..., None], 3, -1)), save(tmp_path / "m.png", ids)
    for crop in (True, False):
        image = pictures.load_picture(picture, (20, 20), crop)
        certain = np.abs(image[..., 0]) > 0.99
        assert certain.mean() > 0.7
        segments = pictures.load_mask(mask, (20, 20), crop)
        np.testing.assert_array_equal((segments == 1)[certain], (image[..., 0] > 0)[certain])


def test_too_many_values(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(4, 400, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="different values: a mask has one for each of up to 255 objects"):
        pictures.read_mask(save(tmp_path / "m.png", noise))


def test_memory_is_not_the_files_fault(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    path = save(tmp_path / "a.png", gradient(4, 4))
    monkeypatch.setattr(Image.Image, "getexif", full)
    with pytest.raises(MemoryError):
        pictures.load_picture(path)
