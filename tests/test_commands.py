"""The commands as a user types them: what they write, what they say, and how they refuse."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import slotjax
from slotjax import segment
from slotjax import weights as loading
from slotjax.errors import UserError

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONWARNINGS": "default"}


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


def train(*arguments: str) -> subprocess.CompletedProcess:
    return command("train.py", *arguments)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quick"
    result = train("--config", "configs/quick.py:tiny", "--workdir", folder)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    for said in (
        "memory: about",
        "steps take",
        "held-out: fg_ari",
        "python -m slotjax.evaluate",
        "report.html (",
    ):
        assert said in result.stdout
    assert re.search(r" parameters, on [1-9]\d* x cpu$", result.stdout, re.M)
    assert re.search(r"^[1-9]\d* programs compiled in \d+\.\d s", result.stdout, re.M)
    return folder


def test_training_writes_what_it_says(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "loss", "grad_norm", "learning_rate", "images_per_second"} <= set(rows[0])
    assert {"fg_ari", "ari", "miou", "mse", "num_images"} <= set(rows[-1])
    assert rows[-1]["step"] == 6
    assert size(workdir / "pictures" / "step_0000006.png")[0] > 500


def test_a_finished_run_has_nothing_to_do(workdir):
    before = (workdir / "metrics.jsonl").read_text()
    result = train("--config", "configs/quick.py:tiny", "--workdir", workdir)
    assert result.returncode == 0
    assert "nothing to do" in result.stdout
    assert (workdir / "metrics.jsonl").read_text() == before


def test_evaluate(workdir):
    result = command("-m", "slotjax.evaluate", "--workdir", workdir)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["num_images"] == 8
    assert all(-1 <= evaluation[name] <= 1 for name in ("fg_ari", "ari", "miou"))
    assert re.search(rf"FG-ARI +{evaluation['fg_ari']:.4f}", result.stdout)
    assert f"<td>{evaluation['fg_ari']:.4f}</td>" in (workdir / "report.html").read_text("utf-8")


def test_evaluate_clustering_on_the_same_images(workdir, tmp_path):
    output = tmp_path / "kmeans.json"
    result = command("-m", "slotjax.evaluate", "--workdir", workdir, "--method", "kmeans", "--output", output)
    assert result.returncode == 0, result.stderr
    figures = json.loads(output.read_text())
    assert re.search(rf"FG-ARI +{figures['fg_ari']:.4f}", result.stdout)
    assert figures["method"] == "kmeans" and figures["num_images"] == 8


@pytest.mark.slow
def test_set_prediction_from_training_to_evaluation(tmp_path, data_dir):
    folder = tmp_path / "set"
    environment = ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    source = data_dir / "clevr_with_masks.tfrecords"
    arguments = ["--config", "configs/clevr_set.py:masks,tiny", f"--config.data.path={source}", "--workdir", folder]
    arguments += ["--config.data.eval_images=1", "--config.train.batch_size=2"]
    result = subprocess.run(
        [sys.executable, "train.py", *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "held-out: ap_inf" in result.stdout and "slotjax.segment" not in result.stdout
    assert size(folder / "pictures" / "step_0000006.png")[0] == 3 * 256 + 4
    evaluate = [sys.executable, "-m", "slotjax.evaluate", "--workdir", str(folder)]
    result = subprocess.run(evaluate, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for said in ("AP@0.125", "paper, CLEVR10", "94.3", "8 objects", "7 iterations"):
        assert said in result.stdout
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert 0 <= evaluation["ap_1"] <= 1 and evaluation["num_images"] == 1 and len(evaluation["studies"]) == 10
    for module, *rest in (("slotjax.evaluate", "--method", "kmeans"), ("slotjax.segment", source)):
        refused = command("-m", module, "--workdir", folder, *rest)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr


def test_segment_the_users_own_pictures(workdir, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    result = command("-m", "slotjax.segment", "--workdir", workdir, tmp_path / "mine.png", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "70x50" in result.stdout
    assert "mine_segments.png" in result.stdout
    assert size(tmp_path / "out" / "mine_segments.png") == (256, 256)
    assert (tmp_path / "out" / "mine_slots.png").exists()


def test_segment_with_weights_that_come_with_the_library(tmp_path):
    """In an empty folder, as right after installing."""
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "mine.png")
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    package = Path(slotjax.__file__).parent
    before = {path: path.stat().st_mtime_ns for path in (package / "weights").iterdir()}
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "slotjax.segment", "--weights", "quick", "mine.png", "stripes.png"]
    result = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    written = [f"{name}_{what}.png" for name in ("mine", "stripes") for what in ("segments", "slots")]
    assert sorted(path.name for path in (tmp_path / "segments").iterdir()) == written
    assert re.findall(r"^note: (.*) is redrawn with \d+ times the usual error", result.stdout, re.M) == ["stripes"]
    assert {path: path.stat().st_mtime_ns for path in (package / "weights").iterdir()} == before


def test_the_usual_error_is_that_of_the_last_evaluation(workdir, tmp_path):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert segment.usual_error(workdir) == rows[-1]["mse"]
    packaged = loading.PACKAGED / "quick.npz"
    config, _ = loading.load_entries(packaged)
    assert segment.usual_error(packaged) == config["evaluation"]["mse"]
    for i, unknown in enumerate(({}, {"evaluation": 3}, {"evaluation": {"mse": "low"}}, {"evaluation": {"mse": 0}})):
        loading.save_weights(tmp_path / f"{i}.npz", {"model": {}} | unknown, {})
        assert segment.usual_error(tmp_path / f"{i}.npz") == math.inf


def test_packaged_weights_say_what_they_are(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["segment", "--list"])
    segment.main()
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == loading.packaged_names()
    assert "clevr, 64x64, 7 slots" in said and "sprites, 32x32, 5 slots" in said
    for name in loading.packaged_names():
        config, _ = loading.load_entries(loading.PACKAGED / f"{name}.npz")
        assert f"FG-ARI {config['evaluation']['fg_ari']:.3f}, " in said


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word():
    script = "from slotjax import cli; cli.run(lambda: [print(i) for i in range(100_000)] and None)"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, cwd=ROOT) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_python_without_the_packages_gets_one_line():
    result = subprocess.run([sys.executable, "-S", "train.py"], cwd=ROOT, env={}, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: No module named ") and "pip install -e ." in result.stderr


def test_every_packaged_file_is_in_the_wheel():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["slotjax"]
    package = ROOT / "slotjax"
    shipped = {path for pattern in declared for path in package.glob(pattern)}
    assert set((package / "weights").iterdir()) <= shipped
    assert {loading.PACKAGED / f"{name}.npz" for name in loading.packaged_names()} <= shipped


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("a.png", "--workdir and --weights: give one of the two, .*there are .*quick"),
        ("--workdir runs/x --weights quick a.png", "--workdir and --weights: give one of the two"),
        ("--weights quick", "IMAGE is missing"),
        ("--weights quack a.png", "--weights quack: no such file, and no packaged weights .*one of .*quick"),
        ("--weights tests a.png", "--weights tests: is a directory; .* --workdir tests"),
    ],
)
def test_segment_needs_one_model_and_pictures(flags, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["segment", *flags.split()])
    with pytest.raises(UserError, match=message):
        segment.main()


def test_load_gives_model_and_parameters(workdir):
    import jax
    import jax.numpy as jnp

    model, params = slotjax.load(workdir)
    out = slotjax.apply(model, params, jnp.zeros((2, 32, 32, 3)), jax.random.key(0), num_slots=3)
    assert out.masks.shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="no such directory or file, and no packaged weights of that name"):
        slotjax.load("runs/never")


def test_load_refuses_a_damaged_file(tmp_path):

    path = tmp_path / "model.npz"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="model.npz: not a file of weights, or damaged"):
        slotjax.load(path)


REFUSED = {
    "no config": ([], "--config is missing"),
    "no such file": (["--config", "configs/quack.py"], "no such file; there are configs/clevr.py"),
    "no such variant": (["--config", "configs/clevr.py:big"], "variant='big': choose one of tfds, masks"),
    "no such field": (
        ["--config", "configs/clevr.py", "--config.train.lr=1"],
        "no field 'lr' in config.train; there are",
    ),
    "no such flag": (["--config", "configs/clevr.py", "--steps=1"], "--steps: no such flag"),
    "no number": (
        ["--config", "configs/clevr.py", "--config.train.num_steps=many"],
        "num_steps=many: must be a whole number",
    ),
    "no tuple": (
        ["--config", "configs/quick.py", "--config.model.encoder.channels=(8,"],
        "--config.model.encoder.channels=(8,: must be values in brackets and quotes; it is (32,32,32) now",
    ),
    "no slots": (
        ["--config", "configs/clevr.py", "--config.model.num_slots=0"],
        "model.num_slots=0: must be at least 1",
    ),
    "resolution": (
        ["--config", "configs/clevr.py", "--config.model.resolution=(100,100)"],
        "multiples of 16; take (96, 96)",
    ),
    "data that is rendered": (
        ["--config", "configs/clevr.py", "--config.data.path=/tmp"],
        "data.path='/tmp': clevr scenes are rendered, no file is read",
    ),
    "a pool of what is read": (
        ["--config", "configs/clevr.py:masks", "--config.data.path=/tmp", "--config.data.pool=9"],
        "data.pool=9: is for rendered scenes",
    ),
    "no data": (["--config", "configs/clevr.py:masks"], "data.path is not set"),
    "too many objects": (
        ["--config", "configs/clevr_set.py", "--config.model.num_slots=6"],
        "model.num_slots=6: the scenes hold up to 10 objects",
    ),
    "no folder": (["--config", "configs/folder.py", "--config.data.path=/nowhere"], "/nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_commands_are_one_line(case, tmp_path):
    arguments, message = REFUSED[case]
    result = train(*arguments, "--workdir", tmp_path / "run")
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_other_commands_refuse_in_one_line(workdir, tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    cases = [
        ("slotjax.evaluate", "--workdir", tmp_path / "none"),
        ("slotjax.segment", "--workdir", tmp_path / "none", tmp_path / "text.png"),
        ("slotjax.segment", "--workdir", workdir, tmp_path / "text.png"),
        ("slotjax.segment", "--workdir", workdir, tmp_path / "missing.png"),
        ("slotjax.report", "--workdir", workdir, tmp_path / "none"),
    ]
    for module, *arguments in cases:
        result = command("-m", module, *arguments)
        assert result.returncode == 2, arguments
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr


@pytest.mark.slow
def test_killed_and_started_again_equals_one_go(workdir, tmp_path):
    """The same command after a SIGKILL goes on by itself, to the same figures bit for bit."""
    folder = tmp_path / "killed"
    arguments = [sys.executable, "train.py", "--config", "configs/quick.py:tiny", "--workdir", str(folder)]
    process = subprocess.Popen(arguments, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    deadline = time.time() + 240
    while not (folder / "checkpoints" / "3").is_dir() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = command(*arguments[1:])
    assert result.returncode == 0, result.stderr
    assert untimed(folder) == untimed(workdir)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def untimed(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("time", "images_per_second")} for row in rows]


def test_importing_is_light():
    heavy = ("tensorflow_datasets", "grain", "orbax", "matplotlib", "jinja2", "tensorflow", "PIL")
    code = f"import sys, slotjax; print([m for m in {heavy} if m in sys.modules])"
    result = command("-W", "error", "-c", code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
