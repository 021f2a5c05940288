"""Parts of slotjax that need more than `pip install slotjax` brings."""

from collections.abc import Generator
from contextlib import contextmanager

from slotjax.errors import UserError


@contextmanager
def extra(name: str) -> Generator[None]:
    """Within it a package that is not installed is a `UserError` that names it, and the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "slotjax":
            raise
        raise UserError(f'{package} is not installed; pip install "slotjax[{name}]" brings it') from None
