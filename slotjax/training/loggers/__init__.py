"""Services that people log to, besides a run's own files: `--log NAME`.

One more is a file here, and a line in `LOGGERS`; `slotjax.training.loggers.base` says what a logger is.
"""

from collections.abc import Callable
from typing import Any


def _wandb() -> Any:
    from slotjax.training.loggers.wandb import Wandb

    return Wandb()


def _mlflow() -> Any:
    from slotjax.training.loggers.mlflow import MLflow

    return MLflow()


LOGGERS: dict[str, Callable[[], Any]] = {"mlflow": _mlflow, "wandb": _wandb}
