"""Pages: what is known, put into the templates."""

from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from slotjax.reporting.titles import shown


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
        script=asset("explorer.js"),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )


def asset(name: str) -> Markup:
    """A file of the package, as it is."""
    return Markup(resources.files("slotjax.reporting").joinpath("templates", name).read_text("utf-8"))
