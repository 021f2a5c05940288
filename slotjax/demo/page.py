"""The page itself, in Gradio: what is on it, and what happens when something is changed."""

from pathlib import Path
from typing import Any

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


def build(table: Table, name: str) -> gr.Blocks:
    """The page for one trained model."""
    height, width = table.model.resolution
    with gr.Blocks(title="slotjax demo", analytics_enabled=False) as page:
        seen, aside = gr.State(), gr.State()
        gr.Markdown(
            f"# What the slots see\n`{name}` sees pictures at {width}x{height} and splits them among its slots. It "
            "knows the pictures that it was trained on; of others it makes what it can."
        )
        with gr.Row():
            with gr.Column():
                file = gr.Image(label="Drop a picture", type="filepath", sources=["upload", "clipboard"], height=256)
                random = gr.Button("Random scene", variant="primary", visible=table.draw_scene is not None)
                slots = gr.Slider(1, table.most_slots, table.most_slots, step=1, label="Slots")
                iterations = gr.Slider(1, 8, table.model.attention.num_iterations, step=1, label="Iterations")
                sigma = gr.Slider(0.02, 2, SIGMA, step=0.02, label="Sigma: how far a slot's colour may be off")
            picture = _shown("Picture", "picture")
            found = _shown("Segments", "segments")
            rebuilt = _shown("Decoded anew from its slots", "rebuilt")
        gr.Markdown("### What every slot draws")
        gallery = _gallery(table, "What every slot draws", "slots")
        gr.Markdown("### Hide, move, swap")
        with gr.Row():
            hidden = gr.CheckboxGroup([], label="Hide")
            with gr.Column(visible=table.can_move):
                moved = gr.Dropdown([], label="Move", value=None)
                down = gr.Slider(-1, 1, 0, step=0.05, label="down")
                right = gr.Slider(-1, 1, 0, step=0.05, label="right")
            with gr.Column():
                put = gr.Button("Put this picture aside, to swap with")
                other = _gallery(table, "Slots of the picture put aside", "aside")
                here = gr.Dropdown([], label="Swap this slot", value=None)
                there = gr.Dropdown([], label="for that one of the picture put aside", value=None)

        shown = [seen, picture, found, rebuilt, gallery, hidden, moved, here, down, right]
        numbers, edits = [slots, iterations, sigma], [hidden, moved, down, right, here, there]

        def see(array: np.ndarray, slots: float, iterations: float, sigma: float) -> tuple:
            now = table.see(array, int(slots), int(iterations))
            names = _names(now)
            none = gr.update(choices=names, value=None)
            views = scene.enlarged(array), scene.segments(now, sigma), scene.enlarged(table.rebuilt(now, Edit()))
            boxes = gr.update(choices=names, value=[])
            return now, *views, list(zip(scene.panels(now), names, strict=True)), boxes, none, none, 0, 0

        def dropped(path: str | None, *values: float) -> tuple:
            return _skip(shown) if path is None else see(_told(table.read, Path(path)), *values)

        def drawn(*values: float) -> tuple:
            return see(table.random(int(np.random.default_rng().integers(MOST_SEEDS))), *values)

        def again(now: Seen | None, *values: float) -> tuple:
            return _skip(shown) if now is None else see(now.picture, *values)

        def tinted(now: Seen | None, sigma: float) -> Any:
            return gr.skip() if now is None else scene.segments(now, sigma)

        def put_aside(now: Seen | None) -> tuple:
            if now is None:
                return gr.skip(), gr.skip(), gr.skip()
            panels = list(zip(scene.panels(now), _names(now), strict=True))
            return now, panels, gr.update(choices=_names(now), value=None)

        def edited(now: Seen | None, aside: Seen | None, hidden, moved, down, right, here, there) -> Any:
            if now is None:
                return gr.skip()
            move = None if moved is None else (_number(moved), down, right)
            swap = None if aside is None or None in (here, there) else (_number(here), aside, _number(there))
            return scene.enlarged(table.rebuilt(now, Edit([_number(name) for name in hidden], move, swap)))

        quiet = {"show_progress": "hidden"}
        file.change(dropped, [file, *numbers], shown)
        random.click(drawn, numbers, shown)
        for slider in (slots, iterations):
            slider.input(again, [seen, *numbers], shown, trigger_mode="always_last")
        sigma.input(tinted, [seen, sigma], found, trigger_mode="always_last", **quiet)
        put.click(put_aside, seen, [aside, other, there])
        for control in (hidden, moved, here, there):
            control.input(edited, [seen, aside, *edits], rebuilt, **quiet)
        for slider in (down, right):
            slider.input(edited, [seen, aside, *edits], rebuilt, trigger_mode="always_last", **quiet)
        if table.draw_scene is not None:
            page.load(drawn, numbers, shown)
    return page


def _shown(label: str, name: str) -> gr.Image:
    return gr.Image(label=label, elem_id=name, interactive=False, height=320, elem_classes="small", buttons=[])


def _gallery(table: Table, label: str, name: str) -> gr.Gallery:
    options = {"show_label": False, "object_fit": "contain", "preview": False, "buttons": []}
    options["height"] = GALLERY_WIDTH // table.most_slots + 30  # one row of squares
    return gr.Gallery(label=label, elem_id=name, columns=table.most_slots, elem_classes="small", **options)


def _names(now: Seen) -> list[str]:
    return [f"slot {k}" for k in range(now.num_slots)]


def _number(name: str) -> int:
    return int(name.removeprefix("slot "))


def _skip(outputs: list) -> tuple:
    return tuple(gr.skip() for _ in outputs)


def _told(function: Any, *arguments: Any) -> Any:
    """What the function returns; a user's mistake is told on the page."""
    try:
        return function(*arguments)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
