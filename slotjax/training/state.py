"""What training carries from one step to the next."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Trained and frozen parameters, and what updates the former.

    Attributes:
      step: int32 scalar, how many updates were made.
      params: the parameters that are trained, float32.
      opt_state: the optimizer's.
      ema: moving average of the trained parameters, or None.
      frozen: the parameters that are not: neither updated, averaged nor saved.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any = None
    frozen: Any = struct.field(default_factory=dict)

    @property
    def best_params(self) -> Any:
        """All parameters, to evaluate and to ship: of the trained ones the moving average where there is one."""
        return {**(self.params if self.ema is None else self.ema), **self.frozen}


def create_state(
    params: Mapping[str, Any], optimizer: optax.GradientTransformation, *, ema: bool = False, frozen: Sequence[str] = ()
) -> TrainState:
    """The state before the first step.

    Args:
      params: all parameters of a model.
      frozen: names at the top of `params`, where they are there, that are not trained.
    """
    trained = {name: value for name, value in params.items() if name not in frozen}
    start = jax.tree.map(jnp.copy, trained) if ema else None
    kept = {name: params[name] for name in frozen if name in params}
    return TrainState(jnp.int32(0), trained, optimizer.init(trained), start, kept)
