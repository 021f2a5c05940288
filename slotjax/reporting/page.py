"""Pages: what is known, put into the templates."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from slotjax.reporting.titles import shown

EVERY = (4.0, 60.0)  # seconds between two looks of a page for a newer one, at least and at most
PATIENCE = 10  # writings that do not come, after which the page takes the run for ended


@dataclass(frozen=True)
class Reload:
    """How often a page reloads itself, and after how long without a newer one it stops; seconds."""

    every: float
    until: float


def renewed(wait: float) -> Reload:
    """For a page that is written anew every `wait` seconds."""
    return Reload(min(max(wait / 5, EVERY[0]), EVERY[1]), PATIENCE * wait + 60)


def render(template: str, **values: Any) -> str:
    """A whole page, with its style and script inside; whatever it shows is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slotjax.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    return environment.get_template(template).render(
        style=asset("style.css"),
        asset=asset,
        written=datetime.now(UTC),
        **values,
    )


def asset(name: str) -> Markup:
    """A file of the package, as it is."""
    return Markup(resources.files("slotjax.reporting").joinpath("templates", name).read_text("utf-8"))
