"""Weights of unknown origin: files that lie, or hold something else, and parameters of another model."""

import json
import os
import struct

import jax
import numpy as np
import pytest
from bounds import HUGE, bounded
from helpers import images_of, tiny

import slotjax
from slotjax import weights
from slotjax.demo import scene
from slotjax.errors import UserError
from slotjax.reporting import card


def file(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file: the header's length, the header, the numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape, end: int, kind: str = "F32") -> dict:
    return {"x": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}


BAD_WEIGHTS = {
    "10**12 numbers": file(tensor([HUGE], 4 * HUGE)),
    "more than there are numbers": file(tensor([2**62] * 4, 16), bytes(16)),
    "fewer than none": file(tensor([-1], 4), bytes(4)),
    "another size than the shape's": file(tensor([3], 4), bytes(4)),
    "a header longer than the file": file({}, length=2**40),
    "a header of nothing": file(b""),
    "a nested header": file(b"[" * 100_000),
    "no header": b"PK\3\4" + b"x" * 100,
    "an unknown dtype": file(tensor([1], 4, "OBJ"), bytes(4)),
    "numbers that overlap": file({**tensor([1], 4), "y": tensor([1], 4)["x"]}, bytes(4)),
    "numbers left over": file(tensor([1], 4), bytes(64)),
    "no model named": file(tensor([1], 4), bytes(4)),
    "a config that is none": file({"__metadata__": {"slotjax": "[1, 2]"}, **tensor([1], 4)}, bytes(4)),
    "a nested config": file({"__metadata__": {"slotjax": "[" * 9999}, **tensor([1], 4)}, bytes(4)),
    "empty": b"",
}


@pytest.mark.parametrize("content", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_are_none(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with bounded(16), pytest.raises(UserError, match="x.safetensors: not a file of weights, or damaged") as error:
        slotjax.load(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="no regular file"):
        weights.read(tmp_path / "x.safetensors")


CONFIG_OF_WEIGHTS = [
    (lambda config: config["model"].update(resolution=[HUGE, HUGE]), "model.resolution=1000000000000"),
    (lambda config: config["model"].update(slot_dim=8), "parameters are not the model's: '"),
    (lambda config: config.pop("model"), "names no model"),
    (lambda config: config.update(model=[1]), r"model=\(1,\): must be fields"),
    (lambda config: config["model"].update(name="\ud800"), "control characters"),
]


@pytest.fixture(scope="module")
def trained():
    config = tiny("quick")
    model = slotjax.build_model(config.model)
    return config, slotjax.init(model, jax.random.key(0), images_of(model))


def test_weights_that_are_not_their_models(tmp_path, trained):
    config, params = trained
    path = tmp_path / "x.safetensors"
    weights.save(path, config.to_dict(), params)
    slotjax.load(path)
    for change, message in CONFIG_OF_WEIGHTS:
        fields = json.loads(json.dumps(config.to_dict()))
        change(fields)
        weights.save(path, fields, params)
        with pytest.raises(UserError, match=message):
            slotjax.load(path)
    arrays = weights.flatten(params) | {"attention/project_q": np.zeros((16, 4))}
    weights.save(path, config.to_dict(), weights.unflatten(arrays))
    with pytest.raises(UserError, match=r"1 parameters .*'attention/project_q' is float32\[16, 4\], not float32\[16"):
        slotjax.load(path)
    with pytest.raises(UserError, match="is an array and a branch"):
        weights.unflatten({"a": 1, "a/b": 2})


OF_THEMSELVES = [
    (lambda fields: fields.update(data=3), "its config is none .data=3: must be fields"),
    (lambda fields: fields.update(data={"name": "sprite"}), "data.name='sprite': choose one of"),
    (lambda fields: fields.update(seed=None), "seed=None: must be a whole number"),
    (lambda fields: fields["train"].update(num_steps="many"), "train.num_steps='many': must be a whole number"),
    (lambda fields: fields.update(evaluation=[1]), r"evaluation=\[1\]: must be fields"),
    (lambda fields: fields.update(evaluation={"ari": "good"}), "evaluation.ari='good': must be a number; write it"),
    (lambda fields: fields.update(evaluation={"ari": 0.5}), "evaluation.num_images=None: must be a whole number"),
]


def test_what_weights_say_of_themselves_is_checked(tmp_path, trained, monkeypatch):
    """By the card; the demo asks only which scenes they are of."""
    config, params = trained
    path = tmp_path / "x.safetensors"
    monkeypatch.setattr(weights, "load", lambda path: (slotjax.build_model(config.model), params))  # as it is tested
    for change, message in OF_THEMSELVES:
        fields = json.loads(config.to_json())
        change(fields)
        weights.save(path, fields, params)
        with pytest.raises(UserError, match=f"x.safetensors: .*{message}") as error:
            card.card(str(path))
        assert "\n" not in str(error.value)
        if "evaluation" not in fields:
            with pytest.raises(UserError, match=message):
                scene.scenes(None, str(path), (32, 32))
    weights.save(path, {"model": config.model.to_dict(), "data": {"name": "sprites"}}, params)
    assert "`sprites`: rendered scenes." in card.card(str(path)) and scene.scenes(None, str(path), (32, 32))


def test_other_errors_are_not_told_as_damage(tmp_path, trained, monkeypatch):
    config, params = trained
    weights.save(tmp_path / "x.safetensors", config.to_dict(), params)

    def fail(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(weights, "check_parameters", fail)
    with pytest.raises(RuntimeError, match="something else"):
        slotjax.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 1e-3)])
def test_saved_weights_come_back(tmp_path, trained, half, tolerance):
    config, params = trained
    weights.save(tmp_path / "x.safetensors", config.to_dict() | {"evaluation": {"mse": 1.0}}, params, half=half)
    fields, arrays = weights.read(tmp_path / "x.safetensors")
    assert fields["evaluation"] == {"mse": 1.0} and {x.dtype for x in arrays.values()} == {
        np.dtype(np.float16 if half else np.float32)
    }
    _, loaded = slotjax.load(tmp_path / "x.safetensors")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance) or a.dtype == np.float32, loaded, params)


def test_numbers_too_large_for_16_bits_are_refused(tmp_path):
    with pytest.raises(UserError, match="beyond 65,504"):
        weights.save(tmp_path / "x.safetensors", {}, {"a": np.full(2, 1e6)}, half=True)
    assert not list(tmp_path.iterdir())
