"""Processes that time something when told to, so that code of different environments takes turns."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slotjax.errors import UserError


class Worker:
    """A process that first prints what it is, and then, for every line that it reads, seconds; all of it as JSON.

    Attributes:
      name: in tables, and in the message where it fails.
      first: what it said of itself.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ):
        """Starts it. Raises a `UserError` where it cannot be started, or ends."""
        self.name, pipe = name, subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=cwd, env=os.environ | (env or {})
            )
        except OSError as error:
            raise UserError(f"{command[0]}: {error.strerror}; name an interpreter that runs") from None
        self.first: Any = self._read()

    def seconds(self, what: Any = None) -> float:
        """That it takes now; `what`, JSON-like, tells one that has several things to time which."""
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            last = (self.process.stderr.read().strip().splitlines() or ["it ended without a word"])[-1]
            raise UserError(f"{self.name}, by {self.process.args[0]}: {last.removeprefix('error: ')}")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()
