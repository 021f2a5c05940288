"""Processes that take training steps when told to, so that code of different environments is timed turn by turn."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slotjax.errors import UserError


class Worker:
    """A process that first prints what it is, as JSON, and then, for every line that it reads, a step's seconds.

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
        self.first: dict[str, Any] = self._read()

    def seconds(self) -> float:
        """Of a step, taken now."""
        self.process.stdin.write("step\n")
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
