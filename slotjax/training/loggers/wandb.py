"""Weights & Biases: `--log wandb`.

Project, entity and mode are those of its own variables (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.errors import UserError, first_line
from slotjax.system.extras import extra
from slotjax.training.loggers.base import keep_id, kept_id, numbers

PROJECT = "slotjax"


class Wandb:
    """A run of W&B; see `slotjax.training.loggers.base.Logger`."""

    name = "wandb"

    def __init__(self):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        with extra("wandb"):
            import wandb  # ty: ignore[import-not-found]
        self.wandb, self.best = wandb, None

    def start(self, config: ConfigDict, workdir: Path, step: int) -> str:
        try:
            self.run = self.wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=workdir.absolute().name,
                id=kept_id(workdir, self.name),
                resume="allow",
                dir=str(workdir.absolute()),
                config=config.to_dict(),
                allow_val_change=True,
                settings=self.wandb.Settings(silent=True, console="off"),
            )
        except self.wandb.errors.UsageError as error:
            raise UserError(f"--log wandb: {first_line(error)}; wandb login, or WANDB_MODE=offline") from None
        keep_id(workdir, self.name, self.run.id)
        self.run.define_metric("*", step_metric="step")  # after a kill some steps come again: W&B's own count goes on
        return f"wandb: {self.run.dir if self.run.offline else self.run.url}"

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        self._refer()
        self.run.log({"step": step} | numbers(figures))

    def picture(self, step: int, path: Path) -> None:
        self.run.log({"step": step, "pictures": self.wandb.Image(str(path))})

    def checkpoint(self, step: int, folder: Path) -> None:
        self.best = step, folder

    def _refer(self) -> None:
        """Names the best checkpoint, which stays where it is, once it is all there."""
        if self.best and self.best[1].is_dir():
            step, folder = self.best
            artifact = self.wandb.Artifact(f"best-{self.run.id}", type="model", metadata={"step": step})
            artifact.add_reference(folder.absolute().as_uri(), name="best", checksum=False)
            self.run.log_artifact(artifact)
            self.best = None

    def close(self, finished: bool) -> None:
        self._refer()
        self.run.finish(exit_code=0 if finished else 1)
