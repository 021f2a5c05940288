"""Arrays by the names of an original program, each of which a model must take."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError


class Weights:
    """Hands out each weight once, so that what is left over shows."""

    def __init__(self, weights: Mapping[str, Any], prefix: str, example: str):
        """Takes the arrays by their names without `prefix`; `example` is a name for messages."""
        self.arrays = {name.removeprefix(prefix): np.asarray(array) for name, array in weights.items()}
        self.example = example

    def take(self, name: str, *axes: int):
        """The weight, which has one of these numbers of axes."""
        if name not in self.arrays:
            raise UserError(f"weights: {name!r} is missing; expected the original's names, {self.example} and so on")
        array = self.arrays.pop(name)
        if not _is_real(array.dtype) or array.ndim not in axes or 0 in array.shape:
            raise UserError(f"weights: {name!r} is {array.dtype}{list(array.shape)}, unlike the original's")
        return jnp.asarray(array, jnp.float32)

    def drop(self, name: str) -> None:
        """Takes a weight that no model needs, if it is there."""
        self.arrays.pop(name, None)

    def dense(self, name: str) -> dict:
        return {"kernel": self.take(f"{name}/kernel", 2, 4), "bias": self.take(f"{name}/bias", 1)}

    def norm(self, name: str) -> dict:
        return {"scale": self.take(f"{name}/gamma", 1), "bias": self.take(f"{name}/beta", 1)}

    def transposed(self, name: str) -> dict:
        return {
            "kernel": self.take(f"{name}/kernel", 4)[::-1, ::-1].transpose(0, 1, 3, 2),
            "bias": self.take(f"{name}/bias", 1),
        }

    def layers(self, prefix: str) -> int:
        return sum(name.startswith(prefix) and name.endswith("/kernel") for name in self.arrays)

    def check_empty(self) -> None:
        if self.arrays:
            names = sorted(self.arrays)
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise UserError(f"weights: nothing in the model takes {', '.join(names[:5])}{more}")


def _is_real(dtype: np.dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)  # bfloat16 too
