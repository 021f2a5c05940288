"""What belongs to one seed of a run, and lies in its directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from slotjax import configuration
from slotjax.drawing import slots as pictures
from slotjax.errors import RunFailed
from slotjax.training import nonfinite, processes
from slotjax.training.checkpoint import Checkpoints, Intact
from slotjax.training.logging import Figures, Logger, Silence, read_metrics
from slotjax.training.rng import example_keys, stream_key
from slotjax.training.run import Run, check_same_run, first_state, initial_state, slots_key
from slotjax.training.state import TrainState

MOST_SKIPPED = 100  # steps in a row that were not finite; more of them will not help


class Seed:
    """One seed in training: its figures, checkpoints and pictures. Of a single seed, all of the run.

    Its states are host arrays of this seed alone.

    Args:
      run: all seeds'; config and workdir are this one's.
    """

    def __init__(self, run: Run, config: ConfigDict, workdir: Path):
        self.run, self.config, self.workdir = run, config, workdir
        self.name = f"seed {config.seed}  " if len(run.seeds) > 1 else ""  # what its lines begin with
        # Several keep one more: whatever the moment of a kill, there is a step that all of them have.
        keep = config.train.keep_checkpoints + (len(run.seeds) > 1)
        self.checkpoints = Checkpoints(workdir, config.to_dict(), keep)
        self.writes = processes.first()
        self.skipped = 0  # steps in a row
        self.log: Logger | Silence = Silence()

    def restored(self, found: Intact | None) -> TrainState:
        """The state of a checkpoint, or the one before the first step."""
        if found is None:
            return first_state(self.config, self.run.model)
        if found.config is not None:
            check_same_run(self.config, configuration.completed(ConfigDict(found.config)), self.workdir)
        return self.checkpoints.read(found, initial_state(self.config, self.run.model))

    def begin(self, start: int, notice: Callable[[str], None]) -> None:
        """Goes on after step `start`; only from here on is anything written. `notice` is told of what was damaged."""
        if self.writes:
            self.checkpoints.clear_leftovers()
            configuration.save(self.config, self.workdir / "config.json")
            if len(self.run.seeds) > 1:
                self.checkpoints.forget_after(start)
        rows = [row for row in read_metrics(self.workdir / "metrics.jsonl") if row["step"] <= start]
        evaluations = [row for row in rows if "num_images" in row]
        self.scored = {row["step"] for row in evaluations}
        self.best: dict[str, Any] | None = None
        for row in evaluations:
            if self.run.task.is_better(row, self.best):
                self.best = row
        self.figures = Figures(self.workdir, start, notice) if self.writes else Silence()

    def say(self, text: str) -> None:
        self.log.say(self.name + text)

    def evaluated(self, step: int, summary: dict[str, Any], state: TrainState, params: Any) -> None:
        """Writes an evaluation down, draws its pictures, and keeps the parameters if none were better."""
        self.figures.write(step, summary)
        # Those of attention and of slots would make the line too long; they are in metrics.jsonl.
        headline = {name: value for name, value in summary.items() if not name.startswith(("attention_", "slot_"))}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in headline.items() if isinstance(value, float))
        self.say(f"step {step}  held-out: {shown}  ({summary['num_images']} images)")
        if collapsed := self.run.task.collapse(summary):
            self.say(f"step {step}  so far {collapsed}")
        if self.writes:
            self._draw(step, params)
        if self.run.task.is_better(summary, self.best):
            self.best = summary | {"step": step}
            if self.writes:
                self.checkpoints.save_best(step, state)

    def not_finite(self, step: int, broken: list[str], params: Any, batch: dict[str, Any]) -> None:
        """Writes down what the step started from; says so and goes on, or stops the run, as the config has it.

        Args:
          broken: names of the figures that are not finite.
          params, batch: this seed's, on the host.
        """
        keys = example_keys(slots_key(self.config), step - 1, batch["index"])
        path = nonfinite.dump(self.workdir, self.config, step, params, batch, keys)
        where = f"; python -m slotjax.replay {path} shows that step" if path else ""
        happened = f"{self.name}step {step}: {', '.join(broken)} not finite"
        if self.config.train.on_nonfinite == "skip" and self.skipped < MOST_SKIPPED:
            self.log.say(f"{happened}: left out{where}")
            return
        self.checkpoints.wait()
        last = self.checkpoints.latest_step
        kept = (
            "no checkpoint was saved"
            if last is None
            else f"the last good checkpoint is {self.workdir}/checkpoints/{last}"
        )
        many = f" for the {MOST_SKIPPED}th time in a row" if self.skipped >= MOST_SKIPPED else ""
        raise RunFailed(
            f"{happened}{many}; {kept}{where}; try a lower train.learning_rate, train.clip_norm=1 or, "
            "where single batches are to blame, train.on_nonfinite=skip"
        )

    def close(self) -> None:
        self.figures.close()

    def _draw(self, step: int, params: Any) -> None:
        run, count = self.run, self.config.eval.pictures
        batch = next(iter(run.feed.eval_batches()))
        batch = jax.tree.map(lambda x: x[:count], {name: batch[name] for name in batch if name != "valid"})
        keys = example_keys(stream_key(configuration.EVAL_SEED, "evaluation slots"), 0, batch["index"])
        pictures.save(
            run.task.pictures(run.model, params, batch, keys), self.workdir / "pictures" / f"step_{step:07d}.png"
        )
