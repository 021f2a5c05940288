"""The training loop: restore, step, log, evaluate, save, each once."""

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax.config import disk
from slotjax.errors import RunFailed, RunStopped
from slotjax.system.console import command, duration
from slotjax.training import processes
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.evaluation import Evaluator
from slotjax.training.interruption import Interruption
from slotjax.training.loggers.base import Logger, Loggers
from slotjax.training.metrics_log import MetricsLog, read_metrics
from slotjax.training.optimizer import learning_rate
from slotjax.training.progress import Progress, Silence
from slotjax.training.restore import first_state, initial_state, saved
from slotjax.training.run import Run, check_same_run, open_run
from slotjax.training.state import TrainState

PATIENT_SECONDS = 3600  # on a CPU, a longer run than this deserves a hint
MOST_SKIPPED = 100  # steps in a row that were not finite; more of them will not help


def train(config: ConfigDict, workdir: Path, loggers: Sequence[Logger] = ()) -> int:
    """Trains from the newest checkpoint in `workdir`, or from the start, to `config.train.num_steps`.

    `loggers` are told how it goes on. Returns how many steps that took: 0 for a run that was finished before.

    Writes config.json, metrics.jsonl, tensorboard/, pictures/, checkpoints/ and best/ into `workdir`.

    The first SIGINT, SIGTERM or SIGUSR1 ends it after the step at hand, saved; the same call goes on from there.

    Raises:
      UserError: the run cannot start. RunFailed: something is not finite, or cannot be written. RunStopped: a signal.
    """
    run = open_run(config, workdir)
    run.feed.prepare()
    with processes.hold_together(workdir), Interruption() as interruption:
        checkpoints = Checkpoints(workdir, config.to_dict(), config.train.keep_checkpoints)
        try:
            with closing(checkpoints):
                loop = Loop(run, checkpoints, interruption, loggers)
                loop.run()
        except OSError as error:  # the disk is full, or gone
            raise RunFailed(
                f"{error.filename or workdir}: cannot be written ({error.strerror}); mend that, then start the same "
                "command again: it goes on from the newest checkpoint"
            ) from error
        except jax.errors.JaxRuntimeError as error:
            if processes.many():
                raise processes.lost(error) from error
            raise
    return max(config.train.num_steps - loop.start, 0)


