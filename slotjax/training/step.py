"""One training step: pure functions of one device's share, with a named axis over the devices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from slotjax.training.parallel import AXIS
from slotjax.training.rng import example_keys
from slotjax.training.state import TrainState

Batch = dict[str, Any]
Loss = Callable[[Any, Batch, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]

STOPPED = -1  # the step of a state that met something not finite


class Step:
    """The step of one run: what to minimise, and how.

    Attributes:
      loss: (params, batch, keys [b]) -> scalar mean over the batch, and scalar metrics.
      optimizer: its updates.
      key: of the stream that draws slots.
      ema_decay: of the moving average; 0 keeps none.
      skip_nonfinite: what becomes of a step whose loss, gradients or update are not finite. It never touches the
        parameters; True goes on with the next step, False leaves the state as it was for good, so that the host, which
        looks one step late, finds what the step started from.
    """

    def __init__(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        key: jax.Array,
        ema_decay: float = 0.0,
        skip_nonfinite: bool = False,
    ):
        self.loss, self.optimizer, self.key = loss, optimizer, key
        self.ema_decay, self.skip_nonfinite = ema_decay, skip_nonfinite

    def train(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        """The whole step: gradients, their mean over devices, update."""
        return self.update(state, *self.gradients(state, batch))

    def gradients(self, state: TrainState, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        """Mean gradients and metrics over all devices; `batch["index"]` [b] are places in the global batch."""
        keys = example_keys(self.key, state.step, batch["index"])
        (_, metrics), gradients = jax.value_and_grad(self.loss, has_aux=True)(state.params, batch, keys)
        if "stop" in batch:  # whether a process was asked to stop: all must know at the same step
            metrics = metrics | {"stop": batch["stop"].mean()}
        return jax.lax.pmean((gradients, metrics), AXIS)

    def update(self, state: TrainState, gradients: Any, metrics: dict) -> tuple[TrainState, dict[str, jax.Array]]:
        """Applies averaged gradients if all is finite; adds `grad_norm` and `update_norm` to the metrics."""
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            ema = optax.incremental_update(params, ema, 1 - self.ema_decay)
        norms = {"grad_norm": optax.tree.norm(gradients), "update_norm": optax.tree.norm(updates)}
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norms["grad_norm"]) & jnp.isfinite(norms["update_norm"])
        new = TrainState(state.step + 1, params, opt_state, ema)
        following = state.step + 1
        if not self.skip_nonfinite:
            finite &= state.step >= 0
            following = jnp.full_like(state.step, STOPPED)
        old = TrainState(following, state.params, state.opt_state, state.ema)
        return jax.tree.map(partial(jnp.where, finite), new, old), metrics | norms


def build_train_step(
    step: Step, parallel, micro_batches: int
) -> Callable[[TrainState, Batch], tuple[TrainState, dict]]:
    """The step over all devices; in `micro_batches` parts one after another where more than 1, to the same effect.

    The parts are separate dispatches of one program, not a loop within it: convolutions inside an XLA loop are far
    slower on CPU, and each part is long enough to hide the dispatch.
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

    def train(state: TrainState, batch: Batch) -> tuple[TrainState, dict]:
        head, *rest = split(batch, micro_batches, axis)
        total = first(state, head)
        for piece in rest:
            total = following((state, total), piece)
        return update(state, total)

    return train


def split(batch: Batch, parts: int, axis: int) -> list[Batch]:
    """Equal slices of every array along `axis`."""
    leaves, structure = jax.tree.flatten(batch)
    pieces = zip(*(jnp.split(leaf, parts, axis) for leaf in leaves), strict=True)
    return [jax.tree.unflatten(structure, piece) for piece in pieces]
