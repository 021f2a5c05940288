"""Exported models: the same outputs without slotjax, for any number of pictures, under names that are explained."""

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from benchmark_runs import module
from helpers import ROOT, config_of, images_of, untrained
from PIL import Image

import slotjax
from slotjax.api import jitted_apply
from slotjax.errors import UserError
from slotjax.export import __main__ as command
from slotjax.export import onnx, program, stablehlo
from slotjax.models import build_model

responsibilities = jax.jit(slotjax.responsibilities)
DISCOVERY = ("attention", "components", "masks", "reconstruction", "segments", "slots")
INVARIANT_HAS_NOT = ("normalize", "update", "centered", "gradient", "heads", "noise", "foreign")
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)


def exported(name: str):
    model = build_model(config_of(name).model)
    params = slotjax.init(model, jax.random.key(3), images_of(model))
    return model, params, program.program(model, params, name, seed=5)


@pytest.fixture(scope="module")
def quick():
    return exported("quick:tiny")


def test_the_program_is_apply_from_a_fixed_start(quick):
    model, params, made = quick
    images = images_of(model, 3)
    start = program.first_slots(model, params, 5)
    out = jitted_apply(model, params, images, initial_slots=np.stack([start] * 3))
    found = jax.jit(made.call)(images)
    assert made.outputs == DISCOVERY == tuple(sorted(found))
    for name in set(DISCOVERY) - {"segments"}:
        np.testing.assert_allclose(found[name], getattr(out, name), rtol=0, atol=5e-6)
    np.testing.assert_array_equal(found["segments"], np.asarray(responsibilities(out, images)).argmax(1))


@pytest.mark.parametrize("attention", ["slots", "invariant"])
def test_the_start_is_the_models_own_draw(attention):
    """That of the Gaussian, and of frames where slots attend in their own."""
    config = config_of("tetrominoes:tiny").model.to_dict() | {"attention": attention}
    if attention == "invariant":
        config["decoder"] |= {"frame": "scaled"}
        config = {name: value for name, value in config.items() if name not in INVARIANT_HAS_NOT}
    model = build_model(config)
    params = slotjax.init(model, jax.random.key(3), images_of(model))
    drawn = jitted_apply(model, params, images_of(model, 1), jax.random.key(5)[None])
    start = program.first_slots(model, params, 5)[None]
    given = jitted_apply(model, params, images_of(model, 1), initial_slots=start)
    np.testing.assert_allclose(drawn.slots, given.slots, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["quick:tiny", pytest.param("clevr_set:tiny", marks=pytest.mark.slow)])
def test_stablehlo_is_the_same_for_any_number_of_pictures(quick, name, tmp_path):
    model, _, made = quick if name == "quick:tiny" else exported(name)
    path, beside = stablehlo.write(made, tmp_path / "m.stablehlo")
    for count in (1, 3):
        images = np.asarray(images_of(model, count))
        assert program.difference(jax.jit(made.call)(images), stablehlo.run(path, images)) < 1e-5
    about = json.loads(beside.read_text())
    assert tuple(about["outputs"]) == made.outputs and about["inputs"]["image"]["range"] == [-1, 1]
    assert about["inputs"]["image"]["shape"] == ["b", *model.inputs["image"].shape]
    exported_for = jax.export.deserialize(bytearray(path.read_bytes())).platforms
    assert exported_for == ("cpu", "cuda", "tpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["clevr:tiny", "multi_dsprites:small,tiny", "tetrominoes:small,tiny", "clevr_set:tiny"]
)
def test_onnx_is_the_same_for_any_number_of_pictures(name, tmp_path):
    pytest.importorskip("jax2onnx")
    model, _, made = exported(name)
    (path,) = onnx.write(made, tmp_path / "m.onnx")
    for count in (1, 3):
        images = np.asarray(images_of(model, count))
        found = onnx.run(path, images)
        assert tuple(found) == made.outputs
        assert program.difference(jax.jit(made.call)(images), found) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("as_commands_do")
def test_a_trained_model_is_the_same_but_for_rounding():
    """To 1e-5 in StableHLO, whose program is JAX's own; in ONNX on most pictures, and never much further off than the
    library is from itself where it is compiled, or where pixels move by their last bit (docs/deploy.md)."""
    pytest.importorskip("jax2onnx")
    same, stable, runtime, *own = module("exported").apart("clevr6", pictures=8).values()
    assert max(same) < 1e-5 and np.median(stable) < 1e-5 and np.median(runtime) < 1e-5
    assert max(*stable, *runtime) < 3 * max(1e-5, *(max(x) for x in own))


def test_mistakes_are_one_line(tmp_path, monkeypatch):
    untrained(config_of("quick:tiny"), tmp_path / "run")
    wrong = {
        f"--workdir {tmp_path}/run": "required: --to",
        f"--workdir {tmp_path}/run --weights quick --to {tmp_path}/m.onnx": "give one of the two",
        f"--workdir {tmp_path}/run --to {tmp_path}/m.pt": "ends in .stablehlo or .onnx",
        f"--weights quack --to {tmp_path}/m.onnx": "no packaged weights of that name",
    }
    for flags, message in wrong.items():
        monkeypatch.setattr(sys, "argv", ["export", *flags.split()])
        with pytest.raises(UserError, match=message) as error:
            command.main()
        assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=re.escape('pip install "slotjax[export]"')):
        command.export(str(tmp_path / "run"), tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_model_of_something_else_is_refused(quick, monkeypatch):
    predicting = build_model(config_of("quick:tiny").model.to_dict() | {"initializer": {"name": "predicted"}})
    with pytest.raises(UserError, match="runs/x: its slots start from each picture's tokens; only"):
        program.program(predicting, {}, "runs/x")
    model, params, _ = quick
    video = {"image": jax.ShapeDtypeStruct((4, 32, 32, 3), np.float32)}
    monkeypatch.setattr(type(model), "inputs", property(lambda self: video))
    with pytest.raises(UserError, match=r"runs/x: its model takes image \[4, 32, 32, 3\]; only"):
        program.program(model, params, "runs/x")


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=["stablehlo", "onnx"])
def test_the_ten_lines_of_the_docs_run_without_slotjax(snippet, tmp_path):
    form = "onnx" if "onnxruntime" in snippet else "stablehlo"
    if form == "onnx":
        pytest.importorskip("jax2onnx")
    command.export("clevr6", tmp_path / f"clevr6.{form}")
    model, params = slotjax.load("clevr6")
    scene = jax.jit(lambda key: slotjax.data.scenes.clevr(key, resolution=model.resolution))(jax.random.key(1))
    pixels = np.uint8(np.round((np.asarray(scene.image) + 1) * 127.5))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    (tmp_path / "run.py").write_text(
        f"{snippet}\nimport sys\nassert 'slotjax' not in sys.modules\nnp.savez('out.npz', **out)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    ours = program.program(model, params, "clevr6").call(pixels[None].astype(np.float32) / 127.5 - 1)
    with np.load(tmp_path / "out.npz") as theirs:
        assert program.difference(ours, dict(theirs)) < 2e-5  # rounding; see the test above of a trained model
        assert (theirs["segments"] == ours["segments"]).mean() > 0.999
    assert len(np.unique(Image.open(tmp_path / "segments.png"))) > 2


def test_what_is_not_finite_is_a_difference():
    ours, theirs = ({name: np.ones(2) for name in ("slots", "masks")} for _ in range(2))
    theirs["masks"][0] = np.nan
    assert not program.difference(ours, theirs) < 1
