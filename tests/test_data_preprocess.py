import numpy as np
import pytest

from slotjax.data import preprocess
from slotjax.errors import UserError


def test_equals_the_original_on_its_recorded_picture(data_dir):
    golden = np.load(data_dir / "golden_crop.npz")
    picture = golden["image_u8"]
    for crop, rows in (("reference", golden["crop_rows"]), (False, golden["nocrop_rows"])):
        window = preprocess.clevr_window(*picture.shape[:2], crop)
        image = preprocess.to_input(picture, window, (128, 128))
        assert image.dtype == np.float32
        np.testing.assert_allclose(image[3::8], rows, atol=1e-6)


def test_equals_the_original_everywhere(shared_data):
    golden = np.load(shared_data / "golden" / "golden_data.npz")
    for crop, name in (("reference", "crop/image"), (False, "nocrop/image")):
        window = preprocess.clevr_window(320, 480, crop)
        image = preprocess.to_input(golden["image_u8"], window, (128, 128))
        np.testing.assert_allclose(image, golden[name], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "crop", "window"),
    [
        ((240, 320), True, (29, 221, 64, 256)),
        ((320, 480), True, (24, 312, 96, 384)),
        ((480, 640), True, (58, 442, 128, 512)),
        ((320, 480), "reference", (29, 221, 64, 256)),
        ((320, 480), False, (0, 320, 0, 480)),
    ],
)
def test_window_shows_the_same_field_of_view(size, crop, window):
    assert preprocess.clevr_window(*size, crop) == window


@pytest.mark.parametrize(("size", "crop"), [((100, 320), True), ((64, 64), "reference")])
def test_windows_that_cannot_be_are_refused(size, crop):
    with pytest.raises(UserError, match="data.crop"):
        preprocess.clevr_window(*size, crop)


@pytest.mark.parametrize("resolution", [(1, 1), (7, 5), (24, 36), (50, 80)])
def test_bilinear_equals_its_definition(resolution):
    image = np.random.default_rng(0).random((24, 36, 2)).astype(np.float32)

    def sample(axis_size, size, i):
        position = (i + 0.5) * axis_size / size - 0.5
        low = int(np.floor(position))
        return max(low, 0), min(max(low + 1, 0), axis_size - 1), position - low

    expected = np.zeros((*resolution, 2))
    for i, j in np.ndindex(*resolution):
        top, bottom, v = sample(24, resolution[0], i)
        left, right, u = sample(36, resolution[1], j)
        upper = image[top, left] * (1 - u) + image[top, right] * u
        lower = image[bottom, left] * (1 - u) + image[bottom, right] * u
        expected[i, j] = upper * (1 - v) + lower * v
    np.testing.assert_allclose(preprocess.resize_bilinear(image, resolution), expected, atol=1e-5)


def test_segments_line_up_with_the_picture():
    """A resized mask is where the resized picture of that mask is more than half bright."""
    rows, columns = np.mgrid[:96, :96]
    disk = ((rows - 40.3) ** 2 + (columns - 51.8) ** 2 < 900).astype(np.int64)
    window = (3, 93, 2, 92)
    segments = preprocess.to_segments(disk, window, (45, 45))
    picture = preprocess.to_input(disk[..., None].astype(np.uint8) * 255, window, (45, 45))
    assert segments.dtype == np.int32 and set(np.unique(segments)) == {0, 1}
    certain = np.abs(picture[..., 0]) > 0.99
    assert certain.mean() > 0.9
    assert ((picture[..., 0] > 0) == (segments == 1))[certain].all()
