"""Training as a user types it: what it writes, what it says, and how it refuses."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from helpers import ENVIRONMENT, ROOT, command, config_of, figures, picture_size

from slotjax import train as training
from slotjax.config.check import validate
from slotjax.config.command_line import override
from slotjax.errors import UserError


def test_training_says_what_comes_next(tiny_run):
    said = (tiny_run / "said.txt").read_text()
    for part in ("memory: about", "steps take", "held-out: ", "report.html ("):
        assert part in said
    following = re.findall(r"python -m (.*)$", said, re.M)
    assert [shlex.split(text)[:3] for text in following] == [
        [f"slotjax.{module}", "--workdir", str(tiny_run)] for module in ("evaluate", "segment")
    ]
    assert re.search(r" parameters, on [1-9]\d* x cpu$", said, re.M)


def test_training_writes_what_it_says(tiny_run):
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "loss", "grad_norm", "learning_rate", "images_per_second"} <= set(rows[0])
    assert {"fg_ari", "ari", "miou", "posterior_fg_ari", "mse", "num_images"} <= set(rows[-1])
    assert rows[-1]["step"] == 6
    # A heading, and two rows of input, reconstruction, truth, twice the segments and five slots.
    assert picture_size(tiny_run / "pictures" / "step_0000006.png") == (
        10 * (96 + 6 + 4) - 4,
        16 + 2 * (96 + 6 + 4) - 4,
    )


def test_a_finished_run_has_nothing_to_do(tiny_run, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    before = (tiny_run / "metrics.jsonl").read_text()
    assert "nothing to do" in run(training, "--config", "configs/quick.py:tiny", "--workdir", tiny_run)
    assert (tiny_run / "metrics.jsonl").read_text() == before


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
    "no such field, but one near": (
        ["--config", "configs/clevr.py", "--config.model.num_slot=3"],
        "; did you mean num_slots?",
    ),
    "a field of another section": (
        ["--config", "configs/clevr.py", "--config.batch_size=3"],
        "; did you mean eval.batch_size or train.batch_size?",
    ),
    "no such flag": (["--config", "configs/clevr.py", "--steps=1"], "--steps=1: no such flag; python -m"),
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
    "objects of scenes that are rendered": (
        ["--config", "configs/clevr.py", "--config.data.max_objects=4"],
        "data.max_objects=4: is for stored pictures, clevr scenes are rendered: leave it out, or set data.options.",
    ),
    "a price of what is not learned": (
        ["--config", "configs/quick.py", "--config.model.selection=needed", "--config.train.losses.kept=0.1"],
        "train.losses.kept=0.1: model.selection=needed does not learn from a price; choose one of gumbel, stick",
    ),
    "a pool of what is read": (
        ["--config", "configs/clevr.py:masks", "--config.data.path=/tmp", "--config.data.pool=9"],
        "data.pool=9: is for rendered scenes",
    ),
    "options of what is read": (
        ["--config", "configs/quick.py", "--config.data.name", "folder", "--config.data.path", "/tmp"],
        "is for rendered scenes, folder is read: set it to {}",
    ),
    "no value": (["--config", "configs/quick.py", "--config.seed"], "--config.seed: has no value; write --config"),
    "no weight": (
        ["--config", "configs/quick.py", "--config.train.losses.entropy=much"],
        "--config.train.losses.entropy=much: must be a number, or pairs of a step and a weight",
    ),
    "a weight below 0": (["--config", "configs/quick.py", "--config.train.losses.mse=-1"], "losses.mse=-1.0: must lie"),
    "a section": (["--config", "configs/quick.py", "--config.train=5"], "--config.train=5: has fields; set one by one"),
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


def test_a_loss_weighs_a_number_or_follows_the_step_whatever_it_did_before():
    config = config_of("quick")
    override(config, ["--config.train.losses.entropy=0", "--config.train.losses.mse=((0,0.5),(10,1.0))"])
    validate(config)
    assert (config.train.losses.entropy, config.train.losses.mse) == (0.0, ((0, 0.5), (10, 1.0)))


def test_a_part_of_another_name_keeps_of_the_former_what_suits_it():
    config = config_of("quick")
    override(config, ["--config.model.decoder.name=transformer", "--config.model.decoder.patch=2"])
    validate(config)
    decoder = config.model.decoder
    assert (decoder.hidden, decoder.patch, "frequencies" in decoder) == (3072, 2, False)  # hidden was (128, 128)


def test_options_of_scenes_are_set_whether_the_config_names_them_or_not():
    config = config_of("quick")
    override(config, ["--config.data.options.max_objects=3", "--config.data.options.background", "colored"])
    assert (config.data.options.max_objects, config.data.options.background) == (3, "colored")
    override(config, ["--config.data.name=clevr", "--config.data.options.crop=False"])
    assert config.data.options.crop is False
    with pytest.raises(UserError, match=r"data.options.objects='3': clevr scenes have no such option; they have crop"):
        override(config, ["--config.data.options.objects=3"])


NO_CONFIGS = {
    "a run's config.json": ('{"resume": true}', "line 1: NameError: name 'true' is not defined; a config is a Python"),
    "half a line": ("def get_config(:", "invalid syntax"),
    "nothing": ("", "has no get_config(variants); a config is a Python file"),
    "a mistake in it": ("def get_config(variants):\n    return {}['x']", "line 2: KeyError: 'x'; a config is"),
    "a package that is not there": ("import slotjaxx", "line 1: ModuleNotFoundError: No module named 'slotjaxx'; a"),
    "no return": ("def get_config(variants):\n    pass", "get_config returns None; a config is a Python file"),
}


@pytest.mark.parametrize("case", NO_CONFIGS)
def test_a_file_that_is_no_config_is_one_line(case, run, tmp_path):
    text, message = NO_CONFIGS[case]
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(training, "--config", tmp_path / "own.py", "--workdir", tmp_path / "run")
    assert str(error.value).startswith(f"--config {tmp_path / 'own.py'}: ") and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_config_that_lacks_a_part_of_its_model_is_one_line(run, tmp_path):
    model = {"name": "object_discovery", "resolution": (32, 32), "num_slots": 3, "slot_dim": 8, "mlp_dim": 8}
    text = f"""
from slotjax.config.variants import experiment

def get_config(variants):
    return experiment({model}, data={{"name": "sprites"}})
"""
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserError, match=r"model\.encoder: is missing; see the files in configs/"):
        run(training, "--config", tmp_path / "own.py", "--config.seed=1", "--workdir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_killed_and_started_again_equals_one_go(tiny_run, tmp_path):
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
    assert figures(folder) == figures(tiny_run)
