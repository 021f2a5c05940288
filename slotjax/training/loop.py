"""The training loop: restore, step, log, evaluate, save, each once."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax import configuration, pictures
from slotjax.errors import RunFailed, RunStopped
from slotjax.training import nonfinite, processes
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.evaluation import build_score, collect
from slotjax.training.interruption import Interruption
from slotjax.training.logging import Logger, Silence, duration, read_metrics
from slotjax.training.optimizer import learning_rate
from slotjax.training.rng import example_keys, stream_key
from slotjax.training.run import Run, check_same_run, initial_state, open_run

PATIENT_SECONDS = 3600  # on a CPU, a longer run than this deserves a hint
MOST_SKIPPED = 100  # steps in a row that were not finite; more of them will not help


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains from the newest checkpoint in `workdir`, or from the start, to `config.train.num_steps`.

    Returns how many steps that took: 0 for a run that was finished before.

    Writes config.json, metrics.jsonl, tensorboard/, pictures/, checkpoints/ and best/ into `workdir`.

    The first SIGINT, SIGTERM or SIGUSR1 ends it after the step at hand, saved; the same call goes on from there.

    Raises:
      UserError: the run cannot start. RunFailed: something is not finite, or cannot be written. RunStopped: a signal.
    """
    run = open_run(config, workdir)
    with processes.hold_together(workdir), Interruption() as interruption:
        checkpoints = Checkpoints(workdir, config.to_dict(), config.train.keep_checkpoints)
        try:
            loop = Loop(run, checkpoints, interruption)
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
        finally:
            checkpoints.close()
    return max(config.train.num_steps - loop.start, 0)


