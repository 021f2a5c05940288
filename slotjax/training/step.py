"""One training step: pure functions of one device's share, with a named axis over the devices."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from slotjax.system.rng import example_keys
from slotjax.training.objective import Objective
from slotjax.training.parallel import AXIS, Parallel
from slotjax.training.state import TrainState
from slotjax.training.vector import Layout

Batch = dict[str, Any]

STOPPED = -1  # the step of a state that met something not finite


@dataclass(frozen=True)
class Step:
    """What to minimise, and how.

    Attributes:
      objective: of all parameters.
      optimizer: its updates.
      key: of the stream that draws slots.
      layout: of the states' vectors in place of trees; None where they hold trees.
      ema_decay: of the moving average; 0 keeps none.
      skip_nonfinite: what becomes of a step whose loss, gradients or update are not finite. It never touches the
        parameters; True goes on with the next step, False leaves the state as it was for good, so that the host, which
        looks one step late, finds what the step started from.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    key: jax.Array
    layout: Layout | None = None
    ema_decay: float = 0.0
    skip_nonfinite: bool = False

    def train(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        """The whole step: gradients, their mean over devices, update."""
        return self.update(state, *self.gradients(state, batch))

    def gradients(self, state: TrainState, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        """Mean gradients and metrics over all devices; `batch["index"]` [b] are places in the global batch."""
        keys = example_keys(self.key, state.step, batch["index"])

        def loss(trained: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            params = self.layout.params(trained) if self.layout else trained
            return self.objective({**params, **state.frozen}, batch, keys, state.step)

        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        if "stop" in batch:  # whether a process was asked to stop: all must know at the same step
            metrics = metrics | {"stop": batch["stop"].mean()}
        return mean_over_devices((gradients, metrics))

    def update(self, state: TrainState, gradients: Any, metrics: dict) -> tuple[TrainState, dict[str, jax.Array]]:
        """Applies averaged gradients if all is finite; adds `grad_norm` and `update_norm` to the metrics."""
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            ema = optax.incremental_update(params, ema, 1 - self.ema_decay)
        norms = {"grad_norm": optax.tree.norm(gradients), "update_norm": optax.tree.norm(updates)}
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norms["grad_norm"]) & jnp.isfinite(norms["update_norm"])
        new = replace(state, step=state.step + 1, params=params, opt_state=opt_state, ema=ema)
        following = state.step + 1
        if not self.skip_nonfinite:
            finite &= state.step >= 0
            following = jnp.full_like(state.step, STOPPED)
        old = replace(state, step=following)
        return jax.tree.map(partial(jnp.where, finite), new, old), metrics | norms


def mean_over_devices(tree: Any) -> Any:
    """The mean of every array over `AXIS`, all in one vector: XLA's CPU devices wait for each other at every array.

    Each wait keeps a thread, too, of which there are as many as devices: one that waited twice at once might leave none
    to the device that it waits for.
    """
    if jax.lax.axis_size(AXIS) == 1:
        return tree
    flat, restore = ravel_pytree(tree)
    return restore(jax.lax.pmean(flat, AXIS))


def build_train_step(
    step: Step, parallel: Parallel, micro_batches: int
) -> Callable[[TrainState, Batch], tuple[TrainState, dict]]:
    """The step over all devices; in `micro_batches` parts one after another where more than 1, to the same effect.

    The parts are separate dispatches of one program, not a loop within it: convolutions inside an XLA loop are far
    slower on CPU, and each part is long enough to hide the dispatch. A CPU is handed one at a time: its devices share
    as many threads, and with dozens of programs ahead one device's would keep them all, waiting for another's.
    """
    if micro_batches == 1:
        return parallel.over_batch(step.train, donate=(0,))

    def accumulate(carry, batch):
        state, total = carry
        return jax.tree.map(jnp.add, total, step.gradients(state, batch))

    def finish(state, total):
        return step.update(state, *jax.tree.map(lambda x: x / micro_batches, total))

    first = parallel.over_batch(step.gradients)
    following = parallel.over_batch(accumulate)
    update = jax.jit(finish, donate_argnums=(0,))
    axis = 1 if parallel.mode == "pmap" else 0
    on_cpu = parallel.own_devices[0].platform == "cpu"

    def train(state: TrainState, batch: Batch) -> tuple[TrainState, dict]:
        head, *rest = split(batch, micro_batches, axis)
        total = first(state, head)
        for piece in rest:
            if on_cpu:
                jax.block_until_ready(total)
            total = following((state, total), piece)
        return update(state, total)

    return train


def split(batch: Batch, parts: int, axis: int) -> list[Batch]:
    """Equal slices of every array along `axis`."""
    leaves, structure = jax.tree.flatten(batch)
    pieces = zip(*(jnp.split(leaf, parts, axis) for leaf in leaves), strict=True)
    return [jax.tree.unflatten(structure, piece) for piece in pieces]
