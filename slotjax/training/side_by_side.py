"""Several seeds in one program: states are [s, ...], batches [b, s, ...], with an axis only where there are several."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

SHARED = ("index", "stop")  # the entries of a batch that are the same for all seeds, [b]


def stack_states(states: Sequence[Any]) -> Any:
    """Each seed's state, or metrics, as one: [...] -> [s, ...]; that of a single seed as it is."""
    return states[0] if len(states) == 1 else jax.tree.map(lambda *x: np.stack(x), *states)


def stack_batches(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each seed's batch as one: [b, ...] -> [b, s, ...]; that of a single seed as it is."""
    return batches[0] if len(batches) == 1 else jax.tree.map(lambda *x: np.stack(x, 1), *batches)


def state_of(tree: Any, place: int, seeds: int) -> Any:
    """One of `seeds` seeds' part of a state, or of metrics, on the host."""
    return jax.tree.map(lambda x: np.asarray(x if seeds == 1 else np.asarray(x)[place]), tree)


def batch_of(batch: dict[str, Any], place: int, seeds: int) -> dict[str, Any]:
    """One of `seeds` seeds' part of a batch on the host."""
    if seeds == 1:
        return batch
    own = {name: value for name, value in batch.items() if name not in SHARED}
    return batch | jax.tree.map(lambda x: x[:, place], own)
