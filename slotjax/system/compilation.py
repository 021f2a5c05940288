"""Compiled programs kept between runs, so that only the first one waits for the compiler."""

import glob
import os
import re
import stat
import sys
import warnings
from pathlib import Path
from typing import Any

from slotjax.system.paths import user_cache

MAX_BYTES = 2**30  # least recently used programs go beyond this
MIN_SECONDS = 0.3  # what compiles faster is not worth a file
DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '([^'/]+)'")  # JAX's words


def keep_compiled_programs() -> None:
    """Turns on JAX's persistent compilation cache, in `$XDG_CACHE_HOME/slotjax` (~/.cache/slotjax), the user's alone.

    What the user has set through JAX's own variables (JAX_COMPILATION_CACHE_DIR and so on) stays. A folder that others
    could write to is not used, since compiled programs are run as they are: a note says so.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = user_cache()
        problem = make_private(folder) if folder else "no home directory is known"
        if problem:
            where = f"{folder}: " if folder else ""
            print(f"note: compiled programs are not kept for the next run: {where}{problem}", file=sys.stderr)
            return
        _set("jax_compilation_cache_dir", str(folder))
    _set("jax_compilation_cache_max_size", MAX_BYTES)
    _set("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)
    _set("jax_persistent_cache_min_entry_size_bytes", 0)
    replace_damaged(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))


def replace_damaged(folder: Path) -> None:
    """Has what JAX cannot read give way to what it compiles instead.

    JAX warns of an entry that a full disk or a killed process left cut short, but never writes over one. From now on
    its warning removes the entry, and is not shown.
    """
    show = warnings.showwarning

    def remove(message: Warning | str, *rest: Any) -> None:
        if not (found := DAMAGED.match(str(message))):
            return show(message, *rest)
        for entry in folder.glob(f"{glob.escape(found[1])}-*-cache"):
            entry.unlink(missing_ok=True)

    warnings.showwarning = remove  # ty: ignore[invalid-assignment]  # fewer parameters than may be given by name


def make_private(folder: Path) -> str | None:
    """Makes the folder, readable by the user alone; returns why it cannot be used, or None."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        return error.strerror
    if status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it; chmod 700 it"
    return None if os.access(folder, os.W_OK) else "cannot be written"


def _set(name: str, value: str | float) -> None:
    """Through the environment, which costs nothing before JAX is imported, and after that through its config."""
    if name.upper() in os.environ:
        return
    os.environ[name.upper()] = str(value)
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(name, value)
