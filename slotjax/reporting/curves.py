"""Curves and histograms as SVG that takes its colours from the page and can be read aloud."""

import io
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup, escape

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it announces that it looks for fonts

INK, FAINT = "#010203", "#040506"  # stand-ins that the page's own colours replace
SERIES = tuple(f"#0a0b{i:02x}" for i in range(8))
WIDTH, HEIGHT = 4.6, 2.7  # inches of 72 points; the page scales it
# Room for the labels; to have it measured would take as long as all the rest.
MARGINS = {"left": 0.15, "right": 0.955, "bottom": 0.18, "top": 0.965}
DRAWING: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 9, "text.parse_math": False,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT,
    "grid.color": FAINT, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.5, "axes.linewidth": 0.5,
    "axes.spines.top": False, "axes.spines.right": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip
Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Line:
    """A curve: (step, value) points, the number of its colour, and how it stands out."""

    points: Points
    colour: int = 0
    width: float = 1.6
    opacity: float = 1.0


@dataclass(frozen=True)
class Band:
    """The span between two curves over the same steps."""

    steps: Sequence[int]
    low: Sequence[float]
    high: Sequence[float]
    colour: int = 0


@dataclass(frozen=True)
class Chart:
    """Lines over steps; `levels` are dashed lines (value, colour), `marked` a step to point at."""

    label: str
    lines: list[Line]
    bands: list[Band] = field(default_factory=list)
    levels: list[tuple[float, int]] = field(default_factory=list)
    marked: int | None = None
    unit_range: bool = False


def draw_chart(chart: Chart) -> Markup:
    """The chart as SVG; a loss that spans decades gets a logarithmic axis."""

    def draw(axes) -> None:
        for band in chart.bands:
            axes.fill_between(band.steps, band.low, band.high, color=SERIES[band.colour % 8], alpha=0.18, linewidth=0)
        for line in chart.lines:
            steps, values = zip(*line.points, strict=True)
            marker = "o" if len(steps) == 1 else None
            style = {"linewidth": line.width, "alpha": line.opacity, "marker": marker, "markersize": 4}
            axes.plot(steps, values, color=SERIES[line.colour % 8], **style)
        for i, (value, colour) in enumerate(chart.levels):  # in turns, so that equal levels are both seen
            axes.axhline(value, color=SERIES[colour % 8], linewidth=1.3, linestyle=(5 * i, (5, 5)))
        if chart.marked is not None:
            axes.axvline(chart.marked, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_xlabel("step")
        _scale(axes, chart)

    return _svg(draw, chart.label)


def draw_histogram(values: dict[int, np.ndarray], label: str, name: str, noun: str) -> Markup:
    """How many images, or videos, score how much; {number of a colour: [n]}, the first filled, the others outlined."""
    finite = {colour: array[np.isfinite(array)] for colour, array in values.items()}
    whole = np.concatenate(list(finite.values()))
    edges = np.histogram_bin_edges(whole, bins=24)

    def draw(axes) -> None:
        for i, (colour, array) in enumerate(finite.items()):
            style = (
                {"alpha": 0.75} if i == 0 else {"histtype": "step", "linewidth": 1.5, "linestyle": ("-", "--")[i > 1]}
            )
            axes.hist(array, bins=edges, color=SERIES[colour % 8], **style)
        axes.set_xlabel(name)
        axes.set_ylabel(f"{noun}s")

    return _svg(draw, label)


def _scale(axes, chart: Chart) -> None:
    from matplotlib import ticker

    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    values = [value for line in chart.lines for _, value in line.points]
    if chart.unit_range:
        low = min(0.0, *values, *(value for value, _ in chart.levels)) if values else 0.0
        axes.set_ylim(low - 0.02, 1.02)
    elif min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    elif min(values) >= 0:
        axes.set_ylim(bottom=0)


def _svg(draw: Callable, label: str) -> Markup:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(DRAWING):
        figure = Figure((WIDTH, HEIGHT))
        figure.subplots_adjust(**MARGINS)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Markup(inline(buffer.getvalue(), label))


def inline(svg: str, label: str) -> str:
    """A drawing as part of a page: without a header, with the page's colours and font, and with words."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z]+\w*_\d+"', "", svg)  # "axes_1" and so on: the same in every drawing, used by none
    svg = re.sub(r"font: [^;\"]*", "font-size: 9px", svg)
    for i, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--series-{i})")
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    head = re.match(r"<svg[^>]*>", svg)
    box = re.search(r'viewBox="[^"]*"', head.group() if head else "")
    opening = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(label)}">'
    return opening + svg[head.end() if head else 0 :]


def in_words(name: str, points: Points, show: Callable[[float], str]) -> str:
    """A curve for those who listen rather than look."""
    (first, start), (last, end) = points[0], points[-1]
    low, high = min(value for _, value in points), max(value for _, value in points)
    if len(points) == 1:
        return f"{name}: {show(start)} at step {first}"
    return (
        f"{name} over steps: from {show(start)} at step {first} to {show(end)} at step {last}, "
        f"between {show(low)} and {show(high)}"
    )
