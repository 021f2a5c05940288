"""The same per-device function on one device or many, by `pmap` or by `jit`."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from slotjax.errors import UserError
from slotjax.nn.partition import MODEL

AXIS = "data"  # the name by which a per-device function averages over devices
MOST_CORES = 8  # as devices; each holds a copy of the parameters, and more have not been measured


def one_device_per_core(batch_size: int) -> None:
    """Makes every core of the CPU a device, as far as they divide the batch. Must come before anything is computed.

    Where convolutions are large XLA gains less from splitting each of them over cores than from giving every core a
    share of the batch; where operations are small it is the other way round (docs/performance.md). What the user has
    set through XLA_FLAGS or JAX_NUM_CPU_DEVICES stays.
    """
    set_by_user = "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if set_by_user:
        return
    count = devices_for(batch_size, usable_cores())
    jax.config.update("jax_num_cpu_devices", count)


def devices_for(batch_size: int, cores: int) -> int:
    """The most devices that `cores` can be and that divide the batch."""
    return max(n for n in range(1, min(cores, MOST_CORES) + 1) if batch_size % n == 0)


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Parallel:
    """Spreads batches over the devices of all processes and runs per-device functions on them.

    A per-device function takes (state, batch) with its own share of the batch, and may average over the named axis
    `AXIS`. It does not know how it is wrapped, nor that `model` devices may have one share together: of these the
    compiler makes one, by what `slotjax.nn.partition` says of arrays.

    Args:
      mode: "pmap" or "jit".
      batch_size: over all devices.
      devices: all by default.
      data, model: the mesh's axes, of whose product there are devices; 0: as many as there are.

    Raises:
      UserError: devices that make no such mesh, or do not divide the batch.
    """

    def __init__(self, mode: str, batch_size: int, devices: list | None = None, *, data: int = 0, model: int = 1):
        self.mode, self.model, self.devices = mode, model, devices or jax.devices()
        self.own_devices = [device for device in self.devices if device.process_index == jax.process_index()]
        shares = check_mesh(len(self.devices), len(self.own_devices), data, model)
        if batch_size % shares:
            near, of = max(shares, round(batch_size / shares) * shares), "" if model == 1 else f" over {model}"
            raise UserError(
                f"train.batch_size={batch_size}: not divisible by the {len(self.devices)} devices{of}; take {near}"
            )
        self.mesh = Mesh(np.array(self.devices).reshape(shares, model), (AXIS, MODEL))
        self.own_mesh = Mesh(np.array(self.own_devices), (AXIS,))
        self.per_share = batch_size // shares
        before = self.devices.index(self.own_devices[0]) // model * self.per_share
        self.rows = slice(before, before + len(self.own_devices) // model * self.per_share)  # this process's of a batch

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
        # Along `MODEL`, where there is more than one, it is the compiler that spreads arrays.
        options: dict[str, Any] = {"axis_names": {AXIS}} if self.model > 1 else {}
        # The gradients are averaged by hand, which shard_map's replication check would count a second time.
        options |= {"in_specs": (P(), P(AXIS)), "out_specs": out_specs, "check_vma": False}
        sharded = jax.shard_map(function, mesh=self.mesh, **options)
        return jax.jit(sharded, donate_argnums=donate)

    def replicate(self, tree: Any) -> Any:
        """Puts a copy on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, P()))

    def shard(self, rows: Any) -> Any:
        """This process's `rows` of a batch, host arrays, onto its devices, in the layout that `over_batch` expects."""
        if self.mode == "pmap":
            rows = jax.tree.map(lambda x: x.reshape(len(self.own_devices), -1, *x.shape[1:]), rows)
            return jax.device_put(rows, NamedSharding(self.own_mesh, P(AXIS)))
        sharding = NamedSharding(self.mesh, P(AXIS))
        if jax.process_count() == 1:
            return jax.device_put(rows, sharding)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), rows)


def check_mesh(devices: int, own: int, data: int, model: int) -> int:
    """How many shares of a batch there are; a `UserError` for a mesh that these devices are not.

    Args:
      own: devices of this process. Those that have a share together are of one process, which reads it.
    """
    if own % model:
        raise UserError(f"mesh.model={model}: does not divide the {own} devices of a process; take a divisor, or 1")
    shares = devices // model
    if data and data != shares:
        raise UserError(
            f"mesh.data={data}: times mesh.model={model} is not the number of devices, {devices}; take {shares}, or 0 "
            "for as many as there are"
        )
    return shares
