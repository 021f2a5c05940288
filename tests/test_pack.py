"""A trained model as one file: what is in it, and what cannot be."""

import json
import sys
from functools import partial

import jax
import numpy as np
import pytest
from helpers import config_of, untrained

import slotjax
from slotjax import pack, weights
from slotjax.errors import UserError
from slotjax.reporting import evaluation


@pytest.fixture
def workdir(tmp_path):
    return untrained(config_of("quick:tiny"), tmp_path)


@pytest.fixture
def packed(workdir, monkeypatch):
    """Packs the run with some flags: the file."""

    def run(*flags):
        output = workdir / "packed" / f"model{len(flags)}.safetensors"
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
    sizes = [sum(array.nbytes for array in weights.read(path)[1].values()) for path in paths]
    assert sizes[0] == 2 * sizes[1]


def test_the_figures_are_the_runs_own(workdir, packed):
    subject = evaluation.open_subject(workdir, None)
    own = evaluation.changed(subject, {}).described() | {"step": 0, "fg_ari": 0.5}
    path = workdir / "evaluation.json"
    path.write_text(json.dumps(own))
    assert weights.read(packed())[0]["evaluation"] == json.loads(path.read_text())
    others = {
        "num_slots": own | {"num_slots": 8},
        "method": {name: value for name, value in own.items() if name != "method"},  # an older one: it does not say
        "step": own | {"step": 7},
        "data.name": own | {"data": own["data"] | {"name": "clevr"}},
        "data.eval_images": own | {"data": own["data"] | {"eval_images": 32}},
    }
    for name, figures in others.items():
        path.write_text(json.dumps(figures))
        with pytest.raises(UserError, match=rf"evaluation.json: .* \({name} differs\); write it anew"):
            packed("--half")
        assert not list(workdir.glob("packed/model1*"))
