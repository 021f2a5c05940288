"""TensorFlow 2 checkpoints of unknown origin: damaged, cut off, of another kind, or made to do harm."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tf2_files
from bounds import HUGE, bounded
from tf2_files import FOLDER, VARIABLE, block, entry, handle, header, message, number, table

from slotjax.convert import read_tf2
from slotjax.errors import UserError

DATA = np.arange(2, dtype="<f4").tobytes()
X = f"x{VARIABLE}"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """The prefix of a copy of a genuine one."""
    for file in FOLDER.glob("discovery-1.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "discovery-1"


def refused(path, name: str) -> str:
    """What the error says, which is one line that names the file and a remedy."""
    with pytest.raises(UserError) as error:
        read_tf2(path)
    line = str(error.value)
    assert line.isprintable() and name in line and len(line) < 600
    assert any(remedy in line for remedy in ("copy or download it again", "give the PREFIX", "give a checkpoint"))
    return line


def test_any_flipped_byte_of_the_index(checkpoint):
    path = Path(f"{checkpoint}.index")
    content = path.read_bytes()
    for at in (*range(0, len(content), 17), *range(len(content) - 60, len(content))):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        refused(checkpoint, "discovery-1.index")
    path.write_bytes(content)
    assert read_tf2(checkpoint)


def test_any_flipped_byte_of_the_data(checkpoint):
    path = Path(f"{checkpoint}.data-00000-of-00001")
    content = path.read_bytes()
    for at in (*range(0, len(content), 89), len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        refused(checkpoint, path.name)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.99])
def test_cut_off(checkpoint, suffix, left):
    path = Path(f"{checkpoint}.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    refused(checkpoint, path.name)
    path.write_bytes(content[:-1])
    refused(checkpoint, path.name)
    path.unlink()
    refused(checkpoint, "discovery-1")


def test_a_shard_that_is_missing(tmp_path):
    for file in FOLDER.glob("sharded-1.*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "sharded-1.data-00001-of-00002").unlink()
    assert "data-00001-of-00002: no such file" in refused(tmp_path / "sharded-1", "sharded-1")


FOREIGN = {
    "text.txt": b"weights",
    "text.index": b"an index\n" * 30,
    "weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(300),
    "checkpoint": b'model_checkpoint_path: "ckpt-1"\n',
    "empty.index": b"",
    "large.index": bytes(2**22 + 1),
}


@pytest.mark.parametrize(("name", "content"), FOREIGN.items(), ids=FOREIGN)
def test_files_of_other_kinds(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, name)


def test_checkpoints_and_folders_of_other_kinds(tmp_path):
    assert "TensorFlow 1" in refused(FOLDER / "tf1", "tf1.index")
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "variables").mkdir()
    assert "SavedModel" in refused(tmp_path, tmp_path.name)
    assert "no such checkpoint" in refused(tmp_path / "ckpt-1", "ckpt-1")
    assert "no such checkpoint" in refused(tmp_path / ("x" * 254), "xxx")
    os.mkfifo(tmp_path / "pipe.index")
    refused(tmp_path / "pipe", "pipe")


def test_the_newest_of_a_directory(tmp_path):
    for name in ("discovery-1", "set_prediction-1"):
        for file in FOLDER.glob(f"{name}.*"):
            shutil.copy(file, tmp_path)
    assert "several checkpoints" in refused(tmp_path, tmp_path.name)
    for text, kind in (("set_prediction-1", "mlp_classifier"), ("/somewhere/else/discovery-1", "decoder_cnn")):
        (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{text}"\nall_model_checkpoint_paths: "x"\n')
        assert any(name.startswith(kind) for name in read_tf2(tmp_path))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "gone"\n')
    assert "several checkpoints" in refused(tmp_path, tmp_path.name)


def test_a_table_of_several_blocks(tmp_path):
    pairs = [header(), *(entry(f"x{i:03d}{VARIABLE}", DATA, (2,), offset=8 * i) for i in range(100))]
    blocks = [block(pairs[at : at + 7]) for at in range(0, len(pairs), 7)]
    weights = read_tf2(tf2_files.write(tmp_path / "x", table(*blocks), DATA * 100))
    assert list(weights) == [f"x{i:03d}" for i in range(100)]
    assert all(array.tolist() == [0, 1] and array.flags.writeable for array in weights.values())


def test_an_array_of_no_axes_and_one_of_no_numbers(tmp_path):
    pairs = [header(), entry(f"a{VARIABLE}", DATA[:4], ()), entry(f"b{VARIABLE}", b"", (3, 0), offset=4)]
    weights = read_tf2(tf2_files.write(tmp_path / "x", table(block(pairs)), DATA))
    assert weights["a"].shape == () and weights["b"].shape == (3, 0)


def of(*pairs: tuple[bytes, bytes]) -> bytes:
    return table(block([header(), *pairs]))


def long_keys(count: int) -> bytes:
    """Keys of which each shares a megabyte with the one before."""
    start = tf2_files.varint(0) + tf2_files.varint(2**20) + b"\0" + b"k" * 2**20
    return start + (tf2_files.varint(2**20) + b"\1\0x") * count + bytes(4)


CRAFTED = {
    "10**12 bytes": (of(entry(X, DATA, (2,), size=HUGE)), "lies beyond its end"),
    "10**12 bytes further on": (of(entry(X, DATA, (2,), offset=HUGE)), "lies beyond its end"),
    "10**12 numbers": (of(entry(X, DATA, (HUGE,))), "size of its shape"),
    "more than there are numbers": (of(entry(X, DATA, (2**63, 2**63, 2**63))), "size of its shape"),
    "none of too many": (of(entry(X, b"", (2**63, 0))), "size of its shape"),
    "another size than the shape's": (of(entry(X, DATA, (3,))), "size of its shape"),
    "not whole numbers": (of(entry(X, DATA[:7], (2,))), "size of its shape"),
    "more axes than numpy has": (of(entry(X, DATA[:4], (1,) * 100)), "size of its shape"),
    "tensors that overlap": (of(*(entry(f"{i:03d}{VARIABLE}", DATA, (2,)) for i in range(100))), "tensors overlap"),
    "an unknown type": (of(entry(X, DATA, (2,), dtype=20)), "number 20"),
    "more texts than there are": (of(entry(X, DATA, (HUGE,), dtype=7)), "does not end"),
    "a shard that there is not": (of(entry(X, DATA, (2,), shard=1)), "shard that there is not"),
    "a shard of 10**12": (table(block([header(HUGE), entry(X, DATA, (2,), shard=HUGE - 1)])), "no such file"),
    "slices": (of((X.encode(), entry(X, DATA, (2,))[1] + message(7, b""))), "in slices"),
    "a shape that is a number": (of((X.encode(), number(1, 1) + number(2, 1))), "is no message"),
    "a type that is a message": (of((X.encode(), message(1, b""))), "is no number"),
    "an entry that is none": (of((X.encode(), b"\xff\xff")), "does not end"),
    "a wire type that there is not": (of((X.encode(), b"\x0b")), "wire type 3"),
    "control characters": (of(entry("\x1b[2J\n" + X, DATA, (2,))), "of the name"),
    "no text": (of((b"\xff\xfe" + X.encode(), entry(X, DATA[:1], (2,))[1])), "can't decode"),
    "no header": (table(block([entry(X, DATA, (2,))])), "no header"),
    "no entries": (table(), "no header"),
    "big-endian": (table(block([header(order=1), entry(X, DATA, (2,))])), "big-endian"),
    "no shards": (table(block([header(0), entry(X, DATA, (2,))])), "shard that there is not"),
    "snappy": (table(block([header()]), compression=1), "snappy"),
    "another compression": (table(block([header()]), compression=9), "unknown compression"),
    "keys twice": (of(entry(X, DATA, (2,)), entry(X, DATA, (2,))), "out of order"),
    "too many entries": (table(block([header(), *((b"%06d" % i, b"") for i in range(20_000))])), "more than 10000"),
    "keys of megabytes": (table(long_keys(1000)), "beyond its block"),
    "a block again and again": (
        table(bytes(2**20 - 4) + b"\xff\xff\x03\0", handles=[handle(0, 2**20)] * 10_000),
        "blocks overlap",
    ),
    "an empty block again and again": (table(bytes(4), handles=[handle(0, 4)] * 10_000), "blocks overlap"),
    "a block beyond the end": (table(block([header()]), handles=[handle(HUGE, 8)]), "beyond the end"),
    "a block of 10**12 bytes": (table(block([header()]), handles=[handle(0, HUGE)]), "beyond the end"),
    "a handle that is none": (table(block([header()]), handles=[b"\xff"]), "does not end"),
    "a block of nothing": (table(b""), "too short"),
    "more restarts than there is room": (table(b"\xff\xff\xff\xff"), "too short"),
    "two of a name": (
        of(entry(f"a/b{VARIABLE}", DATA, (2,)), entry(f"network/layer_with_weights-0/a/b{VARIABLE}", b"", (0,))),
        "two variables are 'a/b'",
    ),
}


@pytest.mark.parametrize(("index", "reason"), CRAFTED.values(), ids=CRAFTED)
def test_made_to_do_harm(tmp_path, index, reason):
    prefix = tf2_files.write(tmp_path / "x", index, DATA * 2)
    with bounded(32):
        assert reason in refused(prefix, "x.")