class Loop:
    """One run in progress."""

    def __init__(self, run: Run, checkpoints: Checkpoints, interruption: Interruption):
        self.run_, self.config, self.checkpoints, self.interruption = run, run.config, checkpoints, interruption
        notices: list[str] = []
        found = checkpoints.newest_intact(notices.append)
        state = initial_state(self.config, run.model)
        if found is not None:
            if found.config is not None:
                there = configuration.completed(ConfigDict(found.config))
                check_same_run(self.config, there, run.workdir)
            state = checkpoints.read(found, state)
        self.state, self.start = run.parallel.replicate(state), int(state.step)
        self.writes = processes.first()
        if self.writes:  # only from here on is anything written
            checkpoints.clear_leftovers()
            configuration.save(self.config, run.workdir / "config.json")
        self.best = self._best_so_far()
        self.scored = {row["step"] for row in self._rows() if "num_images" in row}
        self.log = Logger(run.workdir, self.start, self.config.train.num_steps) if self.writes else Silence()
        self.schedule = learning_rate(self.config.train)
        self.score = build_score(self.config, run.model, run.feed.num_true)
        self.skipped = 0  # steps in a row
        self.told = False  # that one of several processes was asked to stop
        for notice in notices:
            self.log.say(f"warning: {notice}")

    def run(self) -> None:
        self._introduce()
        try:
            self._steps()
        finally:
            self.log.close()

    def _steps(self) -> None:
        train = self.config.train
        step_function = self.run_.train_step()
        pending: tuple[int, dict, dict] | None = None
        self.pause, self.clock = 0.0, (time.perf_counter(), self.start)
        self.log.start_clock(self.start)
        if self.start and self._due(self.start, train.eval_every) and self.start not in self.scored:
            self._evaluate(self.start)  # a signal came in between
        for step, batch in zip(
            range(self.start + 1, train.num_steps + 1),
            self.run_.feed.train_batches(self.run_.parallel, self.start),
            strict=False,
        ):
            self.state, metrics = step_function(self.state, self._with_request(batch))
            if pending:
                self._read(*pending)  # one step late, so that the device never waits for the host
            pending = (step, metrics, batch)
            evaluate, save = (self._due(step, every) for every in (train.eval_every, train.checkpoint_every))
            stop = self._asked()
            if evaluate or save or stop or train.on_nonfinite == "skip":
                self._read(*pending)
                pending, pause_start = None, time.perf_counter()
                if evaluate and not stop:
                    self._evaluate(step)
                stop = self._asked()  # it may have come in the meantime
                if (save or stop) and self.writes:
                    self.checkpoints.save(step, self.state)
                self.pause += time.perf_counter() - pause_start
            if stop:
                self._stop(step)
        self.checkpoints.wait()
        self._conclude()

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

    def _read(self, step: int, metrics: dict[str, jax.Array], batch: dict[str, jax.Array]) -> None:
        """Takes one step's metrics from the device; sees to a step that was not finite."""
        figures = {name: float(np.asarray(value)) for name, value in metrics.items()}
        self.told |= figures.pop("stop", 0) > 0
        broken = nonfinite.broken(figures)
        self.skipped = self.skipped + 1 if broken else 0
        if broken:
            self._not_finite(step, broken, batch)
        self.interruption.may_save = True
        self.log.advance(step)
        if step == self.start + 1:  # compiling is over
            self.clock, self.pause = (time.perf_counter(), step), 0.0
            self.log.start_clock(step)
        if step == self.start + 4 < self.config.train.num_steps:
            self._forecast(step)
        if broken or self._due(step, self.config.train.log_every):
            rate = self._images_per_second(step)
            lr = float(np.asarray(self.schedule(step - 1)))
            shown = {name: None if name in broken else value for name, value in figures.items()}
            self.log.write(step, shown | {"learning_rate": lr, "images_per_second": rate, "time": time.time()})
            self.log.show(step, figures["loss"], rate)

    def _images_per_second(self, step: int) -> float:
        start, first = self.clock
        seconds = time.perf_counter() - start - self.pause
        self.clock, self.pause = (time.perf_counter(), step), 0.0
        return round((step - first) * self.config.train.batch_size / seconds, 2) if step > first else 0.0

    def _evaluate(self, step: int) -> None:
        run, params = self.run_, self._single(self.state.best_params)
        # Of several processes each scores everything, so that all know which parameters are the best.
        batches = itertools.takewhile(lambda batch: processes.many() or not self._asked(), run.feed.eval_batches())
        figures = collect(self.score, params, batches)
        if self._asked():
            return  # half an evaluation is none; it is made up for when the run goes on
        summary = run.task.summary(figures)
        self.log.write(step, summary)
        # Those of attention and of slots would make the line too long; they are in metrics.jsonl.
        headline = {name: value for name, value in summary.items() if not name.startswith(("attention_", "slot_"))}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in headline.items() if isinstance(value, float))
        self.log.say(f"step {step}  held-out: {shown}  ({summary['num_images']} images)")
        if collapsed := run.task.collapse(summary):
            self.log.say(f"step {step}  so far {collapsed}")
        if self.writes:
            self._draw(step, params)
        if run.task.is_better(summary, self.best):
            self.best = summary | {"step": step}
            if self.writes:
                self.checkpoints.save_best(step, self.state)

    def _draw(self, step: int, params: Any) -> None:
        run, count = self.run_, self.config.eval.pictures
        batch = next(iter(run.feed.eval_batches()))
        batch = jax.tree.map(lambda x: x[:count], {name: batch[name] for name in batch if name != "valid"})
        keys = example_keys(stream_key(configuration.EVAL_SEED, "evaluation slots"), 0, batch["index"])
        pictures.save(
            run.task.pictures(run.model, params, batch, keys), run.workdir / "pictures" / f"step_{step:07d}.png"
        )

    def _single(self, tree: Any) -> Any:
        """Replicated parameters as one device's."""
        return jax.device_put(jax.tree.map(np.asarray, tree), self.run_.parallel.own_devices[0])

    def _best_so_far(self) -> dict[str, Any] | None:
        best = None
        for row in self._rows():
            if "num_images" in row and self.run_.task.is_better(row, best):
                best = row
        return best

    def _rows(self) -> list[dict[str, Any]]:
        """What was logged up to the step that the run goes on from."""
        return [row for row in read_metrics(self.run_.workdir / "metrics.jsonl") if row["step"] <= self.start]

    def _introduce(self) -> None:
        run, config = self.run_, self.config
        count = sum(x.size for x in jax.tree.leaves(self.state.params))
        devices = run.parallel.devices
        self.log.say(
            f"slotjax: {config.model.name}, {count:,} parameters, on {len(devices)} x {devices[0].device_kind}"
            + (f" of {jax.process_count()} processes" if processes.many() else "")
        )
        self.log.say(f"data: {describe_data(config)}; workdir: {run.workdir}")
        self.log.say(run.memory_note)
        if self.start:
            self.log.say(f"continuing after step {self.start}")
        if self.start < config.train.num_steps:
            self.log.say("compiling the first step ...")

    def _forecast(self, step: int) -> None:
        if not self.writes:
            return
        left = (self.config.train.num_steps - step) * self.log._seconds_per_step(step)
        self.log.say(f"at this pace the remaining {self.config.train.num_steps - step} steps take {duration(left)}")
        if self.run_.parallel.own_devices[0].platform == "cpu" and left > PATIENT_SECONDS:
            self.log.say("this is a CPU: python train.py --config configs/quick.py shows objects in minutes")

    def _not_finite(self, step: int, broken: list[str], batch: dict[str, jax.Array]) -> None:
        """Writes down what the step started from; says so and goes on, or stops the run, as the config has it."""
        batch = self.run_.parallel.gather(batch)
        keys = example_keys(self.run_.step.key, step - 1, batch["index"])
        path = nonfinite.dump(self.run_.workdir, self.config, step, self._single(self.state.params), batch, keys)
        where = f"; python -m slotjax.replay {path} shows that step" if path else ""
        happened = f"step {step}: {', '.join(broken)} not finite"
        if self.config.train.on_nonfinite == "skip" and self.skipped < MOST_SKIPPED:
            self.log.say(f"{happened}: left out{where}")
            return
        self.checkpoints.wait()
        last = self.checkpoints.latest_step
        kept = (
            "no checkpoint was saved"
            if last is None
            else f"the last good checkpoint is {self.run_.workdir}/checkpoints/{last}"
        )
        many = f" for the {MOST_SKIPPED}th time in a row" if self.skipped >= MOST_SKIPPED else ""
        raise RunFailed(
            f"{happened}{many}; {kept}{where}; try a lower train.learning_rate, train.clip_norm=1 or, "
            "where single batches are to blame, train.on_nonfinite=skip"
        )

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
            self.log.say(f"nothing to do: {workdir} is at step {self.start} of {self.config.train.num_steps}")
        else:
            self.log.say(f"wrote config.json, metrics.jsonl, checkpoints, pictures and TensorBoard events to {workdir}")
        self.log.say("next: " + "\n      ".join(f"python -m {x.format(workdir=workdir)}" for x in self.run_.task.NEXT))


def describe_data(config: ConfigDict) -> str:
    """Which pictures a run sees, in a few words."""
    data = config.data
    when = f"{data.pool:,} of them, rendered first" if data.get("pool", 0) else "rendered while training"
    where = f"{data.name} from {data.path}" if data.path else f"{data.name} scenes, {when}"
    if data.name == "clevr_tfds" and not data.path:
        where = "clevr_tfds from ~/tensorflow_datasets"
    options = json.dumps(dict(data.options)) if data.options else ""
    return f"{where} {options}".strip()
