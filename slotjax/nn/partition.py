"""Arrays spread over the devices that share an example: the second axis of a mesh, where training has one."""

import jax
from jax.sharding import PartitionSpec as P

MODEL = "model"  # the axis's name


def shared() -> bool:
    """Whether what is traced now is for devices that share an example."""
    return MODEL in jax.sharding.get_abstract_mesh().auto_axes


def spread(x: jax.Array, axis: int) -> jax.Array:
    """`x`, of whose `axis` each device along `MODEL` holds a part; as it is where the mesh has no such axis.

    The compiler carries this on to what is computed from `x`, and to what it is computed from. It exchanges the rows
    that convolutions see of their neighbours' and sums over devices where there is a sum over `axis`.
    """
    if not shared():
        return x
    places: list = [P.UNCONSTRAINED] * x.ndim
    places[axis] = MODEL
    return jax.lax.with_sharding_constraint(x, P(*places))
