"""Paths as people give them, and the user's cache."""

import os
from pathlib import Path

from slotjax.errors import UserError


def given(path: str | os.PathLike, what: str) -> Path:
    """`path` as a person gave it, with ~ expanded; it need not exist.

    Args:
      what: the field or option that it was given to, with which the error begins.

    Raises:
      UserError: it can be no path here, or what is there may not be looked at.
    """
    try:
        expanded = Path(path).expanduser()
        os.fspath(expanded).encode()
        expanded.stat()
    except (FileNotFoundError, NotADirectoryError):
        return expanded
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be opened ({error.strerror}): check the path") from None
    except RuntimeError:  # from expanduser
        raise UserError(f"{what}: {path} names a home directory that is not known: write the path in full") from None
    except UnicodeEncodeError:
        raise UserError(
            f"{what}: {ascii(str(path))} is no text in the language of this terminal: export LC_ALL=C.UTF-8"
        ) from None
    except ValueError as error:  # a null character
        raise UserError(f"{what}: {ascii(str(path))} is no path ({error}): check it") from None
    return expanded


def user_cache() -> Path | None:
    """slotjax's folder in the user's cache, which need not exist yet; None where no home directory is known.

    A container that runs under a bare user id has none.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slotjax"
    except RuntimeError:
        return None
