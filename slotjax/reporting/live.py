"""The report of a run that still goes on: written at the start and at every evaluation, and reloads itself."""

import os
import sys
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.system.writing import write_text

FIRST_WAIT = 600.0  # seconds until the second writing, as long as nobody knows


class LiveReport:
    """Keeps a run's report up to date while it trains: a `slotjax.training.loggers.base.Logger`.

    The slot explorer and the baselines, which take long, are left to the report after training.
    """

    name = "the report"

    def __init__(self, path: Path, watch: bool):
        """`path`: the page's; `watch`: opens it in a browser."""
        self.path, self.watch = path, watch

    def start(self, config: ConfigDict, workdir: Path, step: int) -> str:
        self.config, self.workdir = config, workdir
        self.wait, self.written = FIRST_WAIT, 0.0
        if step:
            self._write()
        return f"report: {self.path.absolute()} (open it in a browser: it goes along with the run)"

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        """They are in metrics.jsonl."""

    def picture(self, step: int, path: Path) -> None:
        self._write()

    def checkpoint(self, step: int, folder: Path) -> None:
        """The report after training looks for it."""

    def close(self, finished: bool) -> None:
        """A stopped run leaves a page that does not reload any more; a finished one makes room for the whole report."""
        if finished:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            self._write(ended=True)

    def _write(self, ended: bool = False) -> None:
        from slotjax.reporting import history, page, single  # they bring jinja2, and for curves matplotlib

        now = time.monotonic()
        if self.written:
            self.wait = now - self.written
        self.written = now
        there = history.gather(self.workdir, self.config)
        html, _ = single.build(there, brief=True, reload=None if ended else page.renewed(self.wait))
        write_text(self.path, html)
        if self.watch:
            self.watch = False
            open_page(self.path)


def open_page(path: Path) -> None:
    """Opens a page in a browser with a window of its own, where there is one."""
    desktop = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if not desktop or not webbrowser.open(path.absolute().as_uri()):
        print("--watch: there is no browser to open here", flush=True)
