"""Runs written by hand for the tests of the report, and its pages read back."""

import base64
import importlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from slotjax.config import disk

MAX_BYTES = 5_000_000


def tiny():
    return importlib.import_module("configs.quick").get_config("tiny")


def written(folder: Path, seed: int, finals: list[float], **fields) -> Path:
    """A run whose FG-ARI took these values, an evaluation every 10 steps."""
    folder.mkdir(parents=True)
    config = tiny()
    config.seed, config.train.num_steps, config.train.eval_every = seed, 10 * len(finals), 10
    config.model.update(fields)
    disk.save(config, folder / "config.json")
    rows = []
    for i, value in enumerate(finals, 1):
        rows.append({"step": 10 * i, "loss": 1 / i, "images_per_second": 100.0, "time": 60.0 * i})
        figures = {"fg_ari": value, "ari": 0.5, "miou": 0.5, "mse": 0.1}
        posterior = {f"posterior_{name}": (1 + figures[name]) / 2 for name in ("fg_ari", "ari", "miou")}
        rows.append({"step": 10 * i, "num_images": 8} | figures | posterior)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def drawn(run: Path) -> Path:
    """The run with a picture before its first step and at every evaluation, each brighter than the one before."""
    steps = [0, *(json.loads(line)["step"] for line in text(run / "metrics.jsonl").splitlines()[1::2])]
    (run / "pictures").mkdir()
    for i, step in enumerate(steps):
        shades = np.random.default_rng(0).integers(0, 40, (90, 120, 3)) + 200 * i // len(steps)
        Image.fromarray(shades.astype(np.uint8)).save(run / "pictures" / f"step_{step:07d}.png")
    return run


def text(path: Path) -> str:
    return path.read_text("utf-8")


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


class Page(HTMLParser):
    """Where a page points to, and whether its tags close."""

    VOID = ("meta", "link", "img", "input", "br", "path", "use")

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.targets += [values[name] for name in ("src", "href", "xlink:href", "srcset", "action") if values.get(name)]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def check_page(html: str) -> Page:
    page = Page(html)
    assert not page.open
    assert all(target.startswith(("#", "data:")) for target in page.targets)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", html)
    assert len(html.encode()) < MAX_BYTES
    assert all(f'id="{target[1:]}"' in html for target in page.targets if target.startswith("#"))
    return page
