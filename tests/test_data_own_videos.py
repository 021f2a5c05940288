"""Folders of videos as people have them."""

import numpy as np
import pytest
from picture_files import save
from PIL import Image

from slotjax.data import convert, convert_videos
from slotjax.data.stored import Key, open_stored, videos
from slotjax.errors import UserError

LENGTH, SIZE = 6, (16, 20)


@pytest.fixture(autouse=True)
def own_cache(cache_home):
    """Nothing is kept elsewhere."""


def frames(seed: int, length: int = LENGTH, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Frames of one grey each, so that no compression changes them much: frame t is 20 t + seed."""
    return [np.full((*size, 3), 20 * t + seed, np.uint8) for t in range(length)]


def animated(path, arrays: list[np.ndarray]):
    path.parent.mkdir(exist_ok=True, parents=True)
    first, *rest = map(Image.fromarray, arrays)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=40, **options)
    return path


def film(path, arrays: list[np.ndarray]):
    av = pytest.importorskip("av")
    path.parent.mkdir(exist_ok=True, parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *arrays[0].shape[:2], "yuv420p"
        for array in arrays:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, "rgb24")))
        container.mux(stream.encode(None))
    return path


def folder(path, arrays: list[np.ndarray], name="{}.png"):
    for t, array in enumerate(arrays):
        save(path / name.format(t), array)
    return path


WAYS = {
    "a.gif": animated,
    "a.png": animated,
    "b/a.webp": animated,
    "a.mp4": film,
    "a.AVI": film,
    "a": folder,
}


def opened(directory, split="train", resolution=SIZE, **fields):
    config = {"name": "videos", "path": str(directory), "num_frames": LENGTH}
    return open_stored(config | fields, resolution, split)


def greys(example) -> np.ndarray:
    """The mean grey of each frame, 0..255."""
    return (example["image"].mean((1, 2, 3)) + 1) * 127.5


@pytest.mark.parametrize("name", WAYS)
def test_every_kind_of_video(tmp_path, capsys, name):
    for seed in range(3):
        WAYS[name](tmp_path / "v" / str(seed) / name, frames(seed))
    stored, held_out = opened(tmp_path / "v"), opened(tmp_path / "v", "eval", eval_frames=3)
    assert len(stored) == 2 and len(held_out) == 1 and not stored.has_segments
    assert stored[0]["image"].shape == (LENGTH, *SIZE, 3) and stored[0]["image"].dtype == np.float32
    for index in range(2):
        np.testing.assert_allclose(greys(stored[index]), 20 * np.arange(LENGTH) + index + 1, atol=5)
    np.testing.assert_allclose(greys(held_out[0]), [0, 20, 40], atol=3)
    clip = opened(tmp_path / "v", num_frames=2)
    starts = {round(greys(clip[0, Key(0, position)])[0] / 20) for position in range(40)}
    assert starts == set(range(LENGTH - 1))
    np.testing.assert_allclose(np.diff(greys(clip[0, Key(0, 1)])), 20, atol=3)
    said = capsys.readouterr().err
    assert "3 videos, 18 frames, no segments, so that no ARI is scored" in said and said.count("no segments") == 1


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for seed in range(2):
        folder(tmp_path / "v" / str(seed), frames(seed, 12), "frame{}.png")
    np.testing.assert_allclose(greys(opened(tmp_path / "v", num_frames=12)[0]), 20 * np.arange(12) + 1, atol=0.1)


def test_masks_keep_their_objects_through_a_video(tmp_path, capsys):
    """An object is the value it has in the masks of its video, whichever other objects a frame shows."""
    for seed in range(3):
        folder(tmp_path / "v" / "images" / str(seed), frames(seed))
        masks = [np.zeros(SIZE, np.uint8) for _ in range(LENGTH)]
        for t, mask in enumerate(masks):
            mask[t] = 200
            mask[t + 5] = 30 * (t > 2)
        folder(tmp_path / "v" / "masks" / str(seed), masks)
    stored = opened(tmp_path / "v")
    assert stored.has_segments and stored.max_objects == 2 and len(stored) == 2
    example = stored[0]
    for t in range(LENGTH):
        assert (example["segments"][t, t] == 2).all() and (example["segments"][t, t + 5] == (t > 2)).all()
    assert example["objects"]["present"].all() and example["objects"]["present"].shape == (LENGTH, 2)
    assert "up to 2 objects" in capsys.readouterr().err
    small = opened(tmp_path / "v", resolution=(8, 8))[0]
    assert small["image"].shape == (LENGTH, 8, 8, 3) and small["segments"].shape == (LENGTH, 8, 8)


def test_what_was_checked_is_not_checked_again(tmp_path, monkeypatch):
    for seed in range(3):
        animated(tmp_path / "v" / f"{seed}.gif", frames(seed))
    opened(tmp_path / "v")
    unpacked = []
    monkeypatch.setattr(videos, "measure", lambda video: unpacked.append(video.path.name) or (9, []))
    opened(tmp_path / "v")
    assert unpacked == []
    animated(tmp_path / "v" / "1.gif", frames(9, 7))
    opened(tmp_path / "v")
    assert unpacked == ["1.gif"]


def uneven(directory):
    folder(directory / "b", [*frames(0, 3), np.zeros((8, 8, 3), np.uint8)])


def broken_still(directory):
    folder(directory / "b", frames(0))
    path = directory / "b" / "3.png"
    path.write_bytes(path.read_bytes()[:-30])


def broken_animation(directory):
    rng = np.random.default_rng(0)
    path = animated(directory / "b.png", [rng.integers(256, size=(*SIZE, 3), dtype=np.uint8) for _ in range(6)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def broken_film(directory):
    rng = np.random.default_rng(0)
    path = film(directory / "b.mp4", [rng.integers(256, size=(*SIZE, 3), dtype=np.uint8) for _ in range(6)])
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 1000
    data[middle : middle + 100] = bytes(100)
    path.write_bytes(data)


def short(directory):
    animated(directory / "b.gif", frames(0, 3))


def mixed(directory):
    Image.fromarray(frames(0)[0]).save(directory / "z.gif")


def other_masks(directory):
    folder(directory / "images" / "b", frames(0))
    folder(directory / "masks" / "b", [np.ones((4, 4), np.uint8)] * LENGTH)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (uneven, "1 of 4 videos cannot be used: .*b, frame 3 is 8x8, but frame 0 20x16: make them one size"),
        (broken_still, "1 of 4 videos cannot be used: .*3.png cannot be read"),
        (broken_animation, r"1 of 4 videos cannot be used: .*b.png, frame [1-5] cannot be read"),
        (broken_film, "1 of 4 videos cannot be used: .*b.mp4, frame [1-5] (is broken|cannot be read)"),
        (short, r"b.gif has 3 frames, fewer than the 6 asked for \(1 of 4 videos\): lower data.num_frames"),
        (
            mixed,
            r"z.gif is a still picture and .*0.gif an animation: keep frames and animations in folders of their own",
        ),
    ],
)
def test_what_is_wrong_is_named_in_a_line(tmp_path, spoil, message):
    for seed in range(3):
        animated(tmp_path / "v" / f"{seed}.gif", frames(seed))
    spoil(tmp_path / "v")
    with pytest.raises(UserError, match=message) as caught:
        opened(tmp_path / "v")
    assert "\n" not in str(caught.value)


def test_masks_of_another_size_are_named(tmp_path):
    other_masks(tmp_path / "v")
    with pytest.raises(UserError, match="0.png is 4x4, but frame 0 20x16"):
        opened(tmp_path / "v")


def test_folders_without_videos_are_named(tmp_path):
    with pytest.raises(UserError, match="does not exist: give the folder that holds the videos"):
        opened(tmp_path / "none")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="holds no videos"):
        opened(tmp_path)


def test_a_playlist_opens_nothing_else(tmp_path):
    """FFmpeg would follow it to other files, and over the network."""
    pytest.importorskip("av")
    film(tmp_path / "other" / "secret.mp4", frames(0))
    path = tmp_path / "v" / "b.mp4"
    path.parent.mkdir()
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/other/secret.mp4\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(UserError, match="b.mp4, frame 0 cannot be read"):
        opened(tmp_path / "v")


def test_films_need_an_extra(tmp_path, monkeypatch):
    film(tmp_path / "v" / "b.mp4", frames(0))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r'av is not installed; pip install "slotjax\[video\]" brings it'):
        opened(tmp_path / "v")


def converted(source, destination, split="train", **fields):
    convert.main([str(source), str(destination), "--dataset", "videos"])
    config = {"name": "movi", "path": str(destination), "num_frames": LENGTH}
    return open_stored(config | fields, SIZE, split)


def test_converted_videos_are_the_videos(tmp_path, capsys):
    """Files, lengths, masks and all; and what is already there is not made again."""
    for seed in range(4):
        folder(tmp_path / "v" / "images" / str(seed), frames(seed))
        folder(tmp_path / "v" / "masks" / str(seed), [np.eye(*SIZE, k=t, dtype=np.uint8) * 9 for t in range(LENGTH)])
    stored, made = opened(tmp_path / "v"), converted(tmp_path / "v", tmp_path / "made")
    assert len(made) == len(stored) == 3 and made.has_segments
    for index in range(3):
        np.testing.assert_allclose(made[index]["image"], stored[index]["image"], atol=1e-6)
        np.testing.assert_array_equal(made[index]["segments"], stored[index]["segments"])
    assert len(open_stored({"name": "movi", "path": str(tmp_path / "made"), "num_frames": 1}, SIZE, "eval")) == 1
    converted(tmp_path / "v", tmp_path / "made")
    assert "already there" in capsys.readouterr().err
    folder(tmp_path / "v" / "images" / "0", frames(9))
    with pytest.raises(UserError, match="made was converted from another source than"):
        converted(tmp_path / "v", tmp_path / "made")
    with pytest.raises(UserError, match="holds no converted data: choose another"):
        converted(tmp_path / "v", tmp_path / "v")


def test_masks_of_some_videos_alone_do_not_count(tmp_path):
    for seed in range(2):
        folder(tmp_path / "v" / "images" / str(seed), frames(seed))
        folder(tmp_path / "v" / "masks" / str(seed), [np.ones(SIZE, np.uint8)] * LENGTH)
    animated(tmp_path / "v" / "z.gif", frames(9))
    assert not opened(tmp_path / "v").has_segments
    assert not converted(tmp_path / "v", tmp_path / "made").has_segments


def test_a_conversion_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    for seed in range(5):
        animated(tmp_path / "v" / f"{seed}.gif", frames(seed))
    monkeypatch.setattr(convert_videos, "VIDEOS_A_FILE", 2)
    encode, written = convert_videos.encode, []

    def stopped(checked, masked):
        written.append(checked.video.path.name)
        if len(written) == 4:
            raise KeyboardInterrupt
        return encode(checked, masked)

    monkeypatch.setattr(convert_videos, "encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        converted(tmp_path / "v", tmp_path / "made")
    assert not (tmp_path / "made").exists()
    made = converted(tmp_path / "v", tmp_path / "made")
    assert written == ["0.gif", "1.gif", "2.gif", "3.gif", "3.gif", "4.gif"]
    assert "Going on after 2 files" in capsys.readouterr().err
    np.testing.assert_allclose([greys(made[index])[0] for index in range(4)], [1, 2, 3, 4], atol=1)


def test_movi_as_array_records(shared_data, tmp_path):
    source = shared_data / "movi_sample" / "tfrecord"
    made = converted(source, tmp_path / "made", num_frames=3)
    original = open_stored({"name": "movi", "path": str(source), "num_frames": 3}, SIZE, "train")
    assert len(made) == len(original) == 6 and len(list((tmp_path / "made").iterdir())) == 4
    for name, value in original[4].items():
        if name != "objects":
            np.testing.assert_array_equal(made[4][name], value)
