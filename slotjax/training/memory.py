"""How much memory a step will take, asked before it is compiled, and the micro-batches in which it fits."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.system.console import readable
from slotjax.training.objective import Objective

USABLE = 0.7  # share of the free memory that a step may take
WORKSPACE = 1.5  # of what the backward pass keeps: gradients in flight, XLA's copies for other layouts


def bytes_per_image(loss: Objective, params: Any, example: Any) -> int:
    """What one image's step holds at its peak: the residuals that the backward pass keeps, and work space.

    Nothing is compiled or run: the shapes come from tracing the loss for two images and for one.

    Args:
      example: shapes and types of one entry of the batch.
    """

    def residuals(count: int) -> int:
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), example)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
        step = jax.ShapeDtypeStruct((), jnp.int32)
        pullback = jax.eval_shape(
            lambda p, *rest: jax.vjp(lambda p: loss(p, *rest)[0], p)[1], params, batch, keys, step
        )
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pullback))

    return int(WORKSPACE * (residuals(2) - residuals(1)))


def free_bytes(device: jax.Device) -> int | None:
    """Memory that a program on this device can still have; None where the platform does not say."""
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    if device.platform != "cpu":
        return None
    free = _available_on_host()
    return free and free // jax.local_device_count()


def choose_micro_batches(asked: int, per_device: int, image_bytes: int, free: int | None) -> int:
    """In how many equal parts each device takes its share of the batch.

    `asked`, or where that is 0 as few as memory allows.

    Args:
      image_bytes: what one image needs.
      free: see `free_bytes`.
    """
    if asked:
        if per_device % asked:
            raise UserError(
                f"train.micro_batches={asked}: does not divide the {per_device} examples of each device; "
                "take a divisor, or 0 to choose by memory"
            )
        return asked
    if free is None:
        return 1
    divisors = [n for n in range(1, per_device + 1) if per_device % n == 0]
    if fitting := [n for n in divisors if per_device // n * image_bytes <= USABLE * free]:
        return min(fitting)
    raise UserError(
        f"model.resolution: one example needs about {readable(image_bytes)} and {readable(free)} are free; "
        "use a smaller resolution or fewer slots"
    )


def _available_on_host() -> int | None:
    limits = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        limits.append(int(lines["MemAvailable"].split()[0]) * 1024)
    elif hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if (left := _left_to_container(Path("/sys/fs/cgroup"))) is not None:
        limits.append(left)
    return min(limits) if limits else None


def _left_to_container(folder: Path) -> int | None:
    """What the limit of a container leaves, but for files that are kept in memory; None where there is none."""
    limit, used, what = (folder / name for name in ("memory.max", "memory.current", "memory.stat"))
    if not (limit.exists() and used.exists()) or limit.read_text().strip() == "max":
        return None
    kinds = dict(line.split() for line in what.read_text().splitlines()) if what.exists() else {}
    return int(limit.read_text()) - int(used.read_text()) + int(kinds.get("inactive_file", 0))
