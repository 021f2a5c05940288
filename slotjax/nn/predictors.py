"""From the slots of one frame to where those of the next begin (Kipf et al., 2022, sec. 2.2)."""

from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.fields import Count, Range


@runtime_checkable
class Predictor(Protocol):
    """A linen module that carries slots over to the next frame; one more is a class here and a line in `PREDICTORS`."""

    def __call__(self, slots: jax.Array) -> jax.Array:
        """[b, k, d] -> [b, k, d]."""
        ...

    def check(self) -> None:
        """Raises a `UserError` for attributes that do not go together."""
        ...


class TransformerBlock(nn.Module):
    """Self-attention, then an MLP, each with a residual connection and a LayerNorm (Vaswani et al., 2017).

    Attributes:
      heads: of the attention.
      qkv_dim: width of queries, keys and values over all heads; 0: that of the inputs.
      mlp_dim: width of the MLP's hidden layer.
      norm: "post": after each sum, as in SAVi; "pre": of what goes into attention and MLP, as in SAVi++'s encoder.
    """

    heads: Count = 4
    qkv_dim: Annotated[int, Range(0, 2**14)] = 0
    mlp_dim: Count = 256
    norm: Literal["post", "pre"] = "post"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, slots: jax.Array) -> jax.Array:
        """[b, n, d] -> float32 [b, n, d]; the order of the n does not matter."""
        dim, pre = slots.shape[-1], self.norm == "pre"
        norms = [nn.LayerNorm(name=f"norm{i}") for i in range(2)]
        width = self.qkv_dim or dim
        if width % self.heads:
            raise UserError(f"model.predictor.heads={self.heads}: must divide the {width} numbers of a slot")
        attention = nn.MultiHeadDotProductAttention(self.heads, qkv_features=width, dtype=self.dtype, name="attention")
        hidden = nn.Dense(self.mlp_dim, dtype=self.dtype, name="dense0")
        last = nn.Dense(dim, dtype=self.dtype, name="dense1")

        def mlp(x: jax.Array) -> jax.Array:
            return last(nn.relu(hidden(x)))

        x = slots.astype(jnp.float32)
        for norm, layer in zip(norms, (attention, mlp), strict=True):
            x = x + layer(norm(x)) if pre else norm(x + layer(x))
        return x.astype(jnp.float32)

    def check(self) -> None:
        """Raises a `UserError` for heads that share `qkv_dim` unevenly."""
        if self.qkv_dim % self.heads:
            raise UserError(f"model.predictor.qkv_dim={self.qkv_dim}: must be a multiple of heads={self.heads}")


class Identity(nn.Module):
    """Slots begin where they were a frame before."""

    def __call__(self, slots: jax.Array) -> jax.Array:
        """[b, k, d] -> the same."""
        return slots

    def check(self) -> None:
        """It has no attributes."""


PREDICTORS: dict[str, Any] = {"transformer": TransformerBlock, "identity": Identity}
