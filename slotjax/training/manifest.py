"""What a checkpoint's files must be: written beside them when they are complete, checked before they are read.

`manifest.json` of a checkpoint's folder holds the size and the SHA-256 of every other file in it, the config of the
run, and the version of this format. Its last entry is the SHA-256 of the rest, so that no byte can change unnoticed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from slotjax.errors import UserError
from slotjax.system.version import VERSION

NAME = "manifest.json"
FORMAT_VERSION = 2


class Damaged(Exception):
    """A checkpoint that is not what was written; the message says which file, and what is wrong with it."""


def seal(folder: Path, step: int, config: dict[str, Any]) -> None:
    """Writes the manifest of a complete checkpoint, and waits until all of it is on the disk."""
    files = {str(path.relative_to(folder)): _describe(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    content = {
        "format_version": FORMAT_VERSION,
        "slotjax": VERSION,
        "step": step,
        "config": config,
        "files": files,
    }
    (folder / NAME).write_text(_render(content))
    for path in (*folder.rglob("*"), folder):
        _flush(path)


def verify(folder: Path) -> dict[str, Any]:
    """The content of the manifest, after every file was compared with it.

    Raises:
      Damaged: something is missing or differs. UserError: a newer slotjax wrote it.
    """
    content = _read(folder / NAME)
    if content["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"{folder}: written by a newer slotjax ({content['slotjax']}, checkpoint format "
            f"{content['format_version']}; this one reads up to {FORMAT_VERSION}); pip install --upgrade slotjax"
        )
    for name, expected in content["files"].items():
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{path} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise Damaged(f"{path} has {path.stat().st_size} bytes instead of {expected['bytes']}")
        if _describe(path) != expected:
            raise Damaged(f"{path} is not what was written (SHA-256 differs)")
    return content


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    try:
        content = json.loads(text)
        checksum = content.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(f"{path} is not what was written") from None
    if text != _render(content) or checksum != _digest(content):
        raise Damaged(f"{path} is not what was written (SHA-256 differs)")
    return content


def _render(content: dict[str, Any]) -> str:
    return json.dumps(content | {"sha256": _digest(content)}, indent=1) + "\n"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
