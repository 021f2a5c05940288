"""Many scenes at once, as the entries of a batch."""

from collections.abc import Callable
from typing import Any

import jax

from slotjax.data.scenes.scene import Scene

# Scenes rendered side by side, so that memory does not grow with the batch; a CPU's cache holds one at a time.
CHUNK = {"cpu": 1}


def entries(scene: Scene) -> dict[str, Any]:
    """What a scene holds, by name; the boxes of its objects too, as a model may start its slots from them."""
    held = {name: value for name, value in vars(scene).items() if value is not None}
    return held | {name: scene.objects[name] for name in ("boxes",) if name in scene.objects}


def render(scene: Callable[[jax.Array], Scene], keys: jax.Array) -> dict[str, Any]:
    """keys [b] -> the entries of so many scenes."""
    return entries(jax.lax.map(scene, keys, batch_size=CHUNK.get(jax.default_backend(), 16)))
