"""The examples run from top to bottom and do what they say; the notebooks are made of them."""

import re
import runpy
import tomllib

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if "jupytext" in path.read_text()]


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_a_notebook_is_its_script(script):
    """`jupytext --to ipynb examples/NAME.py` writes them; they hold no outputs."""
    jupytext = pytest.importorskip("jupytext")
    wanted, notebook = jupytext.read(script), jupytext.read(script.with_suffix(".ipynb"))
    cells = [[(cell.cell_type, cell.source) for cell in book.cells] for book in (wanted, notebook)]
    assert cells[0] == cells[1], "write it again: jupytext --to ipynb examples/NAME.py"
    pytest.importorskip("nbformat").validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source.startswith("%pip install -q slotjax")
    assert not any(cell.outputs for cell in code)


def test_every_notebook_opens_in_colab_from_the_page():
    """https://colab.research.google.com/github/OWNER/NAME/blob/BRANCH/PATH, of the project's own repository."""
    source = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
    begin = source.replace("https://github.com/", "https://colab.research.google.com/github/") + "/blob/main/"
    links = re.findall(r"\]\((https://colab[^)]*)\)", (ROOT / "docs" / "notebooks.md").read_text())
    assert sorted(links) == [f"{begin}examples/{script.stem}.ipynb" for script in EXAMPLES]


@pytest.mark.slow
def test_a_notebook_runs(tmp_path, monkeypatch):
    """In Jupyter's own kernel; the first cell would install slotjax from elsewhere, and is left out."""
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    monkeypatch.setenv("SLOTJAX_FIGURES", str(tmp_path))
    monkeypatch.setenv("SLOTJAX_STEPS", "20")
    notebook = jupytext.read(ROOT / "examples" / "own_pictures.ipynb")
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("%pip")]
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.width == 400
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "redrawn with a mean squared error of" in printed and "drew" in printed
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_slots_learn_in_five_ways():
    pytest.importorskip("equinox")
    pytest.importorskip("haiku")
    values = runpy.run_path(str(ROOT / "examples" / "own_module.py"))
    found = values["found"]
    assert found.keys() == {"linen", "pure", "nnx", "equinox", "haiku"}
    for way, losses in found.items():
        assert np.mean(losses[-10:]) < 0.7 * losses[0], way
    np.testing.assert_allclose(found["pure"], found["equinox"], rtol=1e-3)  # the same function of the same parameters
