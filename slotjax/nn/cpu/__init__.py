"""Forms of layers that XLA's CPU compiler is fast at, each beside its equal, the plain form.

Most have a reverse-mode derivative only. Where the default backend is no CPU the plain forms are used, and on a CPU
within `plain()`: there `jax.jvp`, `jax.hessian` and `jax.linearize` work. So they are where devices share a picture, as
the compiler then has to part them.
"""

from collections.abc import Generator
from contextlib import contextmanager

import jax

from slotjax.nn.partition import shared

_plain = False


def fast() -> bool:
    """Whether layers that are traced now take the forms in this room."""
    return not (_plain or shared()) and jax.default_backend() == "cpu"


@contextmanager
def plain() -> Generator[None]:
    """Within it, layers are the plain ones on a CPU too; programs compiled before are forgotten, on both ends.

    Also the way to lower a program for another platform than the one at hand.
    """
    global _plain
    before, _plain = _plain, True
    jax.clear_caches()
    try:
        yield
    finally:
        _plain = before
        jax.clear_caches()
