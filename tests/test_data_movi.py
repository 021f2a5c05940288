"""MOVi as TFDS stores it, against numbers decoded by TFDS itself, and small sets of that form that are wrong."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tfrecord_files import message, varint

from slotjax.data import batches, crops
from slotjax.data.clips import fit_flow
from slotjax.data.preprocess import resize_bilinear, to_segments
from slotjax.data.stored import Key, movi, open_stored
from slotjax.data.tf_example import Features
from slotjax.data.tfrecords import frame
from slotjax.errors import UserError

NAMES = {"image": "video", "segments": "segmentations", "flow": "forward_flow"}  # in truth.npz, where they differ


@pytest.fixture(autouse=True)
def own_cache(cache_home):
    """Nothing is kept elsewhere."""


def opened(path, split="train", resolution=(64, 64), **fields):
    return open_stored({"name": "movi", "path": str(path), "num_frames": 8} | fields, resolution, split)


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def sample(request, shared_data):
    return shared_data / "movi_sample" / request.param


def test_everything_is_what_tfds_decodes(sample, shared_data):
    truth = np.load(shared_data / "movi_sample" / "truth.npz")
    train, held_out = opened(sample), opened(sample, "eval")
    assert len(train) == 6 and len(held_out) == 3 and train.has_segments and train.max_objects == 23
    order = [int(name) for name in truth["train_names"]], [int(name) for name in truth["validation_names"]]
    for stored, names, name in ((train, order[0], 0), (held_out, order[1], 6)):
        example = stored[names.index(name)]
        np.testing.assert_allclose((example["image"] + 1) * 127.5, truth[f"{name}/video"], atol=1e-3)
        np.testing.assert_array_equal(example["segments"], truth[f"{name}/segmentations"])
        for key in ("flow", "backward_flow"):
            np.testing.assert_allclose(example[key], truth[f"{name}/{NAMES.get(key, key)}"], atol=1e-5)
        np.testing.assert_allclose(example["depth"][..., 0], truth[f"{name}/depth"], rtol=1e-6)
        boxes, visibility = truth[f"{name}/boxes"], truth[f"{name}/visibility"]
        np.testing.assert_array_equal(example["boxes"][:, : len(boxes)], boxes.swapaxes(0, 1))
        assert (example["boxes"][:, len(boxes) :] == -1).all()
        np.testing.assert_array_equal(example["objects"]["visibility"][:, : len(boxes)], visibility.T)
        assert (example["objects"]["present"].sum(1) == len(boxes)).all()


def test_flows_lead_forwards_and_come_from_behind(sample):
    """What a pixel shows lies at pixel + flow in the next frame, and lay at pixel - backward flow in the one before."""
    example = opened(sample)[2]
    segments = example["segments"]
    for flow, sign, frames, others in (
        (example["flow"], 1, slice(None, -1), segments[1:]),
        (example["backward_flow"], -1, slice(1, None), segments[:-1]),
    ):
        t, y, x = np.nonzero(segments[frames])
        row, column = np.round(np.stack([y, x]) + sign * flow[frames][t, y, x].T).astype(int)
        inside = (row >= 0) & (row < 64) & (column >= 0) & (column < 64)
        same = others[t, row % 64, column % 64] == segments[frames][t, y, x]
        assert same[inside].mean() > 0.85


def test_both_forms_hold_the_same(shared_data):
    one, other = (opened(shared_data / "movi_sample" / form) for form in ("tfrecord", "array_record"))
    for index in range(6):
        np.testing.assert_array_equal(one[index]["image"], other[index]["image"])


def test_clips_are_drawn_from_the_key(sample):
    whole, clips = opened(sample)[1], opened(sample, num_frames=3)
    starts = set()
    for position in range(40):
        example = clips[1, Key(7, position)]
        start = int((whole["image"] == example["image"][:1]).all((1, 2, 3)).argmax())
        starts.add(start)
        for name in ("image", "segments", "flow", "backward_flow", "depth", "boxes"):
            np.testing.assert_array_equal(example[name], whole[name][start : start + 3])
    assert starts == set(range(6))
    np.testing.assert_array_equal(clips[1]["image"], whole["image"][:3])
    batch = next(batches.batches(clips, seed=3, batch_size=2))
    assert batch["image"].shape == (2, 3, 64, 64, 3) and batch["boxes"].shape == (2, 3, 23, 4)


def test_other_proportions_show_the_middle(sample):
    whole, middle = opened(sample)[0], opened(sample, resolution=(64, 32))[0]
    for name in ("image", "segments", "flow", "backward_flow", "depth"):
        np.testing.assert_array_equal(middle[name], whole[name][:, :, 16:48])
    seen = (middle["boxes"] >= 0).all(-1)
    assert 0 < seen.sum() < (whole["boxes"] >= 0).all(-1).sum()
    sides = [(box * [64, 32, 64, 32]).round().astype(int) for box in middle["boxes"][seen]]
    inside = [
        middle["segments"][t, a:c, b:d] == k + 1 for (t, k), (a, b, c, d) in zip(np.argwhere(seen), sides, strict=True)
    ]
    assert np.mean([part.any() for part in inside]) > 0.8  # the others are hidden where the box is cut


def test_other_resolutions_show_the_same(sample):
    large, small = opened(sample)[0], opened(sample, resolution=(32, 16), crop="none")[0]
    assert small["image"].shape == (8, 32, 16, 3) and small["depth"].shape == (8, 32, 16, 1)
    np.testing.assert_array_equal(small["segments"], large["segments"][:, 1::2, 2::4])
    ratio = np.abs(large["flow"]).mean((0, 1, 2)) / np.abs(small["flow"]).mean((0, 1, 2))
    np.testing.assert_allclose(ratio, [2, 4], rtol=0.1)
    np.testing.assert_array_equal(small["boxes"], large["boxes"])


def test_videos_of_few_objects(sample):
    everything, few = opened(sample), opened(sample, max_objects=4)
    counts = [int(everything[index]["objects"]["present"][0].sum()) for index in range(6)]
    assert len(few) == sum(count <= 4 for count in counts) > 0 and few.max_objects == 4
    assert few[0]["boxes"].shape == (8, 4, 4) and few[0]["segments"].max() <= 4


def png(array: np.ndarray) -> bytes:
    Image.fromarray(array).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def encoded(features: dict) -> bytes:
    """Lists of strings, float32 arrays and integer arrays as a tf.train.Example."""
    entries = []
    for name, values in features.items():
        if isinstance(values, list):
            feature = message(1, b"".join(message(1, value) for value in values))
        elif values.dtype == np.float32:
            feature = message(2, message(1, values.tobytes()))
        else:
            feature = message(3, message(1, b"".join(varint(int(value) % 2**64) for value in values)))
        entries.append(message(1, message(1, name.encode()) + message(2, feature)))
    return message(1, b"".join(entries))


def video(**changes) -> dict:
    """The features of a video of 4 frames of 8x8 with one object, changed; None takes one away."""
    rng = np.random.default_rng(0)
    features = {
        "video": [png(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in range(4)],
        "segmentations": [png(np.eye(8, dtype=np.uint8) * (1 + 4 * (t == 3))) for t in range(4)],
        "depth": [png(rng.integers(65536, size=(8, 8)).astype(np.uint16)) for _ in range(4)],
        "forward_flow": rng.integers(65536, size=4 * 8 * 8 * 2),
        "metadata/forward_flow_range": np.array([-3, 5], np.float32),
        "metadata/depth_range": np.array([1, 9], np.float32),
        "metadata/num_instances": np.array([1]),
        "instances/visibility": np.array([8, 8, 8, 0]),
        "instances/bboxes/ragged_flat_values": np.tile(np.array([0, 0, 1, 1], np.float32), 3),
        "instances/bbox_frames/ragged_flat_values": np.arange(3),
        "instances/bbox_frames/ragged_row_lengths_0": np.array([3]),
    }
    return {name: value for name, value in (features | changes).items() if value is not None}


def written(folder: Path, features: dict, name: str = "own-train.tfrecord-00000-of-00001") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(frame(encoded(features)) * 2)
    return folder


def test_a_small_set_by_hand(tmp_path):
    stored = opened(written(tmp_path / "own" / "1.0.0", video()).parent, resolution=(8, 8), num_frames=4)
    example = stored[1]
    depth = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in video()["depth"]])
    np.testing.assert_allclose(example["depth"][..., 0], depth / 65535 * 8 + 1, rtol=1e-6)
    assert len(np.unique(depth)) > 250  # all 16 bits
    np.testing.assert_allclose(example["flow"].ravel(), video()["forward_flow"] / 65535 * 8 - 3, atol=1e-5)
    assert (example["segments"][:3] == np.eye(8)).all() and not example["segments"][3].any()  # there is no object 5
    assert (example["boxes"][:3, 0] == [0, 0, 1, 1]).all() and (example["boxes"][3] == -1).all()
    assert "backward_flow" not in example


def test_videos_without_segments_or_objects(tmp_path):
    bare = {name: None for name in video() if name != "video"}
    stored = opened(written(tmp_path / "own", video(**bare)), resolution=(8, 8), num_frames=2)
    assert not stored.has_segments and set(stored[0]) == {"image"}


def test_integers_of_all_sizes():
    values = np.array([0, 1, 127, 128, 300, 2**31, 2**62, -1, -(2**63)])
    features = Features(encoded({"x": values, "none": np.zeros(0, np.int64)}), "x")
    np.testing.assert_array_equal(features.integers("x"), values)
    np.testing.assert_array_equal(features.integers("x", slice(3, 6)), values[3:6])
    assert features.integers("none").size == 0


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ({}, {"num_frames": 5}, "record 0 has 4 frames, fewer than the 5 asked for: lower data.num_frames"),
        ({}, {"num_frames": 0}, "data.num_frames=0: movi holds videos: say how many frames"),
        ({}, {"crop": "reference"}, "data.crop='reference': is CLEVR's"),
        ({"video": None}, {}, "has no feature 'video' of strings: it is of another data set"),
        ({"video": np.zeros(4, np.float32)}, {}, "has no feature 'video' of strings"),
        ({"video": [*video()["video"][:2], b"no picture", *video()["video"][3:]]}, {}, "video, frame 2 is no picture"),
        (
            {"video": [*video()["video"][:2], png(np.zeros((4, 8, 3), np.uint8)), *video()["video"][3:]]},
            {},
            "frame 2 is 8x4",
        ),
        ({"video": [*video()["video"][:3], video()["video"][3][:60]]}, {}, "video, frame 3 cannot be read"),
        ({"depth": [png(np.zeros((8, 8), np.uint8))] * 4}, {}, "depth, frame 0 is a picture of mode L"),
        ({"segmentations": [png(np.zeros((4, 4), np.uint8))] * 4}, {}, "segmentations is 4x4, the video 8x8"),
        ({"segmentations": video()["segmentations"][:3]}, {}, "segmentations has 3 frames, the video 4"),
        (
            {"forward_flow": np.zeros(100, np.int64)},
            {},
            "feature 'forward_flow' is damaged .it holds 100 numbers, not 512",
        ),
        ({"forward_flow": np.full(512, 65536)}, {}, "forward_flow is not of numbers of 16 bits"),
        ({"metadata/forward_flow_range": None}, {}, "no feature 'metadata/forward_flow_range' of floats"),
        ({"instances/visibility": np.zeros(3, np.int64)}, {}, "the instances do not fit together"),
        ({"instances/bbox_frames/ragged_flat_values": np.array([0, 1, 9])}, {}, "the instances do not fit together"),
        ({"metadata/num_instances": np.array([-1])}, {}, "num_instances is no number of objects"),
    ],
)
def test_what_is_wrong_is_named_in_a_line(tmp_path, changes, fields, message):
    folder = written(tmp_path / "own", video(**changes))
    with pytest.raises(UserError, match=message) as caught:
        opened(folder, resolution=(8, 8), **({"num_frames": 4} | fields))
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_too_many(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        opened(tmp_path / "none")
    with pytest.raises(UserError, match="holds no files of the split 'train'"):
        opened(tmp_path)
    written(tmp_path / "a" / "1.0.0", video(), "own-train.tfrecord-00001-of-00002")
    with pytest.raises(UserError, match="shard 00000 of own-train is missing"):
        opened(tmp_path, num_frames=2)
    written(tmp_path / "b", video())
    with pytest.raises(UserError, match="holds several data sets"):
        opened(tmp_path, num_frames=2)


@pytest.mark.parametrize("place", [3, 40, -1])
def test_damage_is_found(tmp_path, place):
    folder = written(tmp_path / "own", video())
    file = next(folder.iterdir())
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match="record [01]"):
        opened(folder, resolution=(8, 8), num_frames=2)[1]
    file.write_bytes(data[: len(data) // 2 + 20])
    with pytest.raises(UserError, match="record [01].* (is truncated|has a wrong checksum)"):
        opened(folder, resolution=(8, 8), num_frames=2)


def test_random_parts_are_drawn_as_the_original_draws_them():
    """Three quarters or more of the frames, within bounds, of aspects from 3/4 to 4/3; each place as likely."""
    generator = np.random.default_rng(0)
    windows = np.array([crops.random_window(96, 128, generator) for _ in range(500)])
    top, bottom, left, right = windows.T
    assert min(top.min(), left.min()) == 0 and (bottom.max(), right.max()) == (96, 128)
    rows, columns = bottom - top, right - left
    assert (rows * columns >= 0.75 * 96 * 128).all() and len(np.unique(rows)) > 10
    assert (np.abs(columns / rows - 1).max() <= 0.34) and (columns / rows).min() > 0.9  # 128 x 96 allows no narrower
    assert abs((top[rows < 96] / (96 - rows[rows < 96])).mean() - 0.5) < 0.1


def test_a_part_of_a_video_is_what_the_original_makes_of_it(shared_data):
    golden = np.load(shared_data / "golden" / "golden_savi.npz")
    top, left, rows, columns = golden["crop/params_y_x_h_w"]
    given, wanted = ({k[len(p) :]: golden[k] for k in golden if k.startswith(p)} for p in ("resize/in/", "crop/out/"))
    window, size = (top, top + rows, left, left + columns), wanted["video"].shape[1:3]
    part = {name: x[:, top : top + rows, left : left + columns] for name, x in given.items() if name != "boxes"}
    for name in ("video", "depth"):
        np.testing.assert_allclose([resize_bilinear(x, size) for x in part[name]], wanted[name], atol=1e-5)
    np.testing.assert_allclose(fit_flow(part["flow"], size), wanted["flow"], atol=1e-5)
    ids = [to_segments(x, window, size) for x in given["segmentations"]]
    np.testing.assert_array_equal(ids, wanted["segmentations"])
    none = (given["boxes"] == 0).all(-1, keepdims=True)  # zeros there, -1 here
    boxes = movi._in_window(np.where(none, -1, given["boxes"]), window, given["video"].shape[1:3])
    np.testing.assert_allclose(np.where((boxes < 0).any(-1, keepdims=True), 0, boxes), wanted["boxes"], atol=1e-6)


def test_training_sees_random_parts_and_evaluation_does_not(sample):
    plain, cropped = opened(sample), opened(sample, augment="crop")
    np.testing.assert_array_equal(plain[0]["image"], cropped[0]["image"])
    example, again = cropped[0, Key(0, 1)], cropped[0, Key(0, 1)]
    other = cropped[0, Key(0, 2)]
    np.testing.assert_array_equal(example["flow"], again["flow"])
    assert np.abs(example["image"] - plain[0]["image"]).max() > 0.1 < np.abs(example["image"] - other["image"]).max()
    for t, k in np.argwhere((example["boxes"] >= 0).all(-1)):  # boxes lie about the segments of their objects
        seen = np.argwhere(example["segments"][t] == k + 1)
        if len(seen):
            low, high = example["boxes"][t, k, :2] * 64, example["boxes"][t, k, 2:] * 64
            assert (seen.min(0) >= low - 2).all() and (seen.max(0) + 1 <= high + 2).all()
