"""The same per-device function on one device or many, by `pmap` or by `jit`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from slotjax.errors import UserError

AXIS = "batch"  # the name by which a per-device function averages over devices


class Parallel:
    """Spreads batches over this process's devices and runs per-device functions on them.

    A per-device function takes (state, batch) with its own share of the batch, and may average over the named axis
    `AXIS`. It does not know how it is wrapped.
    """

    def __init__(self, mode: str, batch_size: int, devices: list | None = None):
        self.mode, self.devices = mode, devices or jax.local_devices()
        count = len(self.devices)
        if batch_size % count:
            near = max(count, round(batch_size / count) * count)
            raise UserError(f"train.batch_size={batch_size}: not divisible by the {count} devices; take {near}")
        self.mesh = Mesh(np.array(self.devices), (AXIS,))
        self.per_device = batch_size // count

    def over_batch(self, function: Callable, *, batched_output: bool = False, donate: tuple[int, ...] = ()) -> Callable:
        """Wraps a per-device (state, batch) -> output.

        The state is replicated. The output is too, and must be equal on all devices (averaged over `AXIS`), unless
        `batched_output`: then every device returns its share of a batch.
        """
        if self.mode == "pmap":
            out_axes = 0 if batched_output else None
            return jax.pmap(
                function, AXIS, in_axes=(None, 0), out_axes=out_axes, donate_argnums=donate, devices=self.devices
            )
        out_specs = P(AXIS) if batched_output else P()
        # The gradients are averaged by hand, which shard_map's replication check would count a second time.
        sharded = jax.shard_map(function, mesh=self.mesh, in_specs=(P(), P(AXIS)), out_specs=out_specs, check_vma=False)
        return jax.jit(sharded, donate_argnums=donate)

    def replicate(self, tree: Any) -> Any:
        """Puts a copy on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, P()))

    def shard(self, batch: Any) -> Any:
        """Host arrays [b, ...] onto the devices, in the layout that `over_batch` expects."""
        if self.mode == "pmap":
            batch = jax.tree.map(lambda x: x.reshape(len(self.devices), -1, *x.shape[1:]), batch)
        return jax.device_put(batch, NamedSharding(self.mesh, P(AXIS)))

    def whole(self, batch: Any) -> Any:
        """The inverse of `shard`: host arrays [b, ...] of this process's share."""
        batch = jax.device_get(batch)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch) if self.mode == "pmap" else batch
