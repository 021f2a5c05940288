"""What a checkpoint's files must be: written when it is complete, checked before anything of it is used.

A checkpoint is a folder of two files: the state, and `manifest.json`, which holds the SHA-256 of the state, the config
of the run, and the version of this format. Its last entry is the SHA-256 of the rest, so that no byte of either can
change unnoticed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from slotjax.errors import UserError
from slotjax.system.version import VERSION

NAME, STATE = "manifest.json", "state.safetensors"
FORMAT_VERSION = 3


class Damaged(Exception):
    """A checkpoint that is not what was written; the message says which file, and what is wrong with it."""


def seal(folder: Path, state: bytes, step: int, config: dict[str, Any]) -> None:
    """Writes both files of a checkpoint, and waits until all of it is on the disk."""
    content = {"format_version": FORMAT_VERSION, "slotjax": VERSION, "step": step, "config": config}
    content["state"] = hashlib.sha256(state).hexdigest()
    (folder / STATE).write_bytes(state)
    (folder / NAME).write_text(_render(content))
    for path in (folder / STATE, folder / NAME, folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def verify(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The content of the manifest, and the state, which is what was written.

    Raises:
      Damaged: something is missing or differs. UserError: another version of slotjax wrote it.
    """
    text = _read(folder / NAME).decode(errors="replace")
    try:
        content = json.loads(text)
        checksum = content.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(f"{folder / NAME} is not what was written") from None
    if text != _render(content) or checksum != _digest(content):
        raise Damaged(f"{folder / NAME} is not what was written (SHA-256 differs)")
    if (found := content["format_version"]) != FORMAT_VERSION:
        age, remedy = ("a newer", "pip install --upgrade slotjax") if found > FORMAT_VERSION else ("an older", "use it")
        raise UserError(
            f"{folder}: written by {age} slotjax ({content['slotjax']}, checkpoint format {found}, not "
            f"{FORMAT_VERSION}); {remedy}"
        )
    state = _read(folder / STATE)
    if hashlib.sha256(state).hexdigest() != content["state"]:
        raise Damaged(f"{folder / STATE} is not what was written (SHA-256 differs)")
    return content, state


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None


def _render(content: dict[str, Any]) -> str:
    return json.dumps(content | {"sha256": _digest(content)}, indent=1) + "\n"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
