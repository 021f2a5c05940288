"""Scenes rendered on the device by pure functions of a key, each with its exact segmentation.

A family is one function `family(key, **options) -> Scene`, jittable and vmappable, and one line in `SCENES`.
"""

from slotjax.data.scenes.clevr_scene import clevr
from slotjax.data.scenes.dsprites import multi_dsprites, sprites
from slotjax.data.scenes.scene import Scene
from slotjax.data.scenes.tetris import tetrominoes

SCENES = {
    "tetrominoes": tetrominoes,
    "multi_dsprites": multi_dsprites,
    "sprites": sprites,
    "clevr": clevr,
}

__all__ = ["SCENES", "Scene", "clevr", "multi_dsprites", "sprites", "tetrominoes"]
