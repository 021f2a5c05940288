"""MLflow: `--log mlflow`.

Where to, and into which experiment, its own variables say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME).
"""

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.config import disk
from slotjax.errors import UserError, first_line
from slotjax.system.extras import extra
from slotjax.training.loggers.base import keep_id, kept_id, numbers

EXPERIMENT = "slotjax"
LONGEST = 500  # characters of a field's value
AT_ONCE = 100  # fields that MLflow takes in one go


class MLflow:
    """A run of MLflow; see `slotjax.training.loggers.base.Logger`."""

    name = "mlflow"

    def __init__(self):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        with extra("mlflow"):
            import mlflow  # ty: ignore[import-not-found]
        self.mlflow = mlflow

    def start(self, config: ConfigDict, workdir: Path, step: int) -> str:
        self.client = self.mlflow.MlflowClient()
        known = kept_id(workdir, self.name)
        try:
            run = self.client.get_run(known) if known else self._new(workdir)
        except self.mlflow.exceptions.MlflowException as error:
            raise UserError(
                f"--log mlflow: {first_line(error)}; set MLFLOW_TRACKING_URI to where the run was logged before, or "
                f"delete {workdir}/loggers.json for a new one"
            ) from None
        self.id = run.info.run_id
        keep_id(workdir, self.name, self.id)
        self.client.update_run(self.id, status="RUNNING")
        self._describe(config, run.data.params)
        return f"mlflow: run {self.id} at {self.mlflow.get_tracking_uri()}"

    def _new(self, workdir: Path) -> Any:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        return self.client.create_run(number, run_name=workdir.absolute().name)

    def _describe(self, config: ConfigDict, known: Mapping[str, str]) -> None:
        """The config's fields; of a run that goes on they are there already, and cannot be changed."""
        fields = {name: value[:LONGEST] for name, value in disk.flat(config.to_dict()).items() if name not in known}
        params = [self.mlflow.entities.Param(name, value) for name, value in fields.items()]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(self.id, params=params[first : first + AT_ONCE])

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        now, finite = int(1000 * time.time()), {k: v for k, v in numbers(figures).items() if math.isfinite(v)}
        metrics = [self.mlflow.entities.Metric(name, value, now, step) for name, value in finite.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def picture(self, step: int, path: Path) -> None:
        self.client.log_artifact(self.id, str(path), "pictures")

    def checkpoint(self, step: int, folder: Path) -> None:
        """A reference: the checkpoint stays where it is."""
        self.client.set_tag(self.id, "best_checkpoint", folder.absolute().as_uri())

    def close(self, finished: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")
