"""Where pictures come from: scenes rendered on the device (`scenes`), and stored data; `loader` gives batches of both.

All is imported when it is first used: readers of stored data bring libraries that scenes do without.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slotjax.data import scenes
    from slotjax.data.loading import loader

__all__ = ["loader", "scenes"]
_MODULES = tuple(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> Any:
    if name == "loader":
        return importlib.import_module("slotjax.data.loading").loader
    if name in _MODULES:
        return importlib.import_module(f"slotjax.data.{name}")
    raise AttributeError(f"module 'slotjax.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
