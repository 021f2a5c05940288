"""The tutorial runs from top to bottom, without a warning, of whatever packaged model, and draws its figures."""

import re
import runpy

import jax
import numpy as np
import pytest
from helpers import ROOT, weights_for_pictures
from PIL import Image
from sklearn.cluster import KMeans

import slotjax

DOCUMENT = (ROOT / "docs" / "tutorial.md").read_text()


def run(folder, monkeypatch) -> dict:
    monkeypatch.setenv("SLOTJAX_FIGURES", str(folder))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return runpy.run_path(str(ROOT / "examples" / "tutorial.py"))


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch):
    values = run(tmp_path, monkeypatch)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == set(re.findall(r"\]\(figures/tutorial/(.*?)\)", DOCUMENT))
    for name in drawn:
        assert (ROOT / "docs" / "figures" / "tutorial" / name).exists()
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300
    # What the text says: the slots find more than k-means on colours does, and a removed slot takes its object along.
    by_color = values["fg_ari"](values["scene"], values["found"]["k-means, colour"], values["NUM_SLOTS"])
    assert min(values["score"], values["posterior_score"]) > by_color
    assert values["removed"].shape[0] == values["NUM_SLOTS"] - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in weights_for_pictures() if name != "quick"])
def test_the_tutorial_runs_on_every_packaged_model(tmp_path, monkeypatch, name):
    load = slotjax.load
    monkeypatch.setattr(slotjax, "load", lambda _: load(name))
    assert run(tmp_path, monkeypatch)["likely"].shape[0] == load(name)[0].attention.num_slots


def test_where_kmeans_is_not_scikit_learns():
    """A cluster without points, of which the text says what becomes."""
    points = np.concatenate([np.random.default_rng(0).normal(size=(40, 2)), [[30.0, 0.0]]]).astype(np.float32)
    start = np.array([[0.0, 0.0], [0.1, 0.0], [500.0, 500.0]], np.float32)
    centers, labels = jax.device_get(slotjax.kmeans(points, 3, initial_centers=start))
    np.testing.assert_allclose(centers[2], start[2])
    assert 2 not in labels
    theirs = KMeans(3, init=start, n_init=1, tol=0).fit(points)
    assert sorted(np.unique(theirs.labels_)) == [0, 1, 2]
    assert theirs.inertia_ < ((points - centers[labels]) ** 2).sum()
