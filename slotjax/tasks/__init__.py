"""What models are trained for. A task is one file (see `slotjax.tasks.base.Task`) and one line in `TASKS`."""

from typing import Any

from slotjax.tasks import discovery, set_prediction
from slotjax.tasks.base import Condition, Figures, Summary, Task

MODULES: dict[str, Any] = {"object_discovery": discovery, "video": discovery, "set_prediction": set_prediction}
TASKS: dict[str, Task] = MODULES  # by config.model.name

__all__ = ["TASKS", "Condition", "Figures", "Summary", "Task"]
