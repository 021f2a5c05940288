"""Asked to stop by a signal: what a scheduler sends before it takes the machine, or the user's Ctrl-C."""

import signal
import socket
import sys
import threading
import time
from typing import Any

from slotjax.errors import EXIT_STOPPED
from slotjax.system.console import leave

ONE = 1.0  # seconds within which two signals are one: `timeout` signals its child and then their group
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is what SLURM is often told to send ahead of the limit


class Interruption:
    """Within its `with` block, the first signal is a request, and the second stops the process at once.

    A thread reads the signals, as Python's own handlers wait for the main thread to come back from XLA, which may take
    minutes. As long as nothing is to be saved (`may_save` is False), the first signal stops at once too.

    Attributes:
      asked: the name of the signal that asked to stop, or None.
      may_save: set by the training loop when there is something that a stop would lose.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self.may_save = False

    def __enter__(self) -> "Interruption":
        self._active = threading.current_thread() is threading.main_thread()  # others cannot set handlers
        if self._active:
            self._reader, writer = socket.socketpair()
            writer.setblocking(False)
            numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
            numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # under nohup
            self._before = {number: signal.signal(number, _noted) for number in numbers}
            self._wakeup = (signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False), writer)
            threading.Thread(target=self._watch, args=(self._reader,), daemon=True, name="signals").start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if not self._active:
            return
        signal.set_wakeup_fd(self._wakeup[0])
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wakeup[1].close()  # ends the thread

    def _watch(self, reader: socket.socket) -> None:
        asked_at = 0.0
        with reader:
            while received := reader.recv(1):
                name = signal.Signals(received[0]).name
                if name not in SIGNALS:
                    continue
                if self.asked and time.monotonic() - asked_at < ONE:
                    continue
                if self.asked:
                    leave(f"{name}: stopped at once; what was saved before is intact", 128 + received[0])
                if not self.may_save:
                    leave(f"{name}: stopped; no step was done yet, so nothing is lost", EXIT_STOPPED)
                self.asked, asked_at = name, time.monotonic()
                print(f"{name}: finishing this step, then saving; once more stops at once", file=sys.stderr, flush=True)


def _noted(number: int, frame: Any) -> None:
    """A handler there must be for the signal to reach the thread."""
