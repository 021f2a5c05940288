"""What modules of attention have in common: sizes, the start of their slots, and the parameters that all have."""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError, shown
from slotjax.nn.fields import Count, check
from slotjax.nn.frames import Frame
from slotjax.nn.initializers import GaussianSlots, Initializer, keys_of_examples
from slotjax.nn.refinement import GLOROT, gru_params, mlp_params, norm_params

TOKENS = "[b, n, d], tokens in one axis: reshape a map [b, h, w, d] to [b, h * w, d], one example's to inputs[None]"
UNROLLED = 4  # iterations at most that are no loop: over small operations a loop costs more than they do


class History(NamedTuple):
    """Every iteration of one attention call: slots [b, t, k, d] after it, attention [b, t, k, n] within it."""

    slots: jax.Array
    attention: jax.Array

    @classmethod
    def of(cls, scanned: tuple[jax.Array, jax.Array]) -> "History":
        """From what `jax.lax.scan` stacks: iterations before examples."""
        return cls(*(jnp.swapaxes(x, 0, 1) for x in scanned))


class Competition(nn.Module):
    """What modules of attention have in common: sizes, and the start of their slots.

    Attributes:
      num_slots: k, how many slots compete; another number may be given at call time.
      slot_dim: d.
      num_iterations: t; another number may be given at call time.
      mlp_dim: width of the residual MLP's hidden layer.
      initializer: draws the initial slots; `GaussianSlots` (the method) unless given.
    """

    num_slots: Count = 7
    slot_dim: Count = 64
    num_iterations: Count = 3
    mlp_dim: Count = 128
    initializer: nn.Module | None = None

    def start(
        self, inputs: jax.Array, slots: jax.Array | None, key: jax.Array | None, num_slots: int | None
    ) -> jax.Array:
        """The initial slots: `slots` [b, k, d] where given, else drawn with `key`, else with the rng stream "slots"."""
        initializer: Any = self.initializer or GaussianSlots(self.slot_dim, self.num_slots, name="initializer")
        check_rank("inputs", inputs, TOKENS)
        num_slots = self.num_slots if num_slots is None else num_slots
        check("num_slots", Count, num_slots)
        if slots is not None and not self.is_initializing():
            return slots
        keys = keys_of_examples(self.make_rng("slots") if key is None else key, inputs.shape[0])
        drawn = initializer(keys, num_slots, *((inputs,) if initializer.predicts else ()))
        return drawn if slots is None else slots

    @property
    def predicts_start(self) -> bool:
        """Whether slots start from the tokens."""
        return self.initializer is not None and cast(Initializer, self.initializer).predicts

    def own_frame(self) -> Frame | None:
        """In which each slot attends; None where all go by the picture's positions."""
        return None

    def refinement_params(self, input_dim: int) -> dict[str, Any]:
        """The parameters that every kind has."""
        dim = self.slot_dim
        return {
            "norm_inputs": self.param("norm_inputs", norm_params, input_dim),
            "norm_slots": self.param("norm_slots", norm_params, dim),
            "norm_mlp": self.param("norm_mlp", norm_params, dim),
            "project_q": self.param("project_q", GLOROT, (dim, dim), jnp.float32),
            "project_k": self.param("project_k", GLOROT, (input_dim, dim), jnp.float32),
            "project_v": self.param("project_v", GLOROT, (input_dim, dim), jnp.float32),
            "gru": self.param("gru", gru_params, dim),
            "mlp": self.param("mlp", mlp_params, dim, self.mlp_dim),
        }


def check_rank(name: str, array: Any, expected: str) -> None:
    """Raises a `UserError` unless the array has three axes."""
    if jnp.ndim(array) != 3:
        raise UserError(f"{name} of shape {shown(jnp.shape(array))}: expected {expected}")
