"""The commands as a user types them: what they write, what they say, and how they refuse."""

import argparse
import contextlib
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import slotjax
from slotjax import cli, evaluate, segment, weights
from slotjax import train as training
from slotjax.errors import UserError
from slotjax.reporting import evaluation, own_pictures
from slotjax.system import compilation, writing

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONWARNINGS": "default"}


def command(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def train(*arguments: str) -> subprocess.CompletedProcess:
    return command("train.py", *arguments)


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(module, *arguments)`: what a command says, in this process."""

    def call(module, *arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["slotjax", *map(str, arguments)])
        capsys.readouterr()
        module.main()
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my runs") / "quick:x:"
    result = train("--config", "configs/quick.py:tiny", "--workdir", folder)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    for said in ("memory: about", "steps take", "held-out: ", "report.html ("):
        assert said in result.stdout
    following = re.findall(r"python -m (.*)$", result.stdout, re.M)
    assert [shlex.split(text)[:3] for text in following] == [
        [f"slotjax.{module}", "--workdir", str(folder)] for module in ("evaluate", "segment")
    ]
    assert re.search(r" parameters, on [1-9]\d* x cpu$", result.stdout, re.M)
    assert re.search(r"^[1-9]\d* programs compiled in \d+\.\d s", result.stdout, re.M)
    return folder


def test_training_writes_what_it_says(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "loss", "grad_norm", "learning_rate", "images_per_second"} <= set(rows[0])
    assert {"fg_ari", "ari", "miou", "posterior_fg_ari", "mse", "num_images"} <= set(rows[-1])
    assert rows[-1]["step"] == 6
    # A heading, and two rows of input, reconstruction, truth, twice the segments and five slots.
    assert size(workdir / "pictures" / "step_0000006.png") == (10 * (96 + 6 + 4) - 4, 16 + 2 * (96 + 6 + 4) - 4)


def test_a_finished_run_has_nothing_to_do(workdir, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    before = (workdir / "metrics.jsonl").read_text()
    assert "nothing to do" in run(training, "--config", "configs/quick.py:tiny", "--workdir", workdir)
    assert (workdir / "metrics.jsonl").read_text() == before


# Evaluation.


@pytest.fixture(scope="module")
def evaluated(workdir) -> tuple[str, str]:
    """What the run's own evaluation says, and what it writes."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", ["evaluate", "--workdir", str(workdir)])
        evaluate.main()
    return said.getvalue(), (workdir / "evaluation.json").read_text()


def test_a_runs_own_evaluation_says_how_it_was_made(workdir, evaluated):
    said, evaluation = evaluated[0], json.loads(evaluated[1])
    assert evaluation | {"num_images": 8, "method": "slots", "num_slots": 5, "num_iterations": 2} == evaluation
    assert evaluation["step"] in (3, 6)  # the better one
    assert evaluation["data"] == json.loads((workdir / "config.json").read_text())["data"]
    for name, title in (("fg_ari", "masks"), ("posterior_fg_ari", "responsibilities")):
        assert re.search(rf"FG-ARI of the {title} +{evaluation[name]:.4f}$", said, re.M)
        shown = f'<td data-title="FG-ARI of the {title}">{evaluation[name]:.4f}</td>'
        assert shown in (workdir / "report.html").read_text("utf-8")
    assert f"next: python -m slotjax.segment --workdir '{workdir}' IMAGE..." in said


def test_other_evaluations_are_kept_beside_it(workdir, evaluated, photos, run):
    of_folder = ("--data", "folder", "--data-path", photos, "--images", 2, "--num-iterations", 1)
    variants = {
        "num_slots_3-images_4": ("--num-slots", 3, "--images", 4),
        "num_iterations_1-images_2-data_folder-*": of_folder,
    }
    variants["method_kmeans-position_weight_1.5"] = ("--method", "kmeans", "--position-weight", 1.5)
    for name, flags in variants.items():
        said = run(evaluate, "--workdir", workdir, *flags)
        (path,) = (workdir / "evaluations").glob(f"{name}.json")
        assert f"wrote {path}" in said and "next:" not in said
        figures = json.loads(path.read_text())
        assert re.search(r"MSE +-?$" if figures["mse"] is None else rf"MSE +{figures['mse']:.4f}$", said, re.M)
        if name.startswith("num_iterations"):
            assert figures["data"]["path"] == str(photos) and figures["num_iterations"] == 1
    assert figures | {"num_clusters": 5, "position_weight": 1.5, "method": "kmeans"} == figures
    assert (workdir / "evaluation.json").read_text() == evaluated[1]


def test_what_is_as_in_training_is_no_variant(workdir):
    subject = evaluation.open_subject(workdir, None)
    assert evaluation.changed(subject, {"num_slots": 5, "images": 8, "data": "sprites", "method": "slots"}).own
    assert not evaluation.changed(subject, {"num_slots": 5, "brief": True}).own
    assert evaluation.changed(subject, {"num_slots": 4}).changes == {"num_slots": 4}


def test_weights_are_evaluated_as_they_were(run):
    kept = weights.read(weights.find("quick"))[0]["evaluation"]
    said = run(evaluate, "--weights", "quick", "--images", 4)
    assert "4 held-out images of sprites" in said and "name a file as --output" in said
    found = float(re.search(r"FG-ARI of the masks +([\d.]+)", said)[1])
    assert abs(found - kept["fg_ari"]) < 0.2  # four images of the hundreds


@pytest.mark.slow
def test_set_prediction_from_training_to_evaluation(tmp_path, data_dir):
    folder = tmp_path / "set"
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    source = data_dir / "clevr_with_masks.tfrecords"
    arguments = ["--config", "configs/clevr_set.py:masks,tiny", f"--config.data.path={source}", "--workdir", folder]
    arguments += ["--config.data.eval_images=1", "--config.train.batch_size=2"]
    result = command("train.py", *arguments, **cache)
    assert result.returncode == 0, result.stderr
    assert "held-out: ap_inf" in result.stdout and "slotjax.segment" not in result.stdout
    assert size(folder / "pictures" / "step_0000006.png")[0] == 3 * (256 + 6) + 2 * 4
    result = command("-m", "slotjax.evaluate", "--workdir", folder, **cache)
    assert result.returncode == 0, result.stderr
    for said in ("AP@0.125", "paper, CLEVR10", "94.3", "8 objects", "7 iterations"):
        assert said in result.stdout
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert 0 <= evaluation["ap_1"] <= 1 and evaluation["num_images"] == 1 and len(evaluation["studies"]) == 10
    for module, *rest in (("slotjax.evaluate", "--method", "kmeans"), ("slotjax.segment", source)):
        refused = command("-m", module, "--workdir", folder, *rest)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr


# People's own pictures.


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Three pictures that would like to be called the same, and a folder within."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    for name in ("photo.png", "photo.jpg", "photo_2.png", "more/Other.PNG"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_segment_at_the_pictures_own_size(workdir, photos, tmp_path, run):
    names = [photos / name for name in ("photo.png", "photo.jpg", "photo_2.png")]
    said = run(segment, "--workdir", workdir, *names, "--output", tmp_path)
    assert len(list(tmp_path.iterdir())) == 9
    for path, name in zip(names, ("photo", "photo_3", "photo_2"), strict=True):
        told = next(line for line in said.splitlines() if line.startswith(f"{path}: "))
        assert "70x50, seen by the model at 32x32" in told and str(tmp_path / f"{name}_segments.png") in told
        with Image.open(tmp_path / f"{name}_segments.png") as picture:
            assert picture.mode == "P" and picture.size == (70, 50)
            ids, colours = np.asarray(picture), np.asarray(picture.convert("RGB"))
        assert int(re.search(r"(\d) of 5 slots win", told)[1]) == len(np.unique(ids)) and ids.max() < 5
        np.testing.assert_array_equal(colours, own_pictures.draw.PALETTE[ids])
        assert size(tmp_path / f"{name}_overlay.png") == (210, 150)  # small ones are enlarged


def test_segments_are_those_of_the_responsibilities(workdir, photos, tmp_path, run):
    """The command, band by band, gives what the library gives for the whole picture."""
    import jax
    import jax.numpy as jnp

    def found(name, *flags):
        run(segment, "--workdir", workdir, photos / "photo.png", "--output", tmp_path / name, *flags)
        with Image.open(tmp_path / name / "photo_segments.png") as picture:
            return np.asarray(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_pictures, "AT_ONCE", 12 * 70 * 5)  # 50 rows are no multiple of 12
        in_bands = found("bands", "--sigma", 0.5)
    np.testing.assert_array_equal(in_bands, found("whole", "--sigma", 0.5))
    model, params = slotjax.load(workdir)
    with Image.open(photos / "photo.png") as picture:
        image = own_pictures.as_input(picture, (32, 32), crop=False)[None]
        whole = jnp.asarray(picture, jnp.float32)[None] / 127.5 - 1
    out = slotjax.apply(model, params, jnp.asarray(image), jax.random.key(0))
    wanted = slotjax.responsibilities(out, whole, sigma=0.5)[0].argmax(0)
    assert (in_bands == wanted).mean() > 0.995
    by_masks = slotjax.responsibilities(out, whole, sigma=math.inf)[0].argmax(0)
    assert (found("masks", "--masks", "decoder") == by_masks).mean() > 0.995
    assert (wanted != by_masks).mean() > 0.05


def test_cutouts_share_the_picture(workdir, photos, tmp_path, run):
    run(segment, "--workdir", workdir, photos / "photo.png", "--output", tmp_path, "--cutouts", "--num-slots", 3)
    slots = [np.asarray(Image.open(tmp_path / f"photo_slot_{k}.png")).astype(int) for k in range(3)]
    assert all(slot.shape == (50, 70, 4) for slot in slots)
    assert np.abs(sum(slot[..., 3] for slot in slots) - 255).max() <= 2
    with Image.open(photos / "photo.png") as picture:
        pixels = np.asarray(picture)
    for slot in slots:
        taken = slot[..., 3] > 0
        np.testing.assert_array_equal(slot[taken][:, :3], pixels[taken])


def test_nothing_is_cropped_unasked(workdir, photos, tmp_path, run):
    run(segment, "--workdir", workdir, photos / "photo.png", "--output", tmp_path / "whole")
    said = run(segment, "--workdir", workdir, photos / "photo.png", "--output", tmp_path / "crop", "--crop")
    assert "cropped from 70x50; 50x50, seen by the model at 32x32" in said
    assert size(tmp_path / "whole" / "photo_segments.png") == (70, 50)
    assert size(tmp_path / "crop" / "photo_segments.png") == (50, 50)


def test_folders_and_patterns(photos, tmp_path):
    names = ["more/Other.PNG", "photo.jpg", "photo.png", "photo_2.png"]
    inside = own_pictures.pictures_of([photos, photos / "photo.jpg"], tmp_path)
    assert [str(path.relative_to(photos)) for path in inside] == names
    assert own_pictures.pictures_of([photos / "*.png"], tmp_path) == [photos / "photo.png", photos / "photo_2.png"]
    assert own_pictures.pictures_of([photos], photos / "more") == inside[1:]  # results do not become pictures
    with pytest.raises(UserError, match="holds the pictures"):
        own_pictures.pictures_of([photos], photos)
    for empty in (tmp_path, photos / "*.gif"):
        with pytest.raises(UserError, match="no picture there"):
            own_pictures.pictures_of([empty], tmp_path / "out")


def test_segment_with_weights_that_come_with_the_library(tmp_path, monkeypatch, run):
    """In an empty folder, as right after installing; what is unlike the training's pictures is told."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("mine.png")
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save("stripes.png")
    said = run(segment, "--weights", "quick", "mine.png", "stripes.png")
    written = [f"{name}_{what}.png" for name in ("mine", "stripes") for what in ("overlay", "segments", "slots")]
    assert sorted(path.name for path in (tmp_path / "segments").iterdir()) == written
    assert re.findall(r"^note: (.*) is redrawn with \d+ times the usual error", said, re.M) == ["stripes"]


def test_the_usual_error_is_that_of_the_last_evaluation(workdir, tmp_path):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert own_pictures.usual_error(workdir) == rows[-1]["mse"]
    packaged = weights.find("quick")
    assert own_pictures.usual_error(packaged) == weights.read(packaged)[0]["evaluation"]["mse"]
    for i, unknown in enumerate(({}, {"evaluation": 3}, {"evaluation": {"mse": "low"}}, {"evaluation": {"mse": 0}})):
        weights.save(tmp_path / f"{i}.safetensors", {"model": {}} | unknown, {})
        assert own_pictures.usual_error(tmp_path / f"{i}.safetensors") == math.inf


def test_packaged_weights_say_what_they_are(run):
    said = run(segment, "--list")
    assert [line.split()[0] for line in said.splitlines()] == weights.packaged_names()
    assert "clevr, 64x64, 7 slots" in said and "sprites, 32x32, 5 slots" in said
    for name in weights.packaged_names():
        config, _ = weights.read(weights.find(name))
        assert f"FG-ARI of the responsibilities {config['evaluation']['posterior_fg_ari']:.3f} (" in said


@pytest.mark.parametrize(
    ("module", "flags", "message"),
    [
        (segment, "a.png", "--workdir and --weights: give one of the two; .*there are .*quick"),
        (segment, "--workdir runs/x --weights quick a.png", "--workdir and --weights: give one of the two"),
        (segment, "--weights quick", "IMAGE is missing"),
        (segment, "--weights quack a.png", "quack: no such .* no packaged weights .*one of .*quick"),
        (segment, "--weights quick missing.png", "missing.png cannot be read"),
        (segment, "--weights quick text.png", "text.png is no picture"),
        (segment, "--workdir none text.png", "none/config.json: no such file"),
        (segment, "--weights quick --sigma 0 a.png", "--sigma: must be a number from 0.001 to 1000, not 0"),
        (segment, "--weights quick --num-slots 257 a.png", "--num-slots: must be a whole number from 1 to 256"),
        (evaluate, "", "--workdir and --weights: give one of the two"),
        (evaluate, "--workdir none", "none/config.json: no such file"),
        (evaluate, "--weights quick --images 0", "--images: must be a whole number from 1 to 1000000, not 0"),
        (evaluate, "--weights quick --images 1e30", "--images: must be a whole number .* not 1e30"),
        (evaluate, "--weights quick --num-slots 0", "--num-slots: must be a whole number from 1 to 1000, not 0"),
        (evaluate, "--weights quick --num-iterations -1", "--num-iterations: must be a whole number .* not -1"),
        (evaluate, "--weights quick --position-weight nan", "--position-weight: must be a number .* not nan"),
        (evaluate, "--weights quick --position-weight inf", "--position-weight: must be a number .* not inf"),
        (evaluate, "--weights quick --position-weight -1", "--position-weight: must be a number .* not -1"),
        (evaluate, "--weights quick --method k", "--method: invalid choice: 'k'"),
        (evaluate, "--weights quick --data quack", "data.name='quack': choose one of"),
        (evaluate, "--weights quick --imags 3", "unrecognized arguments: --imags 3; python -m slotjax.evaluate --help"),
    ],
)
def test_mistakes_are_one_line(module, flags, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("not a picture")
    with pytest.raises(UserError, match=message) as error:
        run(module, *flags.split())
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text.png"]


# How a command starts and ends.


def test_paths_as_people_write_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.path("~/a b") == tmp_path / "a b"
    assert cli.path("a/../b") == Path("a/../b")  # a link may lie between
    refused = {"": "an empty path", "x" * 300: "File name too long", "\udcc3x": "LC_ALL=C.UTF-8", "gs://a/b": "mount"}
    for text, message in refused.items():
        with pytest.raises(argparse.ArgumentTypeError, match=message) as error:
            cli.path(text)
        assert "\n" not in str(error.value)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(argparse.ArgumentTypeError, match="Permission denied"):
        cli.path(str(tmp_path))


def test_usage_is_the_command(run, capsys):
    for module in (evaluate, segment):
        with pytest.raises(SystemExit):
            run(module, "--help")
        assert capsys.readouterr().out.startswith(f"usage: python -m {module.__name__} [-h]")


def test_a_mistake_costs_no_import_of_jax():
    script = "import sys; from slotjax import cli, {0}; {0}.parse(); print('jax' in sys.modules)"
    for module in ("evaluate", "segment", "report"):
        result = command("-c", script.format(module), "--workdir", "x")
        assert result.stdout == "False\n", result.stderr


def test_exit_codes_of_commands(tmp_path):
    for arguments in (["evaluate"], ["evaluate", "--images", "0"], ["segment", "a.png"], ["report"], ["pack"]):
        result = command("-m", f"slotjax.{arguments[0]}", *arguments[1:], cwd=tmp_path, PYTHONPATH=str(ROOT))
        assert result.returncode == 2 and not result.stdout
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr


def test_another_script_in_an_ascii_locale_is_told_at_the_start(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    arguments = ["--config", ROOT / "configs" / "quick.py:tiny", "--workdir", "ünï"]
    result = command(ROOT / "train.py", *arguments, cwd=tmp_path, **ascii_only)
    assert result.returncode == 2 and "export LC_ALL=C.UTF-8" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    result = command("-c", "from slotjax import cli; cli.run(lambda: print('\\xfc \\u2013'))", **ascii_only)
    assert result.stdout == "\\xfc \\u2013\n" and result.returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word():
    script = "from slotjax import cli; cli.run(lambda: [print(i) for i in range(100_000)] and None)"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, cwd=ROOT) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


BUSY = {
    "python": "while True: pass",
    "an import": "sys.path.insert(0, sys.argv[1]); import slow",
    "a callback, where exceptions are lost": "gc.callbacks.append(lambda *_: time.sleep(60)); gc.collect()",
    "a call that holds the main thread": "threading.Lock().acquire() and time.sleep(60)",
    "a file half written": "w = writing.whole(Path(sys.argv[1]) / 'new'); w.__enter__().write(b'x'); time.sleep(60)",
}


@pytest.mark.parametrize("what", BUSY)
def test_ctrl_c_is_one_line_whatever_is_under_way(what, tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\n")
    imports = "import gc, signal, sys, threading, time; from pathlib import Path; from slotjax import cli; "
    imports += "from slotjax.system import writing"
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started with"
    script = f"{imports}\n{heeded}\ndef main():\n    print('ready', flush=True)\n    {BUSY[what]}\ncli.run(main)"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=pipe, stderr=pipe, cwd=ROOT, env=ENVIRONMENT
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"interrupted\n"
    assert process.returncode == 130 and time.monotonic() - started < 5
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py"] in ([], ["__pycache__"])


def test_a_platform_that_is_not_there_is_one_line(tmp_path, photos):
    arguments = ["-m", "slotjax.segment", "--weights", "quick", photos / "photo.png", "--output", tmp_path / "out"]
    result = command(*arguments, JAX_PLATFORMS="cuda", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: JAX_PLATFORMS=cuda: no such device can be used here; unset it, or set JAX_PLATFORMS=cpu\n"
    )


def test_what_cannot_be_read_of_the_compilation_cache_is_replaced(tmp_path):
    """An emptied or shortened entry goes when JAX warns of it, so that what is compiled next takes its place."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    def compiled(number: float) -> None:
        jax.jit(lambda x: x * number).lower(1.0).compile()

    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_compilation_cache_max_size": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            for name, value in settings.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            compilation.replace_damaged(tmp_path)
            compiled(1.5)
            (entry,) = tmp_path.glob("*-cache")
            content = entry.read_bytes()
            for damage in (b"", content[:100]):
                entry.write_bytes(damage)
                jax.clear_caches()
                compiled(1.5)
                assert abs(entry.stat().st_size - len(content)) < 50  # how long it took is part of it
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
    assert not [warning for warning in shown if "persistent" in str(warning.message)]


def test_what_is_no_file_is_written_to_as_it_is(tmp_path):
    """`--output /dev/null`, and a link, stay what they are."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writing.write_text(tmp_path / "pipe", "a")
    assert os.read(reader, 9) == b"a" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    (tmp_path / "link").symlink_to("target")
    writing.write_text(tmp_path / "link", "b")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "b"


def test_a_python_without_the_packages_gets_one_line():
    result = subprocess.run(
        [sys.executable, "-S", "train.py", "--config", "configs/quick.py"],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: No module named ") and "pip install -e ." in result.stderr


REFUSED = {
    "no config": ([], "--config is missing"),
    "no such file": (
        ["--config", "configs/quack.py"],
        "no such file, and none of those that come with slotjax: clevr",
    ),
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
def test_wrong_training_commands_are_one_line(case, run, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments, message = REFUSED[case]
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(training, *arguments, "--workdir", tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


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
    heavy = ("tensorflow_datasets", "grain", "matplotlib", "jinja2", "tensorflow", "PIL")
    code = f"import sys, slotjax; print([m for m in {heavy} if m in sys.modules])"
    result = command("-W", "error", "-c", code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
