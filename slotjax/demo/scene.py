"""A picture taken apart into slots, and slots put together anew: arrays in, pictures out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slotjax.api import decode, jitted_apply
from slotjax.data.pictures import as_input, read_rgb
from slotjax.data.scenes import SCENES, Scene, bind
from slotjax.drawing import slots as draw
from slotjax.errors import UserError
from slotjax.models import ObjectDiscovery, Output
from slotjax.reporting.own_pictures import Options, open_trained, split

SHOWN = 256  # pixels to which small pictures are enlarged
LARGEST = 1024  # pixels of a picture's longer side; more would only be slower

_decode = partial(jax.jit, static_argnames=("model",))(decode)


@dataclass(frozen=True)
class Seen:
    """A picture as the model sees it.

    Attributes:
      picture: uint8 [h, w, 3], of any size.
      out: for this picture alone, [1, ...].
    """

    picture: np.ndarray
    out: Output

    @property
    def num_slots(self) -> int:
        return np.asarray(self.out.slots).shape[1]


@dataclass(frozen=True)
class Edit:
    """What is done to a picture's slots before they are decoded anew.

    Attributes:
      hidden: slots that are left out.
      moved: a slot, and how far down and to the right it goes, in halves of the picture; or None.
      swapped: a slot, and the one of another picture that takes its place; or None.
    """

    hidden: Sequence[int] = ()
    moved: tuple[int, float, float] | None = None
    swapped: tuple[int, Seen, int] | None = None


class Table:
    """A trained model to take pictures apart with; a `UserError` for one of videos, or of features.

    Attributes:
      draw_scene: key -> a scene of the kind that the model was trained on; None where that was no rendered kind.
    """

    def __init__(self, workdir: Path | None, weights: str | None):
        trained = open_trained(workdir, weights)
        if not isinstance(trained.model, ObjectDiscovery) or trained.model.sees_features:
            raise UserError(f"{weights or workdir}: sees videos, or draws features; give a model that redraws pictures")
        self.model, self.params = trained.model, trained.params
        self.most_slots = self.model.attention.num_slots
        self.draw_scene = scenes(workdir, weights, self.model.resolution)

    @property
    def can_move(self) -> bool:
        """Whether slots have a place of their own, apart from what they say."""
        return self.model.decoder.frame.size > 0

    def read(self, path: Path) -> np.ndarray:
        """A picture from a file, uint8 [h, w, 3]; a `UserError` if it is none."""
        picture, _ = read_rgb(path)
        picture.thumbnail((LARGEST, LARGEST))
        return np.asarray(picture)

    def random(self, seed: int) -> np.ndarray:
        """A random scene, uint8 [h, w, 3]."""
        if self.draw_scene is None:
            raise UserError("the model was not trained on rendered scenes: drop a picture in")
        return draw.to_uint8(np.asarray(self.draw_scene(jax.random.key(seed)).image))

    def see(self, picture: np.ndarray, num_slots: int, num_iterations: int) -> Seen:
        """Takes a picture apart."""
        from PIL import Image

        image = as_input(Image.fromarray(picture), self.model.resolution, crop=False)[None]
        numbers = {"num_slots": num_slots, "num_iterations": num_iterations}
        out = jitted_apply(self.model, self.params, image, jax.random.key(0), **numbers)
        return Seen(picture, jax.device_get(out))

    def rebuilt(self, seen: Seen, edit: Edit) -> np.ndarray:
        """The picture that the slots draw after an edit, uint8 [h, w, 3]."""
        slots = edited(seen, edit, self.model.decoder.frame.size)
        if not slots.shape[1]:
            return np.zeros((*self.model.resolution, 3), np.uint8)
        return draw.to_uint8(_decode(self.model, self.params, slots).reconstruction[0])


def edited(seen: Seen, edit: Edit, frame_size: int) -> np.ndarray:
    """Slots [1, k, d] of a picture after an edit; of `frame_size` numbers at the end the first two are their place."""
    slots = np.array(seen.out.slots)
    if edit.swapped:
        here, other, there = edit.swapped
        slots[0, here] = np.asarray(other.out.slots)[0, there]
    if edit.moved:
        slot, down, right = edit.moved
        place = slots.shape[-1] - frame_size
        slots[0, slot, place : place + 2] += (down, right)
    return np.delete(slots, list(edit.hidden), axis=1)


def scenes(workdir: Path | None, weights: str | None, resolution: tuple[int, int]) -> Callable[[Any], Scene] | None:
    """What draws the scenes that a run or a file of weights says it was trained on; None if it was on other data."""
    from slotjax.config import disk
    from slotjax.reporting.evaluation import recorded
    from slotjax.weights import find

    config = disk.load_valid(workdir / "config.json") if workdir else recorded(find(str(weights)))
    if config is None or config.data.name not in SCENES:
        return None
    return jax.jit(bind(config.data.name, config.data.options.to_dict(), resolution))


def segments(seen: Seen, sigma: float) -> np.ndarray:
    """The picture tinted by slot, uint8 [h', w', 3], enlarged where it is small."""
    ids, _ = split(seen.out, seen.picture, Options(sigma=sigma))
    zoom = max(1, SHOWN // max(ids.shape))
    return draw.overlay(draw.zoomed(seen.picture, zoom), draw.zoomed(ids, zoom), draw.colours(seen.num_slots))


def panels(seen: Seen) -> list[np.ndarray]:
    """What every slot draws, framed in its colour, uint8 [h', w', 3] each."""
    components, masks = np.asarray(seen.out.components)[0], np.asarray(seen.out.masks)[0]
    zoom, palette = max(1, SHOWN // max(masks.shape[1:])), draw.colours(seen.num_slots)
    drawn = (draw.slot_panel(*each, zoom) for each in zip(components, masks, strict=True))
    return [draw.framed(panel, colour) for panel, colour in zip(drawn, palette, strict=True)]


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A small picture with every pixel repeated."""
    return draw.zoomed(picture, max(1, SHOWN // max(picture.shape[:2])))
