"""The page itself, in Gradio: what is on it, and what happens when something is changed."""

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr  # ty: ignore[import-not-found]
import numpy as np

from slotjax.api import SIGMA
from slotjax.demo import scene
from slotjax.demo.scene import Edit, Seen, Table
from slotjax.errors import UserError

MOST_SEEDS = 2**31
GALLERY_WIDTH = 1240  # pixels, on a desktop
CSS = ".small img {image-rendering: pixelated}"


def theme() -> Any:
    """Fonts of the system: Gradio's own are fetched from elsewhere."""
    return gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


class Source(NamedTuple):
    """What is seen, and how: the last three are the numbers that `Answers.see` takes."""

    file: gr.Image
    random: gr.Button
    slots: gr.Slider
    iterations: gr.Slider
    sigma: gr.Slider


class Edits(NamedTuple):
    """What is done to slots, as `Answers.edited` takes it."""

    hidden: gr.CheckboxGroup
    moved: gr.Dropdown
    down: gr.Slider
    right: gr.Slider
    here: gr.Dropdown
    there: gr.Dropdown


class Aside(NamedTuple):
    """Another picture, to swap slots with."""

    put: gr.Button
    gallery: gr.Gallery


def build(table: Table, name: str) -> gr.Blocks:
    """The page for one trained model."""
    height, width = table.model.resolution
    with gr.Blocks(title="slotjax demo", analytics_enabled=False) as page:
        gr.Markdown(
            f"# What the slots see\n`{name}` sees pictures at {width}x{height} and splits them among its slots. It "
            "knows the pictures that it was trained on; of others it makes what it can."
        )
        with gr.Row():
            source = _source(table)
            picture = _shown("Picture", "picture")
            found = _shown("Segments", "segments")
            rebuilt = _shown("Decoded anew from its slots", "rebuilt")
        gr.Markdown("### What every slot draws")
        gallery = _gallery(table, "What every slot draws", "slots")
        gr.Markdown("### Hide, move, swap")
        with gr.Row():
            edits, aside = _edits(table)
        _connect(page, Answers(table), source, edits, aside, [picture, found, rebuilt, gallery])
    return page


def _source(table: Table) -> Source:
    iterations = table.model.attention.num_iterations
    with gr.Column():
        return Source(
            gr.Image(label="Drop a picture", type="filepath", sources=["upload", "clipboard"], height=256),
            gr.Button("Random scene", variant="primary", visible=table.draw_scene is not None),
            gr.Slider(1, table.most_slots, table.most_slots, step=1, label="Slots"),
            gr.Slider(1, 8, iterations, step=1, label="Iterations"),
            gr.Slider(0.02, 2, SIGMA, step=0.02, label="Sigma: how far a slot's colour may be off"),
        )


def _edits(table: Table) -> tuple[Edits, Aside]:
    hidden = gr.CheckboxGroup([], label="Hide")
    with gr.Column(visible=table.can_move):
        moved = gr.Dropdown([], label="Move", value=None)
        down = gr.Slider(-1, 1, 0, step=0.05, label="down")
        right = gr.Slider(-1, 1, 0, step=0.05, label="right")
    with gr.Column():
        put = gr.Button("Put this picture aside, to swap with")
        gallery = _gallery(table, "Slots of the picture put aside", "aside")
        here = gr.Dropdown([], label="Swap this slot", value=None)
        there = gr.Dropdown([], label="for that one of the picture put aside", value=None)
    return Edits(hidden, moved, down, right, here, there), Aside(put, gallery)


def _connect(page: gr.Blocks, answers: "Answers", source: Source, edits: Edits, aside: Aside, views: list) -> None:
    """Says who answers when something is changed, and where the answer is shown."""
    seen, kept = gr.State(), gr.State()
    _, found, rebuilt, _ = views
    shown = [seen, *views, edits.hidden, edits.moved, edits.here, edits.down, edits.right]
    numbers = [source.slots, source.iterations, source.sigma]
    lively, quiet = {"trigger_mode": "always_last"}, {"show_progress": "hidden"}
    source.file.change(answers.dropped, [source.file, *numbers], shown)
    source.random.click(answers.drawn, numbers, shown)
    for slider in (source.slots, source.iterations):
        slider.input(answers.again, [seen, *numbers], shown, **lively)
    source.sigma.input(answers.tinted, [seen, source.sigma], found, **lively, **quiet)
    aside.put.click(answers.put_aside, seen, [kept, aside.gallery, edits.there])
    for control in edits:
        often = lively if isinstance(control, gr.Slider) else {}
        control.input(answers.edited, [seen, kept, *edits], rebuilt, **often, **quiet)
    if answers.table.draw_scene is not None:
        page.load(answers.drawn, numbers, shown)


class Answers:
    """What is shown when something is changed; `gr.skip()` leaves what there is."""

    def __init__(self, table: Table):
        self.table = table

    def see(self, array: np.ndarray, slots: float, iterations: float, sigma: float) -> tuple:
        now = self.table.see(array, int(slots), int(iterations))
        names = _names(now)
        none = gr.update(choices=names, value=None)
        rebuilt = self.table.rebuilt(now, Edit())
        views = scene.enlarged(array), scene.segments(now, sigma), scene.enlarged(rebuilt), _panels(now)
        return now, *views, gr.update(choices=names, value=[]), none, none, 0, 0

    def dropped(self, path: str | None, *numbers: float) -> Any:
        return gr.skip() if path is None else self.see(_told(self.table.read, Path(path)), *numbers)

    def drawn(self, *numbers: float) -> tuple:
        return self.see(self.table.random(int(np.random.default_rng().integers(MOST_SEEDS))), *numbers)

    def again(self, now: Seen | None, *numbers: float) -> Any:
        return gr.skip() if now is None else self.see(now.picture, *numbers)

    def tinted(self, now: Seen | None, sigma: float) -> Any:
        return gr.skip() if now is None else scene.segments(now, sigma)

    def put_aside(self, now: Seen | None) -> Any:
        return gr.skip() if now is None else (now, _panels(now), gr.update(choices=_names(now), value=None))

    def edited(self, now: Seen | None, aside: Seen | None, hidden, moved, down, right, here, there) -> Any:
        if now is None:
            return gr.skip()
        move = None if moved is None else (_number(moved), down, right)
        swap = None if aside is None or None in (here, there) else (_number(here), aside, _number(there))
        return scene.enlarged(self.table.rebuilt(now, Edit([_number(name) for name in hidden], move, swap)))


def _shown(label: str, name: str) -> gr.Image:
    return gr.Image(label=label, elem_id=name, interactive=False, height=320, elem_classes="small", buttons=[])


def _gallery(table: Table, label: str, name: str) -> gr.Gallery:
    options = {"show_label": False, "object_fit": "contain", "preview": False, "buttons": []}
    options["height"] = GALLERY_WIDTH // table.most_slots + 30  # one row of squares
    return gr.Gallery(label=label, elem_id=name, columns=table.most_slots, elem_classes="small", **options)


def _names(now: Seen) -> list[str]:
    return [f"slot {k}" for k in range(now.num_slots)]


def _panels(now: Seen) -> list[tuple[np.ndarray, str]]:
    return list(zip(scene.panels(now), _names(now), strict=True))


def _number(name: str) -> int:
    return int(name.removeprefix("slot "))


def _told(function: Any, *arguments: Any) -> Any:
    """What the function returns; a user's mistake is told on the page."""
    try:
        return function(*arguments)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
