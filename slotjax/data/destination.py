"""A folder into which data are converted once: it appears when it is complete, and what was stopped goes on."""

import os
from collections.abc import Callable
from pathlib import Path

from slotjax.errors import UserError
from slotjax.system.console import say
from slotjax.system.locks import locked


def fill(destination: Path, mark: str, same: Callable[[], bool], write: Callable[[Path], None], source: object) -> Path:
    """Has the folder written, if it is not there yet, and returns it.

    Args:
      mark: a file that every complete folder holds.
      same: whether the folder that is there was made from the same source.
      write: writes what is missing into the folder that will become this one.
      source: for people.

    Raises:
      UserError: the destination holds something else, or cannot be written.
    """
    with locked(destination):
        if os.path.isfile(destination / mark):
            if not same():
                raise UserError(
                    f"{destination} was converted from another source than {source}: delete it or choose another"
                )
            say(f"{destination} is already there, converted from this source.")
            return destination
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise UserError(f"{destination} exists and holds no converted data: choose another destination")
        work = destination.with_name(destination.name + ".partial")
        try:
            work.mkdir(exist_ok=True)
            write(work)
            work.replace(destination)
        except OSError as error:
            raise UserError(f"{work} cannot be written ({error.strerror}): make room there and start again") from None
    return destination
