"""The tutorial runs from top to bottom, without a warning, and draws its figures."""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

TUTORIAL = Path(__file__).parent.parent / "examples" / "tutorial.py"
DOCUMENT = TUTORIAL.parent.parent / "docs" / "tutorial.md"


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOTJAX_FIGURES", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    values = runpy.run_path(str(TUTORIAL))
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == set(re.findall(r"\]\(figures/tutorial/(.*?)\)", DOCUMENT.read_text()))
    for name in drawn:
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300
    # What the text says: the slots find more than k-means on colours does, and a removed slot takes its object along.
    assert values["score"] > values["fg_ari"](values["scene"], values["found"]["k-means, colour"], values["NUM_SLOTS"])
    assert values["removed"].shape[0] == values["NUM_SLOTS"] - 1