class Loop:
    """One run in progress."""

    def __init__(self, run: Run, checkpoints: Checkpoints, interruption: Interruption, loggers: Sequence[Logger] = ()):
        self.run_, self.config, self.checkpoints, self.interruption = run, run.config, checkpoints, interruption
        state = self._restored()
        self.start = self.step = int(state.step)
        state = run.layout.pack(jax.device_get(state))
        self.state = run.parallel.replicate(run.teacher.beside(state) if run.teacher else state)
        self.writes = processes.first()
        if self.writes:  # only from here on is anything written
            checkpoints.clear_leftovers()
            disk.save(self.config, run.workdir / "config.json")
        rows = [row for row in read_metrics(run.workdir / "metrics.jsonl") if row["step"] <= self.start]
        self.metrics = MetricsLog(run.workdir, self.start) if self.writes else Silence()
        self.progress = Progress(self.start, self.config.train.num_steps, run.model.noun) if self.writes else Silence()
        self.loggers = Loggers(loggers, self.progress.say) if self.writes else Silence()
        self.evaluator = Evaluator(run, rows)
        self.schedule = learning_rate(self.config.train, np)  # a question to the device would wait for its step
        self.skipped = 0  # steps in a row
        self.told = False  # that one of several processes was asked to stop

    def _restored(self) -> TrainState:
        """The state of the newest intact checkpoint, or the one before the first step."""
        found = self.checkpoints.newest_intact()
        if found is None:
            return first_state(self.config, self.run_.model)
        state = initial_state(self.config, self.run_.model)
        check_same_run(self.config, disk.from_fields(found.config), self.run_.workdir)
        return replace(self.checkpoints.read(found, saved(state)), frozen=state.frozen)

    def run(self) -> None:
        with ExitStack() as stack:
            for opened in (self.metrics, self.progress):
                stack.callback(opened.close)
            self._introduce()
            if self.start < self.config.train.num_steps or self.start not in self.evaluator.scored:
                stack.callback(self._farewell)
                self.loggers.start(self.config, self.run_.workdir, self.start)
            self._steps()

    def _farewell(self) -> None:
        self.loggers.close(self.step == self.config.train.num_steps)

    def _steps(self) -> None:
        train, run, stage = self.config.train, self.run_, None
        pending: tuple[int, dict] | None = None
        self.pause, self.clock = 0.0, (time.perf_counter(), self.start)
        self.progress.start_clock(self.start)
        if not self.start:
            self._draw(0, self._evaluated())  # before anything is learned
        elif self._due(self.start, train.eval_every):
            self._evaluate(self.start)  # a signal may have come in between
        batches = run.feed.train_batches(run.parallel, self.start, self.progress.rendered)
        for step, batch in zip(range(self.start + 1, train.num_steps + 1), batches, strict=False):
            if stage != (stage := run.stage_at(step)):
                step_function = self._begin(stage, step)
            self.state, metrics = step_function(self.state, self._with_request(batch))
            if pending:
                self._read(*pending)  # one step late, so that the device never waits for the host
            pending = (step, metrics)
            evaluate, save = (self._due(step, every) for every in (train.eval_every, train.checkpoint_every))
            stop = self._asked()
            if evaluate or save or stop or train.on_nonfinite == "skip":
                self._read(*pending)
                pending, pause_start = None, time.perf_counter()
                if evaluate and not stop:
                    self._evaluate(step)
                stop = self._asked()  # it may have come in the meantime
                if (save or stop) and self.writes:
                    self.checkpoints.save(step, self._state())
                self.pause += time.perf_counter() - pause_start
            if stop:
                self._stop(step)
        self.checkpoints.wait()
        self._conclude()

    def _begin(self, stage: int, step: int) -> Any:
        """The step of a stage; a new one, in the middle of a run, is said."""
        if step > self.start + 1:
            changed = self.config.train.stages[stage - 1]
            names = [name for name in changed if name != "until"]
            now = ", ".join(f"{name}={self._now(stage, name)}" for name in names)
            self.progress.say(f"step {step}  from here on {now}")
        return self.run_.train_step(stage)

    def _now(self, stage: int, name: str) -> Any:
        """What a field of the model is in a stage."""
        stages = self.config.train.stages
        own = stages[stage] if stage < len(stages) else {}
        return own.get(name, self.config.model[name.removeprefix("model.")])

    def _asked(self) -> bool:
        """Whether to stop; for several processes, what all of them know."""
        return self.told if processes.many() else self.interruption.asked is not None

    def _with_request(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """The batch; of several processes each puts into its rows whether it was asked to stop."""
        if not processes.many():
            return batch
        parallel, asked = self.run_.parallel, float(self.interruption.asked is not None)
        rows = np.full(parallel.rows.stop - parallel.rows.start, asked, np.float32)
        return batch | {"stop": parallel.shard(rows)}

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.train.num_steps

    def _state(self) -> TrainState:
        """The state on the host, as trees."""
        return saved(self.run_.layout.unpack(jax.tree.map(np.asarray, self.state)))

    def _read(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Takes one step's metrics from the device; sees to a step that was not finite."""
        figures = {name: float(value) for name, value in metrics.items()}
        self.told |= figures.pop("stop", 0) > 0
        broken = [name for name, value in figures.items() if not math.isfinite(value)]
        self.skipped = self.skipped + 1 if broken else 0
        if broken:
            self._not_finite(step, broken)
        self.interruption.may_save = True
        self.step = step
        self.progress.advance(step)
        if step == self.start + 1:  # compiling is over
            self.clock, self.pause = (time.perf_counter(), step), 0.0
            self.progress.start_clock(step)
        if step == self.start + 4 < self.config.train.num_steps:
            self._forecast(step)
        if self._due(step, self.config.train.log_every) or broken:
            rate = self._images_per_second(step)
            more = {"learning_rate": float(np.asarray(self.schedule(step - 1))), "images_per_second": rate}
            shown = {name: None if name in broken else value for name, value in figures.items()}
            self._write(step, shown | more | {"time": time.time()})
            self.progress.show(step, figures["loss"], rate)

    def _images_per_second(self, step: int) -> float:
        start, first = self.clock
        seconds = time.perf_counter() - start - self.pause
        self.clock, self.pause = (time.perf_counter(), step), 0.0
        return round((step - first) * self.config.train.batch_size / seconds, 2) if step > first else 0.0

    def _evaluate(self, step: int) -> None:
        """Scores a step that was not scored yet; writes it down, draws it, and keeps it if none was better."""
        if step in self.evaluator.scored:
            return
        state = self._evaluated()
        summary = self.evaluator.evaluate(state, self._asked)
        if summary is None:
            return  # it is made up for when the run goes on
        self._write(step, summary)
        headline = {name: summary.get(name) for name in self.run_.task.HEADLINES}  # the others are in metrics.jsonl
        shown = [f"{name} {value:.4f}" for name, value in headline.items() if isinstance(value, float)]
        self.progress.say(
            f"step {step}  held-out: {'  '.join(shown)}  ({summary['num_images']} {self.run_.model.noun}s)"
        )
        self.progress.evaluated(shown[0] if shown else "")
        if collapsed := self.run_.task.collapse(summary):
            self.progress.say(f"step {step}  so far {collapsed}")
        if self.evaluator.improves(step, summary) and self.writes:
            self.loggers.checkpoint(step, self.checkpoints.save_best(step, saved(state)))
        self._draw(step, state)

    def _evaluated(self) -> TrainState:
        """The state on the host, with the frozen parameters."""
        return replace(self._state(), frozen=jax.tree.map(np.asarray, self.state.frozen))

    def _draw(self, step: int, state: TrainState) -> None:
        if self.writes:
            self.loggers.picture(step, self.evaluator.draw(step, state))

    def _write(self, step: int, figures: dict[str, Any]) -> None:
        self.metrics.write(step, figures)
        self.loggers.figures(step, figures)

    def _not_finite(self, step: int, broken: list[str]) -> None:
        """Says so and goes on, or stops the run, as the config has it."""
        happened = f"step {step}: {', '.join(broken)} not finite"
        if self.config.train.on_nonfinite == "skip" and self.skipped < MOST_SKIPPED:
            self.progress.say(f"{happened}: left out")
            return
        self.checkpoints.wait()
        last = self.checkpoints.latest_step
        where = f"the last good checkpoint is {self.run_.workdir}/checkpoints/{last}"
        kept = "no checkpoint was saved" if last is None else where
        many = f" for the {MOST_SKIPPED}th time in a row" if self.skipped >= MOST_SKIPPED else ""
        raise RunFailed(
            f"{happened}{many}; {kept}; try a lower train.learning_rate, train.clip_norm=1 or, "
            "where single batches are to blame, train.on_nonfinite=skip"
        )

    def _introduce(self) -> None:
        run, config = self.run_, self.config
        count, devices = run.layout.size, run.parallel.devices
        self.progress.say(
            f"slotjax: {config.model.name}, {count:,} parameters, on {len(devices)} x {devices[0].device_kind}"
            + (f" of {jax.process_count()} processes" if processes.many() else "")
        )
        self.progress.say(f"data: {describe_data(config)}; workdir: {run.workdir}")
        self.progress.say(run.memory_note)
        if run.strange:
            self.progress.say(f"note: {run.workdir} is no run's directory: what is there stays, and the run joins it")
        if self.start:
            self.progress.say(f"continuing after step {self.start}")
        if self.start < config.train.num_steps:
            first = f"rendering {config.data.pool:,} scenes, then " if config.data.pool else ""
            self.progress.say(f"{first}compiling the first step ...")

    def _forecast(self, step: int) -> None:
        left = self.progress.seconds_left(step) if self.writes else 0
        if not round(left):
            return
        self.progress.say(
            f"at this pace the remaining {self.config.train.num_steps - step} steps take {duration(left)}"
        )
        if self.run_.parallel.own_devices[0].platform == "cpu" and left > PATIENT_SECONDS:
            self.progress.say("this is a CPU: python train.py --config configs/quick.py shows objects in minutes")

    def _stop(self, step: int) -> None:
        self.checkpoints.wait()
        why = self.interruption.asked or "another process was asked to stop"
        raise RunStopped(
            f"{why}: saved step {step} of {self.config.train.num_steps} in {self.run_.workdir}/checkpoints; "
            "the same command goes on from there"
        )

    def _conclude(self) -> None:
        workdir = self.run_.workdir
        if self.start >= self.config.train.num_steps:
            self.progress.say(f"nothing to do: {workdir} is at step {self.start} of {self.config.train.num_steps}")
        else:
            self.progress.say(
                f"wrote config.json, metrics.jsonl, checkpoints, pictures and TensorBoard events to {workdir}"
            )
        values = {"workdir": workdir, "example": self.run_.model.noun.upper()}
        following = [command(text, **values) for text in self.run_.task.NEXT]
        self.progress.say("next: " + "\n      ".join(following))


def describe_data(config: ConfigDict) -> str:
    """Which pictures a run sees, in a few words."""
    data = config.data
    when = f"{data.pool:,} of them, rendered first" if data.pool else "rendered while training"
    where = f"{data.name} from {data.path}" if data.path else f"{data.name} scenes, {when}"
    if data.name == "clevr_tfds" and not data.path:
        where = "clevr_tfds from ~/tensorflow_datasets"
    options = json.dumps(dict(data.options)) if data.options else ""
    return f"{where} {options}".strip()
