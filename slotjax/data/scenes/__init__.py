"""Scenes rendered on the device by pure functions of a key, each with its exact segmentation.

A family is one function `family(key, **options) -> Scene`, jittable and vmappable, and one line in `SCENES`.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from slotjax.data.scenes.clevr_scene import clevr, clevr_textured
from slotjax.data.scenes.dsprites import multi_dsprites, sprites
from slotjax.data.scenes.moving_clevr import moving_clevr
from slotjax.data.scenes.moving_sprites import moving_sprites
from slotjax.data.scenes.scene import Scene
from slotjax.data.scenes.tetris import tetrominoes
from slotjax.errors import UserError, nearest, shown
from slotjax.nn.fields import check

SCENES: dict[str, Callable[..., Scene]] = {
    "tetrominoes": tetrominoes,
    "multi_dsprites": multi_dsprites,
    "sprites": sprites,
    "clevr": clevr,
    "clevr_textured": clevr_textured,
    "moving_sprites": moving_sprites,
    "moving_clevr": moving_clevr,
}
NOT_OPTIONS = ("key", "resolution", "num_frames")  # what the caller passes


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """The options of a family, with their types and defaults."""
    return {key: x for key, x in inspect.signature(SCENES[name]).parameters.items() if key not in NOT_OPTIONS}


def check_options(name: str, options: Mapping[str, Any], where: str = "data.options.") -> None:
    """Raises a `UserError` for an option that the family has not, or of another type; it checks their values itself.

    Args:
      where: with which the error begins, before the option's name.
    """
    known = options_of(name)
    for option, value in options.items():
        if option not in known:
            have = (", ".join(known) or "none") + nearest(option, known)
            raise UserError(f"{where}{option}={shown(value)}: {name} scenes have no such option; they have {have}")
        check(f"{where}{option}", known[option].annotation, value)


def bind(
    name: str, options: Mapping[str, Any], resolution: tuple[int, int], num_frames: int = 0
) -> Callable[[jax.Array], Scene]:
    """key -> scene, at this resolution; of so many frames where the family's scenes move, else 0.

    Raises:
      UserError: options that there are not, or out of range, or a family that only has another resolution, or that
        has no frames, or nothing else.
    """
    check_options(name, options)
    chosen, takes = dict(options), inspect.signature(SCENES[name]).parameters
    if bool(num_frames) != ("num_frames" in takes):
        remedy = "stand still: set it to 0" if num_frames else "move: say how many frames a video has"
        raise UserError(f"data.num_frames={num_frames}: {name} scenes {remedy}")
    given = {"resolution": resolution, "num_frames": num_frames}
    chosen |= {field: value for field, value in given.items() if field in takes}
    scene = partial(SCENES[name], **chosen)
    size = jax.eval_shape(scene, jax.random.key(0)).image.shape[-3:-1]
    if size != resolution:
        raise UserError(f"model.resolution={resolution}: {name} scenes are {size}; set model.resolution to that")
    return scene


__all__ = [
    "SCENES",
    "Scene",
    "bind",
    "check_options",
    "clevr",
    "clevr_textured",
    "moving_clevr",
    "moving_sprites",
    "multi_dsprites",
    "sprites",
    "tetrominoes",
]
