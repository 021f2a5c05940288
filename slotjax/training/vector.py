"""Trained parameters as one vector, the form in which they are updated.

An update of dozens of small arrays, their moments and their average, is hundreds of operations, each of which a device
has to begin and the host to hand over; of vectors it is a few (docs/performance.md). Everything else, checkpoints and
what an optimizer does by part included, has trees.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Layout:
    """Where each parameter lies in the vector: one after another, in the order of the tree's leaves.

    Args:
      params: the tree, of arrays of one dtype or of their shapes.
    """

    def __init__(self, params: Any):
        leaves, self.structure = jax.tree.flatten(params)
        self.shapes = [x.shape for x in leaves]
        self.ends = np.cumsum([x.size for x in leaves])
        self.size = int(self.ends[-1])

    def vector(self, params: Any) -> Any:
        """The parameters one after another, [n]; on the host where they are NumPy arrays."""
        leaves = jax.tree.leaves(params)
        numpy = _numpy_of(leaves[0])
        return numpy.concatenate([numpy.ravel(x) for x in leaves])

    def params(self, vector: Any) -> Any:
        """The inverse of `vector`."""
        pieces = _numpy_of(vector).split(vector, self.ends[:-1])
        shaped = (x.reshape(shape) for x, shape in zip(pieces, self.shapes, strict=True))
        return jax.tree.unflatten(self.structure, shaped)

    def pack(self, state: Any) -> Any:
        """A state with every tree that is built like the parameters (moments, average) as a vector."""
        return jax.tree.map(lambda x: self.vector(x) if self._fits(x) else x, state, is_leaf=self._fits)

    def unpack(self, state: Any) -> Any:
        """The inverse of `pack`."""
        return jax.tree.map(lambda x: self.params(x) if x.shape == (self.size,) else x, state)

    def of_trees(self, transformation: optax.GradientTransformation) -> optax.GradientTransformation:
        """The same transformation of updates, which has no state to speak of, for vectors."""

        def init(vector: Any) -> Any:
            return transformation.init(self.params(vector))

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            tree = None if params is None else self.params(params)
            updates, state = transformation.update(self.params(updates), state, tree)
            return self.vector(updates), state

        return optax.GradientTransformation(cast(Any, init), cast(Any, update))

    def _fits(self, tree: Any) -> bool:
        return jax.tree.structure(tree) == self.structure


def _numpy_of(x: Any) -> Any:
    return np if isinstance(x, np.ndarray) else jnp
