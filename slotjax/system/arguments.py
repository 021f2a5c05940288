"""What callers pass to the library's functions: arrays, numbers and keys as they should be, or a `UserError`.

Of what is traced, as under `jax.jit`, only shape and type are known: values are checked outside alone.
"""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from slotjax.errors import UserError, shown

Array = jax.Array | np.ndarray
MOST = 2**31 - 1  # of an int32


def array(name: str, value: Any) -> Any:
    """An `Array` of real numbers or booleans: JAX's as it is, anything else (lists too) as NumPy's, its dtype kept."""
    if not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except (TypeError, ValueError):
            raise UserError(f"{name}={shown(value)}: is no array of numbers") from None
    real = jnp.issubdtype(value.dtype, jnp.number) and not jnp.issubdtype(value.dtype, jnp.complexfloating)
    if not real and value.dtype != bool:
        raise UserError(f"{name} of dtype {value.dtype}: expected real numbers")
    return value


def floats(name: str, value: Any, remedy: str) -> Any:
    """As `array`, but not of integers, which would be of another range."""
    value = array(name, value)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise UserError(f"{name} of dtype {value.dtype}: {remedy}")
    return value


def finite(name: str, value: Array) -> None:
    """Refuses NaN and infinity, and names where the first is."""
    if isinstance(value, Tracer):
        return
    value = np.asarray(value)  # in JAX it would be traced where this is called under jit, constant or not
    if np.isfinite(value).all():
        return
    first = tuple(np.argwhere(~np.isfinite(value))[0].tolist())
    raise UserError(f"{name}[{', '.join(map(str, first))}]={value[first]}: must be finite; leave such values out")


def whole(name: str, value: Any) -> int:
    """A whole number of at least 1 and of 32 bits, which must be known before anything is compiled."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool) or not 1 <= number <= MOST:
        raise UserError(f"{name}={shown(value)}: must be a whole number of at least 1{_of_traced(value)}")
    return number


def number(name: str, value: Any, *, open_below: bool = False) -> float:
    """A finite number of at least (or above) 0, which must be known before anything is compiled."""
    try:
        result = math.nan if isinstance(value, str | bool) or np.ndim(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not (math.isfinite(result) and (result > 0 if open_below else result >= 0)):
        bound = "above 0" if open_below else "of at least 0"
        raise UserError(f"{name}={shown(value)}: must be a finite number {bound}{_of_traced(value)}")
    return result


def key(name: str, value: Any) -> jax.Array:
    """One key for random numbers, new-style or old."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and value.shape == ():
        return value
    if dtype == np.uint32 and value.ndim == 1:
        return value
    raise UserError(f"{name}={shown(value)}: pass one key, such as jax.random.key(0)")


def _of_traced(value: Any) -> str:
    return ", known when jax.jit compiles: name it in static_argnames" if isinstance(value, Tracer) else ""
