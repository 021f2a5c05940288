"""What training carries from one step to the next."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Attributes:
    step: int32 scalar, how many updates were made.
    params: the model's parameters, float32.
    opt_state: the optimizer's.
    ema: moving average of the parameters, or None.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any = None

    @property
    def best_params(self) -> Any:
        """The parameters to evaluate and to ship: the moving average where there is one."""
        return self.params if self.ema is None else self.ema


def create_state(params: Any, optimizer: optax.GradientTransformation, ema: bool) -> TrainState:
    """The state before the first step."""
    start = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(jnp.int32(0), params, optimizer.init(params), start)
