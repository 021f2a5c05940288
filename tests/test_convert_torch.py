"""The PyPI module's weights give its outputs, and go back to it as they came."""

import jax
import numpy as np
import pytest

import slotjax
from slotjax import convert
from slotjax.errors import UserError


@pytest.fixture(scope="module")
def recorded(data_dir) -> dict[str, np.ndarray]:
    """What tests/data/torch/write.py recorded of slot-attention 1.5.2."""
    with np.load(data_dir / "torch" / "slot_attention.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def state(recorded) -> dict[str, np.ndarray]:
    return {name.removeprefix("state/"): array for name, array in recorded.items() if name.startswith("state/")}


def test_the_outputs_are_the_modules(recorded, state):
    params = convert.from_torch(state)
    slots, _ = slotjax.slot_attention(params, recorded["inputs"], recorded["start"], 3)
    np.testing.assert_allclose(slots, recorded["slots"], rtol=0, atol=1e-5)
    module = slotjax.SlotAttention(num_slots=3, slot_dim=8, num_iterations=3, mlp_dim=12, foreign=True)
    of_module, _ = module.apply({"params": params}, recorded["inputs"], recorded["start"])
    np.testing.assert_array_equal(of_module, slots)


def test_what_makes_the_difference(recorded, state):
    """Without a bias or the epsilon the outputs are others. That of queries is the same for all slots, who compete."""
    params = convert.from_torch(state)
    biases = params["project_biases"]
    without = {name: {"project_biases": biases | {name: 0 * biases[name]}} for name in "qkv"}
    for what, change in (without | {"epsilon": {"norm_epsilon": 1e-3}}).items():
        slots, _ = slotjax.slot_attention(params | change, recorded["inputs"], recorded["start"], 3)
        assert (np.abs(slots - recorded["slots"]).max() > 1e-4) == (what != "q"), what


def test_foreign_parameters_are_the_modules_own(recorded, state):
    """A module that is initialised as foreign has the same tree, draws from it, and its epsilon is not trained."""
    module = slotjax.SlotAttention(num_slots=3, slot_dim=8, mlp_dim=12, foreign=True)
    keys = {"params": jax.random.key(0), "slots": jax.random.key(1)}
    own = module.init(keys, recorded["inputs"])["params"]
    params = convert.from_torch(state)
    assert jax.tree.map(np.shape, own) == jax.tree.map(np.shape, params)
    drawn, _ = module.apply({"params": params}, recorded["inputs"], key=jax.random.key(2))
    assert drawn.shape == (2, 3, 8)
    loss = lambda params: (slotjax.slot_attention(params, recorded["inputs"], recorded["start"])[0] ** 2).sum()  # noqa: E731
    gradients = jax.grad(loss)(params)
    assert gradients["norm_epsilon"] == 0 and all((gradients["project_biases"][name] != 0).any() for name in "qkv")


def test_there_and_back(state):
    back = convert.to_torch(convert.from_torch({f"a.{name}": x for name, x in state.items()}, "a."), "b.")
    assert back.keys() == {f"b.{name}" for name in state}
    for name, array in state.items():
        np.testing.assert_array_equal(back[f"b.{name}"], array)


def test_our_own_go_there_with_biases_of_zero():
    module = slotjax.SlotAttention(num_slots=3, slot_dim=8, mlp_dim=16)
    inputs = np.random.default_rng(0).normal(size=(2, 10, 8)).astype(np.float32)
    params = module.init({"params": jax.random.key(0), "slots": jax.random.key(1)}, inputs)["params"]
    again = convert.from_torch(convert.to_torch(params)) | {"norm_epsilon": 1e-3}
    start = np.random.default_rng(1).normal(size=(2, 3, 8)).astype(np.float32)
    ours, theirs = (slotjax.slot_attention(tree, inputs, start)[0] for tree in (params, again))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_other_weights_are_one_line(state):
    wrong = {
        "'to_q.bias' is missing": {name: x for name, x in state.items() if name != "to_q.bias"},
        "'to_w' is not the module's": state | {"to_w": np.zeros(3)},
        r"'to_k.weight' of shape \(8, 9\): expected \(8, 8\)": state | {"to_k.weight": np.zeros((8, 9))},
        "'gru.bias_hh' is missing": {},
    }
    for message, arrays in wrong.items():
        with pytest.raises(UserError, match=message):
            convert.from_torch(arrays)
    params = convert.from_torch(state)
    with pytest.raises(UserError, match="one Gaussian"):
        convert.to_torch(params | {"initializer": {"mu": np.zeros((1, 3, 8))}})
