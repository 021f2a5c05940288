"""Weights of unknown origin: archives that lie, unpack to too much or hold code, and parameters of another model."""

import io
import json
import stat
import struct
import zipfile

import fuzz_targets as targets
import numpy as np
import pytest
from bounds import HUGE, bounded

import slotjax
from slotjax import weights as loading
from slotjax.errors import UserError
from slotjax.system import reading as untrusted


def header(shape: str, descr: str = "'<f4'", length: int | None = None) -> bytes:
    """The start of an .npy file."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text


def lying(size: int) -> bytes:
    """An archive whose directory claims a member of so many bytes."""
    content = bytearray(targets.archive({"x.npy": header(f"({size // 4},)")}))
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", size, size)
    return bytes(content)


LINK = zipfile.ZipInfo("link.npy")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(LINK, "/etc/passwd")
    return buffer.getvalue()


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            opened.writestr("x.npy", targets.npy(np.zeros(3, np.float32)))
    return buffer.getvalue()


BAD_WEIGHTS = {
    "10**12 numbers": lambda: targets.archive({"x.npy": header(f"({HUGE},)")}),
    "more than there are numbers": lambda: targets.archive({"x.npy": header("(" + f"{2**62}, " * 4 + ")")}),
    "fewer than none": lambda: targets.archive({"x.npy": header("(-1,)")}),
    "a header of 64 KB": lambda: targets.archive({"x.npy": header("(1,)", length=65535)}),
    "a nested header": lambda: targets.archive({"x.npy": header("(" * 4000 + ")" * 4000)}),
    "a signed header": lambda: targets.archive({"x.npy": header("-" * 9000 + "1")}),
    "code": lambda: targets.archive({"x.npy": header("__import__('os').abort()")}),
    "objects": lambda: targets.archive({"x.npy": header("(1,)", "'|O'") + b"cos\nabort\n(tR."}),
    "a wide text": lambda: targets.archive({"x.npy": header("()", "'<U536870911'")}),
    "structures": lambda: targets.archive({"x.npy": header("(1,)", "[('a', '<f4')]") + b"1234"}),
    "no numbers": lambda: targets.archive({"config.json.npy": header("()", "'<U0'")}),
    "a version": lambda: targets.archive({"x.npy": b"\x93NUMPY\x09\x00" + b" " * 90}),
    "a directory that lies": lambda: lying(2**31),
    "a bomb": lambda: targets.archive({"x.npy": header("(2097152,)") + bytes(2**23)}, zipfile.ZIP_DEFLATED),
    "lzma": lambda: targets.archive({"x.npy": header("(0,)")}, zipfile.ZIP_LZMA),
    "a path": lambda: targets.archive({"../../x.npy": targets.npy(np.zeros(3, np.float32))}),
    "a link": linked,
    "a name twice": twice,
    "both": lambda: targets.archive({f"{n}.npy": targets.npy(np.zeros(3, np.float32)) for n in ("a", "a/b", "a/b/c")}),
    "no archive": lambda: b"PK\3\4" + b"x" * 100,
    "an array": lambda: targets.npy(np.zeros(3, np.float32)),
}


@pytest.mark.parametrize("content", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_are_none(tmp_path, content):
    path = tmp_path / "x.npz"
    content = content()
    path.write_bytes(content)
    with bounded(16), pytest.raises(UserError, match="x.npz: not a file of weights, or damaged") as error:
        slotjax.load(path)
    assert "\n" not in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["x.npz"]


CONFIG_OF_WEIGHTS = [
    (lambda config: config["model"].update(resolution=[HUGE, HUGE]), "model.resolution=1000000000000"),
    (lambda config: config["model"].update(slot_dim=8), "parameters are not the model's: '"),
    (lambda config: config.pop("model"), "damaged"),
    (lambda config: config.update(model=[1]), r"model=\(1,\): must be fields"),
    (lambda config: config["model"].update(name="\ud800"), "control characters"),
]


def test_weights_that_are_not_their_models(tmp_path):
    members, path = dict(targets.arrays()), tmp_path / "x.npz"
    text = targets.npy(np.array(json.dumps(targets.config())))
    path.write_bytes(targets.archive({**members, "config.json.npy": text}))
    slotjax.load(path)
    for change, message in CONFIG_OF_WEIGHTS:
        config = targets.config()
        change(config)
        path.write_bytes(targets.archive({**members, "config.json.npy": targets.npy(np.array(json.dumps(config)))}))
        with pytest.raises(UserError, match=message):
            slotjax.load(path)
    members["attention/project_q.npy"] = targets.npy(np.zeros((16, 16)))
    path.write_bytes(targets.archive({**members, "config.json.npy": text}))
    with pytest.raises(UserError, match=r"1 parameters .*'attention/project_q' is float64\[16, 16\], not float32"):
        slotjax.load(path)


def test_saved_weights_come_back(tmp_path):
    params = {"a": {"b": np.ones((2, 3), np.float32)}, "c": np.float32(2)}
    loading.save_weights(tmp_path / "x.npz", {}, params)
    with (tmp_path / "x.npz").open("rb") as file:
        entries = untrusted.read_arrays(file)
    assert json.loads(str(entries.pop("config.json"))) == {}
    tree = loading.unflatten(entries)
    assert tree["c"] == 2 and tree["a"]["b"].flags.writeable
    np.testing.assert_array_equal(tree["a"]["b"], params["a"]["b"])
