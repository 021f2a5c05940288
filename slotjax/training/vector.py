"""Parameters as one vector, the form in which they are trained.

An update of dozens of small arrays, their moments and their average, is hundreds of operations, each of which a device
has to begin and the host to hand over; of vectors it is a few (docs/performance.md). Everything else, checkpoints
included, has trees.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.losses import Loss


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
        """The inverse of `vector`; of several seeds' vectors, [s, n], parameters [s, ...]."""
        pieces = _numpy_of(vector).split(vector, self.ends[:-1], axis=-1)
        shaped = (x.reshape((*vector.shape[:-1], *shape)) for x, shape in zip(pieces, self.shapes, strict=True))
        return jax.tree.unflatten(self.structure, shaped)

    def of_vectors(self, loss: Loss) -> Loss:
        """The same loss as a function of the vector."""
        return lambda vector, batch, keys: loss(self.params(vector), batch, keys)

    def pack(self, state: Any) -> Any:
        """A state with every tree that is built like the parameters (moments, average) as a vector."""
        return jax.tree.map(lambda x: self.vector(x) if self._fits(x) else x, state, is_leaf=self._fits)

    def unpack(self, state: Any) -> Any:
        """The inverse of `pack`; of several seeds at once, too."""
        return jax.tree.map(lambda x: self.params(x) if x.shape[-1:] == (self.size,) else x, state)

    def _fits(self, tree: Any) -> bool:
        return jax.tree.structure(tree) == self.structure


def _numpy_of(x: Any) -> Any:
    return np if isinstance(x, np.ndarray) else jnp
