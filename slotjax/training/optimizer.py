"""The learning rate over steps, and the optimizer that follows it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from slotjax.training.muon import BETA, scale_by_muon
from slotjax.training.vector import Layout


def learning_rate(config: ConfigDict, numpy: Any = jnp) -> optax.Schedule:
    """step -> learning rate, from `config.train`.

    All schedules rise linearly from 0 over the warm-up. "exponential" halves (or so) every `decay_steps`, smoothly and
    during the warm-up too, as in the original (Locatello et al., 2020, appendix E.3); "cosine" falls to 0 at the last
    step; "warmup_cosine" too, but from the end of the warm-up on (Kipf et al., 2022, app. A.3); "constant" stays.

    Args:
      numpy: what computes it; NumPy itself where the device should not be asked.
    """
    decay = {
        "exponential": lambda step: config.decay_rate ** (step / config.decay_steps),
        "cosine": lambda step: 0.5 * (1 + numpy.cos(numpy.pi * numpy.minimum(step / config.num_steps, 1.0))),
        "warmup_cosine": lambda step: 0.5 * (1 + numpy.cos(numpy.pi * numpy.clip(after_warmup(step), 0, 1))),
        "constant": lambda step: 1.0,
    }[config.schedule]

    def after_warmup(step):
        return (step - config.warmup_steps) / max(config.num_steps - config.warmup_steps, 1)

    def schedule(step):
        warmup = numpy.minimum(step / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
        return config.learning_rate * warmup * decay(step)

    return schedule


def scale_by_adam(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """Adam as Keras computes it: epsilon is added before the bias correction (Kingma and Ba, 2015, end of sec. 2).

    Optax adds it after, which makes it some 30 times smaller in the first steps, so that parameters whose gradient is
    mere rounding noise move too. The moments are optax's.
    """
    moments = optax.scale_by_adam(b1, b2)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        new: Any = moments.update(updates, state)[1]
        correction = jnp.sqrt(1 - b2**new.count) / (1 - b1**new.count)
        return jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), new.mu, new.nu), new

    return optax.GradientTransformation(moments.init, update)


def build_optimizer(config: ConfigDict, layout: Layout | None = None) -> optax.GradientTransformation:
    """Adam (b1 0.9, b2 0.999, epsilon 1e-8) or Muon along `learning_rate`; clipping, decay, rates by part if asked for.

    Args:
      config: `config.train`.
      layout: of the vectors that are updated in place of trees.
    """
    of_trees = layout.of_trees if layout else lambda transformation: transformation
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    adam = {"keras": scale_by_adam, "flax": optax.scale_by_adam}[config.adam]
    if config.optimizer == "muon":
        parts += [scale_by_muon(adam(BETA, 0.999, 1e-8), kernels, layout)]
    else:
        parts += [adam(0.9, 0.999, 1e-8)]
    if config.weight_decay:
        parts += [of_trees(optax.add_decayed_weights(config.weight_decay, mask=kernels))]
    rates = {name: factor for name, factor in config.learning_rates.items() if factor != 1}
    if rates:
        parts += [of_trees(scale_by_part(rates))]
    return optax.chain(*parts, optax.scale_by_learning_rate(learning_rate(config)))


def kernels(params: Any) -> Any:
    """Which parameters multiply their inputs, a tree of bools: kernels, but no biases, norms or starts of slots.

    They are what Muon is for, and weight decay: to shrink them is to prefer a simpler function. The others only shift
    or scale (Loshchilov and Hutter, 2019, leave them out in practice).
    """

    def is_kernel(path: tuple, _: Any) -> bool:
        names = [str(key.key) for key in path]
        return names[-1].startswith(("kernel", "project_")) or names[-1].endswith("_kernel")

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def scale_by_part(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of parts of the model, names at the top of the tree, each by its factor."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return {name: optax.tree.scale(factors.get(name, 1.0), part) for name, part in updates.items()}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
