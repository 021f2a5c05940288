"""The command `slotjax`, the experiments it finds, and what it says when something is not there."""

import importlib.util
import os
import re
import subprocess
import sys
import time

import pytest
from helpers import ROOT, config_file

from slotjax import cli
from slotjax.cli import command
from slotjax.config import experiments
from slotjax.errors import UserError
from slotjax.system import packaged
from slotjax.system.console import command as following
from slotjax.system.extras import extra
from slotjax.system.version import VERSION

START = "import sys; sys.argv[0] = '/bin/slotjax'; from slotjax.cli.command import main; main()"


def console(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """`slotjax WORDS`, as its entry point runs it."""
    arguments = [sys.executable, "-c", START, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)


def test_help_and_version_come_at_once_and_name_every_command():
    started = time.monotonic()
    said = console("--help")
    assert time.monotonic() - started < 5  # a fraction of a second, on a machine with nothing else to do
    assert said.returncode == 0
    for name, (_, line) in command.COMMANDS.items():
        assert f"\n  {name:<10}{line}" in said.stdout
    assert console("--version").stdout == f"{VERSION}\n"


def test_every_command_is_a_module():
    for module, _ in command.COMMANDS.values():
        assert importlib.util.find_spec(f"slotjax.{module}"), module


def test_nothing_heavy_is_imported_for_help(monkeypatch, capsys):
    heavy = "print(sorted({'jax', 'numpy', 'rich', 'argcomplete', 'absl'} & set(sys.modules)))"
    code = f"import atexit; atexit.register(lambda: {heavy}); {START}"
    for words in (["--help"], ["configs"], ["evaluate", "--help"]):
        result = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
        assert result.stdout.endswith("[]\n") and not result.stderr, result


def test_a_wrong_command_is_one_line():
    said = console("trian")
    assert said.returncode == 2 and "invalid choice: 'trian'" in said.stderr and said.stderr.count("\n") == 1
    assert "; did you mean train? slotjax --help lists the flags" in said.stderr
    assert console().stdout == console("--help").stdout


def test_commands_speak_of_themselves_as_they_were_called(monkeypatch, capsys):
    for called, usage in (("slotjax segment", "slotjax segment"), ("/a/segment.py", "python -m slotjax.segment")):
        monkeypatch.setattr(sys, "argv", [called, "--help"])
        with pytest.raises(SystemExit):
            cli.Parser("segment", "").parse_args()
        assert capsys.readouterr().out.startswith(f"usage: {usage} [-h]")
        assert following("segment --workdir {it}", it="a b") == f"{usage} --workdir 'a b'"
    assert console("evaluate", "--quack").stderr.endswith("no such flag; slotjax evaluate --help lists the flags\n")


MISTYPED = {
    "train --config quik": "did you mean quick?",
    "train --config quick:tinny": "did you mean tiny?",
    "help": "did you mean --help?",
    "train quick": "--config is missing; did you mean --config quick?",
    "report runs/quick": "did you mean --workdir runs/quick?",
    "train --config quick --wokdir x": "did you mean --workdir?",
    "segment --weights clever6 a.png": "did you mean clevr6?",
    "segment --weights clevr6 a.png": "a.png: no such file",
    "evaluate --workdir none": "is none the --workdir of a training run?",
    "report --workdir none": "is none the --workdir of a training run?",
    "pack --workdir none --output a.safetensors": "is none the --workdir of a training run?",
    "export --weights quik --to quick.onnx": "did you mean quick?",
    "demo --weights quik": "did you mean quick?",
    "card quik": "did you mean quick?",
}


@pytest.mark.parametrize("line", MISTYPED)
def test_what_was_mistyped_is_told_before_jax_is_imported(line, tmp_path):
    """In a fraction of a second; with the name that was meant, where one is near."""
    code = f"import atexit; atexit.register(lambda: print('jax' in sys.modules)); {START}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", code, *line.split()]
    said = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 2 and MISTYPED[line] in said.stderr and said.stderr.count("\n") == 1
    assert said.stdout == "False\n" and not list(tmp_path.iterdir())


COMPLETED = {
    "slotjax re": "report",
    "slotjax evaluate --work": "--workdir",
    "slotjax train --config tetr": "tetrominoes",
    "slotjax segment --weights qu": "quick",
}


@pytest.mark.parametrize("line", COMPLETED)
def test_a_shell_completes(line, tmp_path):
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    said = tmp_path / "said"
    result = console(**asked, _ARGCOMPLETE_STDOUT_FILENAME=str(said))
    assert said.read_text().split() == [COMPLETED[line]], result.stderr


# Experiments.


def test_experiments_are_found_by_name_and_by_path(tmp_path, monkeypatch):
    quick = ROOT / "configs" / "quick.py"
    monkeypatch.chdir(tmp_path)
    assert experiments.find("quick") == experiments.find("configs/quick.py") == experiments.find(str(quick)) == quick
    for name in ("quack", "elsewhere/quick.py", "quick.json", "configs", ""):
        with pytest.raises(UserError, match="none of those that come with slotjax: clevr, "):
            experiments.find(name)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quick.py").touch()  # one's own goes first
    assert experiments.find("configs/quick.py").samefile(tmp_path / "configs" / "quick.py")
    monkeypatch.setattr(packaged, "_EXPERIMENTS", (tmp_path / "configs", ROOT / "configs"))  # as in a wheel
    assert list(packaged.experiments()) == ["quick"]


@pytest.mark.parametrize("name", packaged.experiments())
def test_the_docstring_of_an_experiment_lists_its_variants(name, monkeypatch):
    """They are what `slotjax configs` shows: a line each, "    NAME  what it does", below the first line."""
    taken = {}
    file = config_file(name)
    monkeypatch.setattr(file, "apply_variants", lambda config, chosen, known: taken.update(known))
    file.get_config(None)
    summary, lines = experiments.described(ROOT / "configs" / f"{name}.py")
    assert lines.keys() == taken.keys() and summary
    listing = experiments.listing()
    assert f"{name}: {summary.rstrip('.')}" in listing and all(line in listing for line in lines.values())


def test_the_list_says_what_was_measured(monkeypatch):
    """Of recipes that there are, and of combinations of variants too."""
    for name in packaged.costs():
        file, _, chosen = name.partition(":")
        known = experiments.described(packaged.experiments()[file])[1]
        assert set(filter(None, chosen.split(","))) <= known.keys()
    measured = {"quick": {"minutes": 4.4, "gib": 0.9}, "clevr:clevr10,small": {"minutes": 61.0, "gib": 2.0}}
    monkeypatch.setattr(packaged, "costs", lambda: measured)
    lines = experiments.listing().splitlines()
    (quick,) = (line for line in lines if line.startswith("quick: "))
    assert quick.endswith("; takes about 4 min and 0.9 GiB on two CPU cores")
    (both,) = (line for line in lines if line.startswith("    :clevr10,small "))
    assert both.endswith("; takes about 61 min and 2.0 GiB on two CPU cores")
    assert len([line for line in lines if "takes about" in line]) == 2


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = 'tensorflow_datasets is not installed; pip install "slotjax[data]" brings it'
    with pytest.raises(UserError, match=re.escape(message)), extra("data"):
        import tensorflow_datasets  # noqa: F401
    with pytest.raises(ModuleNotFoundError), extra("data"):  # a mistake of slotjax' own
        import slotjax.quack  # noqa: F401
