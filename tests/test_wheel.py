"""The distribution as users get it: built, checked, and its wheel run in a folder where nothing else of slotjax is."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = pytest.mark.slow


def run(*arguments, cwd: Path) -> str:
    result = subprocess.run([*map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """Where the commands are of an environment that holds the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv" / "bin" / "pip", "install", "-q", built[1], cwd=folder)
    return folder / "venv" / "bin"


def test_both_are_clean_and_say_what_they_are(built):
    checked = run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=ROOT)
    assert checked.count("PASSED") == 2 and "warning" not in checked.lower()
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        said = Parser().parsestr(wheel.read(metadata).decode())
    assert {"slotjax/py.typed", "slotjax/pretrained/quick.safetensors", "slotjax/reporting/templates/run.html"} <= names
    assert {f"slotjax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")} <= names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "benchmarks/"))]
    assert {line.partition(",")[0] for line in said.get_all("Project-URL")} >= {"Source", "Issues", "Changelog"}
    links = re.findall(r"\]\((.*?)\)", said.get_payload())
    assert len(links) > 10 and all(link.startswith("https://") for link in links)
    with tarfile.open(built[0]) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"train.py", "configs/quick.py", "tests/test_wheel.py", "README.md", "LICENSE"} <= inside


def test_the_extras_can_all_be_asked_for(built, installed, tmp_path):
    """Without pip's warning of one that there is not; `report` brings nothing that is not there."""
    asked = f"slotjax[data,report,video,demo] @ {built[1].as_uri()}"
    result = subprocess.run(
        [installed / "pip", "install", "--dry-run", asked], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0 and "does not provide the extra" not in result.stdout + result.stderr
    assert not re.search(r"Would install .*\b(matplotlib|jinja2|tensorboardx)\b", result.stdout, re.I)
    assert re.search(r"Would install .*\bgradio\b", result.stdout)


def test_the_commands_in_an_empty_folder(installed, tmp_path):
    slotjax = installed / "slotjax"
    assert run(slotjax, "--version", cwd=tmp_path) == run(
        installed / "python", "-c", "import slotjax; print(slotjax.__version__)", cwd=tmp_path
    )
    assert "quick: Objects in minutes" in run(slotjax, "configs", cwd=tmp_path)
    for config in ("quick:tiny", "configs/tetrominoes.py:tiny"):
        said = run(slotjax, "train", "--config", config, cwd=tmp_path)
        assert "next: slotjax evaluate --workdir runs/" in said
    assert (tmp_path / "runs" / "quick_tiny" / "report.html").exists()
    assert "FG-ARI" in run(slotjax, "evaluate", "--workdir", "runs/quick_tiny", cwd=tmp_path)
    run(slotjax, "report", "--workdir", "runs/quick_tiny", "runs/tetrominoes_tiny", cwd=tmp_path)
    assert (tmp_path / "runs" / "comparison.html").exists()
    assert "clevr6" in run(slotjax, "segment", "--list", cwd=tmp_path)
    run(slotjax, "pack", "--workdir", "runs/quick_tiny", "--output", "own.safetensors", cwd=tmp_path)
    picture = "from PIL import Image; Image.new('RGB', (40, 30), 'red').save('red.png')"
    run(installed / "python", "-c", picture, cwd=tmp_path)
    run(slotjax, "segment", "--weights", "own.safetensors", "red.png", cwd=tmp_path)
    assert (tmp_path / "segments" / "red_segments.png").exists()


LEFT_OUT = {
    "data": ("python", "-m", "slotjax.data.prepare_clevr", "CLEVR_v1.0.zip"),
    "demo": ("slotjax", "demo", "--weights", "quick"),
    "export": ("slotjax", "export", "--weights", "quick", "--to", "quick.onnx"),
}


@pytest.mark.parametrize("extra", LEFT_OUT)
def test_what_the_core_leaves_out_is_named(extra, installed, tmp_path):
    (tmp_path / "CLEVR_v1.0.zip").touch()
    program, *arguments = LEFT_OUT[extra]
    result = subprocess.run([str(installed / program), *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert f'pip install "slotjax[{extra}]"' in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["CLEVR_v1.0.zip"]
