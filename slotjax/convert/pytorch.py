"""Weights of PyTorch's `slot_attention.SlotAttention` (the package slot-attention, 1.5.2), and weights for it.

It computes what slotjax does, but for this:

- its projections of queries, keys and values have biases, which the paper's have not (that of the queries changes
  nothing: it adds the same to all slots, who compete);
- its LayerNorms add 1e-5 to the variance, the original's 1e-3;
- inputs and slots are of one size, and the MLP is never narrower than they are;
- the gates of its GRU come in another order, and each has two biases that only add up.

PyTorch itself is not needed.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError, shown
from slotjax.nn.refinement import TORCH_EPSILON

_NORMS = {"norm_inputs": "norm_input", "norm_slots": "norm_slots", "norm_mlp": "norm_pre_ff"}
_DENSE = {"0": "mlp.0", "1": "mlp.2"}


def from_torch(state: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parameters of `slotjax.slot_attention`, and of `SlotAttention(foreign=True)`, from the module's `state_dict()`.

    From the same initial slots the outputs are equal, to float32's rounding.

    Args:
      state: {name: array or tensor on the CPU}.
      prefix: of the module's names in the state of a larger model, "slot_attention." say; others are left alone.

    Returns:
      The tree, float32, with the module's biases as `project_biases` and its epsilon as `norm_epsilon`.

    Raises:
      UserError: an array is missing, left over or of another shape.
    """
    arrays = {
        name.removeprefix(prefix): np.asarray(array, np.float32)
        for name, array in state.items()
        if name.startswith(prefix)
    }
    _check(arrays, prefix)

    def gates(name: str) -> np.ndarray:
        reset, update, candidate = np.split(arrays[f"gru.{name}"], 3)
        return np.concatenate([update, reset, candidate]).T

    tree = {
        "initializer": {"mu": arrays["slots_mu"], "log_sigma": arrays["slots_logsigma"]},
        **{f"project_{name}": arrays[f"to_{name}.weight"].T for name in "qkv"},
        "project_biases": {name: arrays[f"to_{name}.bias"] for name in "qkv"},
        "norm_epsilon": np.float32(TORCH_EPSILON),
        **{ours: {"scale": arrays[f"{its}.weight"], "bias": arrays[f"{its}.bias"]} for ours, its in _NORMS.items()},
        "gru": {
            "input_kernel": gates("weight_ih"),
            "input_bias": gates("bias_ih"),
            "recurrent_kernel": gates("weight_hh"),
            "recurrent_bias": gates("bias_hh"),
        },
        "mlp": {
            **{f"kernel{i}": arrays[f"{its}.weight"].T for i, its in _DENSE.items()},
            **{f"bias{i}": arrays[f"{its}.bias"] for i, its in _DENSE.items()},
        },
    }
    return jax.tree.map(jnp.asarray, tree)


def to_torch(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """The state of the module with these parameters: `load_state_dict({k: torch.tensor(v) for k, v in state.items()})`.

    Where they are of slotjax's own module the biases of the projections are zeros; what no state holds is the epsilon
    of the LayerNorms: set `eps` of the module's `norm_input`, `norm_slots` and `norm_pre_ff` to `norm_epsilon`, or to
    1e-3 where there is none.

    Args:
      params: the tree of a `SlotAttention` with the Gaussian initializer, or that of `from_torch`.
      prefix: for the names.

    Raises:
      UserError: parameters that the module cannot have.
    """
    start = params.get("initializer", {})
    if sorted(start) != ["log_sigma", "mu"] or start["mu"].shape[1] != 1:
        raise UserError("params: the module draws slots from one Gaussian; give those of the gaussian initializer")
    dim = params["project_q"].shape[0]
    biases = params.get("project_biases") or {name: np.zeros(dim, np.float32) for name in "qkv"}

    def gates(name: str) -> np.ndarray:
        update, reset, candidate = np.split(np.asarray(params["gru"][name]).T, 3)
        return np.concatenate([reset, update, candidate])

    state = {
        "slots_mu": start["mu"],
        "slots_logsigma": start["log_sigma"],
        **{f"to_{name}.weight": np.asarray(params[f"project_{name}"]).T for name in "qkv"},
        **{f"to_{name}.bias": biases[name] for name in "qkv"},
        "gru.weight_ih": gates("input_kernel"),
        "gru.bias_ih": gates("input_bias"),
        "gru.weight_hh": gates("recurrent_kernel"),
        "gru.bias_hh": gates("recurrent_bias"),
        **{f"{its}.weight": params[ours]["scale"] for ours, its in _NORMS.items()},
        **{f"{its}.bias": params[ours]["bias"] for ours, its in _NORMS.items()},
        **{f"{its}.weight": np.asarray(params["mlp"][f"kernel{i}"]).T for i, its in _DENSE.items()},
        **{f"{its}.bias": params["mlp"][f"bias{i}"] for i, its in _DENSE.items()},
    }
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in state.items()}
    _check(arrays, "")
    return {prefix + name: array for name, array in arrays.items()}


def _shapes(dim: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The module's state, for slots of `dim` numbers and an MLP of `hidden`."""
    return {
        "slots_mu": (1, 1, dim),
        "slots_logsigma": (1, 1, dim),
        **{f"to_{name}.weight": (dim, dim) for name in "qkv"},
        **{f"to_{name}.bias": (dim,) for name in "qkv"},
        **{f"gru.weight_{side}": (3 * dim, dim) for side in ("ih", "hh")},
        **{f"gru.bias_{side}": (3 * dim,) for side in ("ih", "hh")},
        **{f"{name}.{part}": (dim,) for name in _NORMS.values() for part in ("weight", "bias")},
        "mlp.0.weight": (hidden, dim),
        "mlp.0.bias": (hidden,),
        "mlp.2.weight": (dim, hidden),
        "mlp.2.bias": (dim,),
    }


def _check(arrays: Mapping[str, np.ndarray], prefix: str) -> None:
    """Raises a `UserError` where these are not the arrays of a module of some size."""
    dim, hidden = (arrays[name].shape[0] if name in arrays else 0 for name in ("to_q.weight", "mlp.0.weight"))
    needed = _shapes(dim, hidden)
    different = [name for name in sorted({*needed, *arrays}) if name not in needed or name not in arrays]
    if different:
        what = "is missing" if different[0] in needed else "is not the module's"
        raise UserError(
            f"state: {shown(prefix + different[0])} {what}; give the state_dict() of slot_attention.SlotAttention, or "
            "the prefix of its names in it"
        )
    for name, shape in needed.items():
        if arrays[name].shape != shape:
            raise UserError(f"state: {shown(prefix + name)} of shape {arrays[name].shape}: expected {shape}")
