"""The site: every public name is in its reference, and it builds without a warning."""

import re
import subprocess
import sys

import pytest
from helpers import ROOT

import slotjax

API = (ROOT / "docs" / "api.md").read_text()
NAMED = set(re.findall(r"^::: (?:\w+\.)*(\w+)$", API, re.M)) | {
    name for members in re.findall(r"members: \[(.*)\]", API) for name in members.split(", ")
}


def test_every_public_name_is_in_the_reference():
    whole = {"data", "metrics", "convert", "STATIC", "__version__"}  # modules by their members; and a constant
    assert set(slotjax.__all__) - whole <= NAMED
    assert set(slotjax.convert.__all__) <= NAMED and set(slotjax.data.scenes.SCENES) <= NAMED
    assert set(slotjax.metrics.__all__) <= NAMED and "slotjax.STATIC" in API


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}


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
