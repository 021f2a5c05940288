"""The corrector of SAVi (Kipf et al., 2022, sec. 2.2): Slot Attention as that paper's program computes it.

It differs from `slotjax.nn.attention` in what neither paper says: the LayerNorms' epsilon, where the epsilon of the
weighted mean is added, a GRU with one bias a gate, Flax's initial kernels; queries, keys and values may be wider than
the slots, and there may be no MLP behind the GRU.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.competition import Competition
from slotjax.nn.fields import Count, Range, check
from slotjax.nn.refinement import FLAX_EPSILON, Params, layer_norm, mlp_params, norm_params, refine
from slotjax.nn.updates import EPSILON

LECUN, ORTHOGONAL = nn.initializers.lecun_normal(), nn.initializers.orthogonal()


def correct(params: Params, inputs: jax.Array, slots: jax.Array, num_iterations: int) -> tuple[jax.Array, jax.Array]:
    """Refines slots by attending to inputs, `num_iterations` times with the same weights.

    Args:
      params: the tree of `Corrector` (its `initializer` is not needed).
      inputs: [b, n, d_inputs], before their LayerNorm.
      slots: [b, k, d].

    Returns:
      float32 slots [b, k, d] and attention [b, k, n] of the last iteration: the softmax over slots.
    """
    features = layer_norm(params["norm_inputs"], inputs, FLAX_EPSILON)
    slots, attention = slots.astype(jnp.float32), jnp.zeros((*slots.shape[:2], inputs.shape[1]), jnp.float32)
    for _ in range(num_iterations):
        query = layer_norm(params["norm_slots"], slots, FLAX_EPSILON) @ params["project_q"]
        # Projections act on the few slots instead of the many inputs: see `slotjax.nn.attention.attend`.
        query = (query * query.shape[-1] ** -0.5 @ params["project_k"].T).astype(features.dtype)
        logits = jnp.einsum("bkd,bnd->bkn", query, features, preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(logits, axis=1)
        weights = (attention / (attention.sum(-1, keepdims=True) + EPSILON)).astype(features.dtype)
        gathered = jnp.einsum("bkn,bnd->bkd", weights, features, preferred_element_type=jnp.float32)
        slots = refine(params, gathered @ params["project_v"], slots, FLAX_EPSILON)
    return slots, attention


class Corrector(Competition):
    """`correct` with its parameters and a draw of the initial slots; see `Competition` for its sizes.

    Attributes:
      mlp_dim: 0: no MLP behind the GRU, as in the paper's models.
      qkv_dim: width of queries, keys and values; 0: that of the slots.
    """

    num_iterations: Count = 1
    mlp_dim: Annotated[int, Range(0, 2**14)] = 0
    qkv_dim: Annotated[int, Range(0, 2**14)] = 0

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        slots: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        num_slots: int | None = None,
        num_iterations: int | None = None,
        return_history: bool = False,
    ):
        """inputs [b, n, d_inputs] -> slots [b, k, d], attention [b, k, n]; as `SlotAttention`, but for the history."""
        if return_history:
            raise UserError("return_history=True: attention=corrector keeps none; take attention=slots")
        num_iterations = self.num_iterations if num_iterations is None else num_iterations
        check("num_iterations", Count, num_iterations)
        slots = self.start(inputs, slots, key, num_slots)
        return correct(self._params(inputs.shape[-1]), inputs, slots, num_iterations)

    def _params(self, input_dim: int) -> dict[str, Any]:
        dim, width = self.slot_dim, self.qkv_dim or self.slot_dim
        params = {
            "norm_inputs": self.param("norm_inputs", norm_params, input_dim),
            "norm_slots": self.param("norm_slots", norm_params, dim),
            "project_q": self.param("project_q", LECUN, (dim, width), jnp.float32),
            "project_k": self.param("project_k", LECUN, (input_dim, width), jnp.float32),
            "project_v": self.param("project_v", LECUN, (input_dim, width), jnp.float32),
            "gru": self.param("gru", gru_params, width, dim),
        }
        if self.mlp_dim:
            params["norm_mlp"] = self.param("norm_mlp", norm_params, dim)
            params["mlp"] = self.param("mlp", mlp_params, dim, self.mlp_dim, LECUN)
        return params


def gru_params(key: jax.Array, input_dim: int, dim: int) -> dict[str, jax.Array]:
    """The parameters of `gru`, by Flax's defaults."""
    keys = jax.random.split(key, 4)
    recurrent = [ORTHOGONAL(key, (dim, dim), jnp.float32) for key in keys[1:]]
    return {
        "input_kernel": LECUN(keys[0], (input_dim, 3 * dim), jnp.float32),
        "input_bias": jnp.zeros(3 * dim, jnp.float32),
        "recurrent_kernel": jnp.concatenate(recurrent, axis=1),
        "recurrent_bias": jnp.zeros(dim, jnp.float32),
    }
