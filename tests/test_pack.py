"""A trained model as one file: what is in it, and what cannot be."""

import sys
from functools import partial

import jax
import numpy as np
import pytest

import slotjax
from configs.quick import get_config
from slotjax import weights as loading
from slotjax.config import disk, pack
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.restore import initial_state


@pytest.fixture
def workdir(tmp_path):
    config = get_config("tiny")
    disk.save(config, tmp_path / "config.json")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, initial_state(config, build_model(config.model)))
    checkpoints.close()
    return tmp_path


@pytest.fixture
def packed(workdir, monkeypatch):
    """Packs the run with some flags: the file."""

    def run(*flags):
        output = workdir / "packed" / f"model{len(flags)}.npz"
        monkeypatch.setattr(sys, "argv", ["pack", "--workdir", str(workdir), "--output", str(output), *flags])
        pack.main()
        return output

    return run


def test_one_file_that_load_takes(workdir, packed, capsys):
    path = packed()
    assert f'slotjax.load("{path}")' in capsys.readouterr().out
    packed_model, of_file = slotjax.load(path)
    model, params = slotjax.load(workdir)
    assert packed_model == model
    jax.tree.map(np.testing.assert_array_equal, of_file, params)


def test_half_the_bytes(packed):
    paths = packed(), packed("--half")
    whole, half = (slotjax.load(path)[1] for path in paths)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2**-11, atol=1e-7), half, whole)
    assert {x.dtype for x in jax.tree.leaves(half)} == {np.dtype(np.float32)}
    sizes = [sum(array.nbytes for array in loading.load_entries(path)[1].values()) for path in paths]
    assert sizes[0] == 2 * sizes[1]


@pytest.mark.parametrize("value", [1e5, -np.inf, np.nan])
def test_numbers_that_half_the_bytes_cannot_hold_are_refused(value):
    with pytest.raises(UserError, match="--half: the model has parameters beyond 65,504, or NaN; pack it without"):
        pack.halved({"a": np.zeros(0), "b": np.array([1, value], np.float32)})
