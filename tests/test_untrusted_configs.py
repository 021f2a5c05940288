"""Configs of unknown origin: what is none, or of no run, is refused in one line that names the field."""

import json
import os

import fuzz_targets as targets
import pytest
from bounds import HUGE, bounded

from slotjax.config import disk
from slotjax.data import pictures
from slotjax.errors import UserError
from slotjax.system import derived
from slotjax.system import reading as untrusted

REFUSED_CONFIGS = {
    "nested": "[" * 100_000,
    "nested fields": '{"a":' * 500 + "1" + "}" * 500,
    "a number too large": '{"seed": 1' + "0" * 400 + "}",
    "not a number": '{"seed": NaN}',
    "no fields": "[1, 2]",
    "a text": '"text"',
    "control characters": '{"a\\nb": 1}',
    "half a character": '{"seed": "\\ud800"}',
    "dots": '{"a.b": 1}',
    "a class": '{"__class__": {}}',
    "empty": "",
    "wrong encoding": b"\xff\xfe\x00",
    "too long": '{"a": "' + "a" * untrusted.MAX_JSON_BYTES + '"}',
}


@pytest.mark.parametrize("content", REFUSED_CONFIGS.values(), ids=REFUSED_CONFIGS)
def test_configs_that_are_none(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with bounded(64), pytest.raises(UserError, match="config.json: ") as error:
        disk.load_valid(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


CHANGES = [
    ("seed", "0", "seed='0': must be a whole number"),
    ("seed", True, "seed=True: must be a whole number"),
    ("train", [], r"train=\[\]: must be fields"),
    ("train.learning_rate", float("nan"), "train.learning_rate=nan"),
    ("train.learning_rate", 1e999, "train.learning_rate=inf"),
    ("eval.batch_size", HUGE, "eval.batch_size=1000000000000: must be at most"),
    ("data.eval_images", HUGE, "data.eval_images=1000000000000: must be at most"),
    ("data.options", None, "data.options=None: must be fields"),
    ("data.options.max_objects", "4", "data.options.max_objects='4': must be a whole number"),
    ("data.name", ["sprites"], "data.name"),
    ("model", None, "model.name is missing"),
    ("model.name", {}, "model.name={}: choose"),
    ("model.resolution", [HUGE, HUGE], "model.resolution=1000000000000: must be at most"),
    ("model.resolution", 32, "model.resolution=32: must be 2 whole numbers"),
    ("model.num_slots", 2.5, "model.num_slots=2.5: must be a whole number"),
    ("model.slot_dim", HUGE, "model.slot_dim=1000000000000: must be at most"),
    ("model.initializer", "learned", "model.initializer='learned': must be fields"),
    ("model.encoder.strides", [0, 1], "model.encoder.strides=0: must be at least 1"),
    ("model.encoder.kernels", [3] * 1000, "model.encoder.kernels=.*: must be up to 64"),
    ("model.encoder.channels", [8], "give each as many entries"),
    ("model.decoder.hidden", [], "model.decoder.hidden"),
    ("model.decoder.frequencies", 10**6, "model.decoder.frequencies=1000000: must be at most"),
]


@pytest.mark.parametrize(("field", "value", "message"), CHANGES, ids=[f"{f}={str(v)[:20]}" for f, v, _ in CHANGES])
def test_configs_of_no_run(tmp_path, field, value, message):
    config = targets.config()
    *parents, name = field.split(".")
    branch = config
    for parent in parents:
        branch = branch[parent]
    branch[name] = value
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with bounded(32), pytest.raises(UserError, match=message):
        disk.load_valid(path)


MISSING = ["seed", "train", "data.name", "model", "model.name", "model.encoder"]
MISSING += ["model.resolution", "model.num_slots", "model.slot_dim", "model.decoder", "model.decoder.name"]


@pytest.mark.parametrize("field", MISSING)
def test_configs_with_less_than_they_need(tmp_path, field):
    config = targets.config()
    *parents, name = field.split(".")
    branch = config
    for parent in parents:
        branch = branch[parent]
    del branch[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"config.json: {field}.*(missing|choose one of)"):
        disk.load_valid(tmp_path / "config.json")


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("config.json", "x.png"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="config.json: .*no regular file"):
        disk.load(tmp_path / "config.json")
    with pytest.raises(UserError, match="x.png is no file"):
        pictures.load_picture(tmp_path / "x.png", (8, 8))
    os.symlink("/dev/zero", tmp_path / "zero.json")
    assert derived.read(tmp_path / "zero.json") == {}
