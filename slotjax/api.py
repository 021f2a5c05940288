"""Models as pure functions: `init`, `apply`, `encode`, `decode`.

Every one can be jitted (`static_argnames=("model", "num_slots", "num_iterations", "return_history")`), vmapped, pmapped
and differentiated; bind keywords with `functools.partial` under vmap and pmap.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
from jax.core import Tracer

from slotjax.errors import UserError
from slotjax.models import Output

Params = Any


def init(model: nn.Module, key: jax.Array, images: jax.Array) -> Params:
    """Parameters of `model`, drawn with `key`, for images of this shape [b, h, w, 3] (only the shape matters)."""
    _check_images(model, images)
    shape = (1, *images.shape[1:])

    def draw(key):
        keys = dict(zip(("params", "slots"), jax.random.split(key), strict=True))
        return model.init(keys, jax.numpy.zeros(shape))["params"]

    if isinstance(key, Tracer):
        return draw(key)
    # Jitted, so that only what makes parameters is ever run; without LLVM's optimizations, which on CPU take seconds
    # for every random draw and gain nothing in a program that runs once.
    return jax.jit(draw, compiler_options={"xla_backend_optimization_level": 0})(key)


def apply(
    model: nn.Module,
    params: Params,
    images: jax.Array,
    key: jax.Array | None = None,
    *,
    num_slots: int | None = None,
    num_iterations: int | None = None,
    initial_slots: jax.Array | None = None,
    return_history: bool = False,
) -> Output:
    """Splits images into slots.

    Args:
      images: [b, h, w, 3] in [-1, 1], at the model's resolution.
      key: draws the initial slots: one key, or one for each image [b].
      num_slots, num_iterations: instead of the numbers used in training.
      initial_slots: [b, k, d], instead of the draw; another picture's `Output.slots`, say.
      return_history: also return the slots and the attention of every iteration.

    Returns:
      `Output`; for object discovery slots, attention, masks, components and reconstruction.

    Raises:
      UserError (a ValueError): neither key nor initial_slots; disagreeing num_slots; more slots than a per-slot
        initialiser has; images of another shape.
    """
    _check_images(model, images)
    if key is None and initial_slots is None:
        raise UserError("key=None: pass a jax.random.key to draw the initial slots, or initial_slots [b, k, d]")
    for name, value in (("num_slots", num_slots), ("num_iterations", num_iterations)):
        if value is not None and value < 1:
            raise UserError(f"{name}={value}: must be at least 1")
    if initial_slots is not None:
        _check_slots(initial_slots, images.shape[0], model.attention.slot_dim, model.decoded_dim)
        if num_slots not in (None, initial_slots.shape[1]):
            raise UserError(f"num_slots={num_slots}: initial_slots holds {initial_slots.shape[1]}; leave num_slots out")
    options = {"num_slots": num_slots, "num_iterations": num_iterations, "return_history": return_history}
    return _run(model, params, images, initial_slots, key=key, **options)


def encode(model: nn.Module, params: Params, images: jax.Array) -> jax.Array:
    """images [b, h, w, 3] in [-1, 1] -> tokens [b, n, d], what the slots compete for."""
    _check_images(model, images)
    return _run(model, params, images, method="encode")


def decode(model: nn.Module, params: Params, slots: jax.Array) -> Output:
    """slots [b, k, d], as `apply` returns them -> components, masks and reconstruction (set prediction: predictions).

    With a relative decoder d includes where the slots attend; see `Output`.
    """
    _check_slots(slots, slots.shape[0], model.decoded_dim)
    return _run(model, params, slots, method="decode")


def _run(model: nn.Module, params: Params, *arguments: Any, **options: Any) -> Any:
    return model.apply({"params": params}, *arguments, **options)


def _check_images(model: nn.Module, images: jax.Array) -> None:
    expected = (*model.resolution, 3)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        raise UserError(
            f"images of shape {tuple(images.shape)}: this model takes [b, {', '.join(map(str, expected))}], NHWC in "
            "[-1, 1]; resize them, or build the model with another resolution"
        )
    chex.assert_type(images, float)


def _check_slots(slots: jax.Array, batch: int, *dims: int) -> None:
    if slots.ndim != 3 or slots.shape[0] != batch or slots.shape[2] not in dims:
        expected = " or ".join(f"[{batch}, k, {dim}]" for dim in sorted(set(dims)))
        raise UserError(f"slots of shape {tuple(slots.shape)}: expected {expected}, as apply returns them")
