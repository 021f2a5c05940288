"""Where pictures come from: scenes rendered on the device (`scenes`), and stored data sets.

Submodules are imported when they are first used: readers of stored data bring libraries that scenes do without.
"""

import importlib


def __getattr__(name: str):
    if name == "scenes":
        return importlib.import_module("slotjax.data.scenes")
    raise AttributeError(f"module 'slotjax.data' has no attribute {name!r}")
