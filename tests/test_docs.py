"""The site: every public name is in its reference, and it builds without a warning."""

import re
import subprocess
import sys
import tomllib
from functools import partial

import jax
import pytest
from helpers import ROOT

import slotjax
from slotjax.cli.command import COMMANDS
from slotjax.losses import LOSSES, weigh
from slotjax.nn.decoders import DECODERS
from slotjax.nn.encoders import ENCODERS

API = (ROOT / "docs" / "api.md").read_text()
NAMED = set(re.findall(r"^::: (?:\w+\.)*(\w+)$", API, re.M)) | {
    name for members in re.findall(r"members: \[(.*)\]", API) for name in members.split(", ")
}

FIELDS = {"resolution": (32, 32), "num_slots": 5, "slot_dim": 64, "decoder": {"name": "mlp", "patch": 4}}


def test_every_public_name_is_in_the_reference():
    """What is missing belongs into docs/api.md."""
    whole = {"data", "metrics", "convert", "scenes", "STATIC", "__version__"}  # modules by their members; and constants
    rooms = (slotjax.__all__, slotjax.convert.__all__, slotjax.metrics.__all__)
    rooms = (*rooms, slotjax.data.__all__, slotjax.data.scenes.SCENES)
    assert {name for room in rooms for name in room} - whole - NAMED == set()
    assert "slotjax.STATIC" in API


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}


def test_every_command_and_extra_is_on_its_page():
    """What is missing belongs into docs/howto/command.md."""
    page = (ROOT / "docs" / "howto" / "command.md").read_text()
    assert set(re.findall(r"^\| `slotjax (\w+)", page, re.M)) == COMMANDS.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == project["optional-dependencies"].keys()


def test_the_parts_of_the_page_become_a_model():
    """All blocks of docs/howto/own_encoder.md, one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "howto" / "own_encoder.md").read_text(), re.DOTALL)
    values: dict = {}
    try:
        for block in blocks:
            exec(block, values)
        model, wrong = values["model"], {"name": "patches", "patch": 0}
        images = jax.numpy.zeros((2, 32, 32, 3))
        out = jax.eval_shape(partial(slotjax.apply, model), values["params"], images, jax.random.key(0))
        assert (out.attention.shape, out.reconstruction.shape) == ((2, 5, 16), (2, 32, 32, 3))
        out = slotjax.Output(reconstruction=images, target=images + 0.5)
        assert weigh({"l1": 2.0}, out, {}, jax.numpy.int32(0))["loss"] == 1.0
        with pytest.raises(slotjax.errors.UserError, match="model.encoder.patch=0: must be at least 1"):
            slotjax.build_model(FIELDS | {"encoder": wrong})
    finally:
        for names, name in ((ENCODERS, "patches"), (DECODERS, "linear"), (LOSSES, "l1")):
            names.pop(name, None)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path, monkeypatch):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and "WARNING" not in result.stderr, result.stdout + result.stderr
    reference = (tmp_path / "site" / "api" / "index.html").read_text()
    headings = set(re.findall(r'<h3 id="[\w.]*\.(\w+)"', reference))
    assert NAMED - {"segmentation", "video", "api", "scenes", "__call__"} <= headings
    front = (tmp_path / "site" / "index.html").read_text()
    assert "Object-centric learning in JAX and Flax" in front
    assert "https://fonts" not in front  # nothing is fetched from elsewhere
