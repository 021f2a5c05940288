"""Scenes of a family by their number, for who looks at them or keeps them."""

import ast
import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.data.scenes import SCENES, Scene
from slotjax.errors import UserError


def scene_family(name: str, options: dict[str, object]) -> Callable[[jax.Array], Scene]:
    """The scene family of this name with its options bound, checked without drawing anything.

    Raises:
      UserError: no such family, no such option, or a value the family refuses.
    """
    if name not in SCENES:
        raise UserError(f"unknown scene family {name!r}: choose one of {', '.join(SCENES)}")
    family = SCENES[name]
    known = [parameter for parameter in inspect.signature(family).parameters if parameter != "key"]
    for option in options:
        if option not in known:
            raise UserError(f"{name} has no option {option!r}: it has {', '.join(known) or 'none'}")
    bound = functools.partial(family, **options)
    try:
        jax.eval_shape(bound, jax.random.key(0))
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise UserError(f"{name} does not take {given}: {str(error).splitlines()[0]}") from None
    return bound


def parse_options(texts: list[str]) -> dict[str, object]:
    """Options given as NAME=VALUE, VALUE being a Python literal or a plain word."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise UserError(f"option {text!r} is not of the form NAME=VALUE, as in max_objects=6")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def check_seed(seed: int) -> None:
    """Raises a UserError for a seed that no key can be made of."""
    if not -(2**63) <= seed < 2**63:
        raise UserError(f"--seed {seed}: seeds go from -2^63 to 2^63 - 1")


def draw_scenes(family: Callable[[jax.Array], Scene], seed: int, first: int, count: int) -> Scene:
    """Scenes number first .. first + count - 1 of this seed as numpy arrays, with a leading axis of length count.

    They are drawn one after the other, so memory does not grow with their number beyond the result.
    """
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(first, first + count))
    return jax.tree.map(np.asarray, _draw(family, keys))


@functools.partial(jax.jit, static_argnums=0)
def _draw(family: Callable[[jax.Array], Scene], keys: jax.Array) -> Scene:
    return jax.lax.map(family, keys)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Pictures in [-1, 1] as uint8."""
    return np.clip(np.round((image + 1.0) * 127.5), 0, 255).astype(np.uint8)
