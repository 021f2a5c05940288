"""Pictures of unknown origin: of sizes and in formats that are not opened, and masks at their extremes."""

import struct
import time
import zlib

import numpy as np
import pytest
from bounds import bounded
from PIL import Image

from slotjax.data import pictures
from slotjax.data.stored import clevr_tfds, folder
from slotjax.errors import UserError
from slotjax.reporting import timelapse


def giant_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def giant_tiff(width: int, height: int) -> bytes:
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 9)]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + fields + bytes(4)


GIANTS = {
    "png": giant_png(60_000, 60_000),
    "png just too large": giant_png(9_000, 9_000),
    "tiff": giant_tiff(60_000, 60_000),
    "gif": b"GIF89a"
    + struct.pack("<HH", 60_000, 60_000)
    + b"\0\0\0,"
    + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    + b"\2\0;",
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 90, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(40),
    "ppm": b"P6 60000 60000 255\n" + bytes(40),
}


@pytest.mark.parametrize("name", GIANTS)
def test_giant_pictures_are_refused_unopened(tmp_path, name):
    path = tmp_path / f"x.{name[:4].strip()}"
    path.write_bytes(GIANTS[name])
    for read in (pictures.load_picture, pictures.load_mask, lambda path: folder.scan(path.parent)):
        with bounded(8), pytest.raises(UserError, match=r"x\.\w+ has .*pixels.*: make it smaller"):
            read(path)
    with bounded(8):
        assert timelapse.read_sheet(path, 720) is None
        with pytest.raises(UserError, match="pixels" if path.suffix == ".png" else "no picture"):
            clevr_tfds._decode(GIANTS[name], "record 0")


def test_formats_that_start_programs_are_not_opened(tmp_path):
    """Encapsulated PostScript, which Pillow hands to Ghostscript, under the name of a PNG."""
    path = tmp_path / "step_1.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert timelapse.read_sheet(path, 720) is None
    with pytest.raises(UserError, match="is no picture"):
        pictures.load_picture(path)


def test_a_mask_one_pixel_wide_takes_no_longer_than_a_square_one(tmp_path):
    pixels = np.zeros((2**21, 1, 3), np.uint8)
    pixels[5] = 9
    Image.fromarray(pixels).save(tmp_path / "x.tiff", compression="tiff_adobe_deflate")
    start = time.process_time()
    ids = pictures.read_mask(tmp_path / "x.tiff")
    assert ids.sum() == ids[5, 0] == 1
    assert time.process_time() - start < 3


def test_zero_is_the_background_among_negative_numbers(tmp_path):
    Image.fromarray(np.array([[-5, 0, 7]], np.int32)).save(tmp_path / "x.tiff")
    assert pictures.read_mask(tmp_path / "x.tiff").tolist() == [[1, 0, 2]]
