"""Where pictures come from: scenes rendered on the device (`scenes`), and stored data sets.

Submodules are imported when they are first used: readers of stored data bring libraries that scenes do without.
"""

import importlib
import pkgutil
from typing import Any

_MODULES = tuple(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"slotjax.data.{name}")
    raise AttributeError(f"module 'slotjax.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
