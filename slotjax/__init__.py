"""Object-centric learning in JAX/Flax: networks that discover objects by reconstructing what they see.

What is listed here is imported when it is first used, so that commands answer a wrong flag, and Ctrl-C, at once.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from slotjax.system.version import VERSION as __version__

if TYPE_CHECKING:
    from slotjax import convert, data, metrics
    from slotjax.api import (
        STATIC,
        apply,
        decode,
        encode,
        features,
        init,
        load_image,
        responsibilities,
        segments,
    )
    from slotjax.clustering import kmeans, soft_kmeans
    from slotjax.drawing.slots import show
    from slotjax.models import Output, build_model
    from slotjax.nn.attention import SlotAttention, slot_attention
    from slotjax.nn.backbones import load_backbone
    from slotjax.training.restore import load, save

__all__ = [
    "STATIC",
    "Output",
    "SlotAttention",
    "__version__",
    "apply",
    "build_model",
    "convert",
    "data",
    "decode",
    "encode",
    "features",
    "init",
    "kmeans",
    "load",
    "load_backbone",
    "load_image",
    "metrics",
    "responsibilities",
    "save",
    "segments",
    "show",
    "slot_attention",
    "soft_kmeans",
]
_HOMES = {  # which module each name is from
    "api": ("STATIC", "apply", "decode", "encode", "features", "init", "load_image", "responsibilities", "segments"),
    "clustering": ("kmeans", "soft_kmeans"),
    "drawing.slots": ("show",),
    "models": ("Output", "build_model"),
    "nn.backbones": ("load_backbone",),
    "nn.attention": ("SlotAttention", "slot_attention"),
    "training.restore": ("load", "save"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"slotjax.{home}"), name)
    if not name.startswith("_") and importlib.util.find_spec(f"slotjax.{name}"):
        return importlib.import_module(f"slotjax.{name}")
    raise AttributeError(f"module 'slotjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
