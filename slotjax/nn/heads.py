"""From slots to properties of objects."""

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn.fields import Count, Counts


@runtime_checkable
class Head(Protocol):
    """A linen module that reads slots; one more is a class here and a line in `HEADS`."""

    def __call__(self, slots: jax.Array) -> jax.Array:
        """[..., d] -> float32 [..., p] in [0, 1]."""
        ...

    def check(self) -> None:
        """Raises a `UserError` for attributes that do not go together."""
        ...


class PropertyHead(nn.Module):
    """An MLP that every slot passes through on its own, with a sigmoid at its end (Locatello et al., 2020, app. E.2).

    Attributes:
      hidden: widths of the hidden layers, each followed by a ReLU.
      num_properties: how many numbers in [0, 1] describe an object.
    """

    hidden: Counts = (64,)
    num_properties: Count = 19
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, slots: jax.Array) -> jax.Array:
        """[..., d] -> float32 [..., num_properties] in [0, 1]."""
        glorot = nn.initializers.glorot_uniform()
        x = slots.astype(self.dtype)
        for i, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, kernel_init=glorot, dtype=self.dtype, name=f"dense{i}")(x))
        x = nn.Dense(self.num_properties, kernel_init=glorot, dtype=self.dtype, name=f"dense{len(self.hidden)}")(x)
        return nn.sigmoid(x.astype(jnp.float32))

    def check(self) -> None:
        """Any widths go together."""


HEADS: dict[str, Any] = {"mlp": PropertyHead}
