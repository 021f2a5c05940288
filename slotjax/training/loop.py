"""The training loop: restore, step, log, evaluate, save, each once."""

import itertools
import json
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax import configuration
from slotjax.errors import RunFailed, RunStopped
from slotjax.system.compilation import CompileClock
from slotjax.training import nonfinite, processes
from slotjax.training.checkpoint import newest_common
from slotjax.training.evaluation import build_score, collect
from slotjax.training.interruption import Interruption
from slotjax.training.logging import Logger, Silence, duration
from slotjax.training.optimizer import learning_rate
from slotjax.training.run import Run, open_run
from slotjax.training.seed import Seed
from slotjax.training.side_by_side import batch_of, stack_states, state_of
from slotjax.training.state import TrainState

PATIENT_SECONDS = 3600  # on a CPU, a longer run than this deserves a hint


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains from the newest checkpoint in `workdir`, or from the start, to `config.train.num_steps`.

    Returns how many steps that took: 0 for a run that was finished before.

    Writes config.json, metrics.jsonl, tensorboard/, pictures/, checkpoints/ and best/ into `workdir`. Of several seeds
    (`config.train.num_seeds`) each has all of that in `workdir/seed_N`, as if it had been trained on its own.

    The first SIGINT, SIGTERM or SIGUSR1 ends it after the step at hand, saved; the same call goes on from there.

    Raises:
      UserError: the run cannot start. RunFailed: something is not finite, or cannot be written. RunStopped: a signal.
    """
    run = open_run(config, workdir)
    directories = [directory for _, directory in run.seeds if len(run.seeds) > 1]
    with processes.hold_together(workdir, *directories), Interruption() as interruption:
        try:
            with ExitStack() as stack:
                seeds = [Seed(run, *own) for own in run.seeds]
                for seed in seeds:
                    stack.enter_context(closing(seed.checkpoints))
                loop = Loop(run, seeds, interruption)
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

    def __init__(self, run: Run, seeds: list[Seed], interruption: Interruption):
        self.run_, self.config, self.seeds, self.interruption = run, run.config, seeds, interruption
        notices: list[str] = []
        found = newest_common([seed.checkpoints for seed in seeds], notices.append) or [None] * len(seeds)
        states = [seed.restored(own) for seed, own in zip(seeds, found, strict=True)]
        packed = [run.layout.pack(jax.device_get(state)) for state in states]
        self.state, self.start = run.parallel.replicate(stack_states(packed)), int(states[0].step)
        self.writes = processes.first()
        if self.writes:  # only from here on is anything written
            configuration.save(self.config, run.workdir / "config.json")
        for seed in seeds:
            seed.begin(self.start, notices.append)
        self.log = Logger(self.start, self.config.train.num_steps, len(seeds)) if self.writes else Silence()
        for seed in seeds:
            seed.log = self.log
        self.schedule = learning_rate(self.config.train, np)  # a question to the device would wait for the step it runs
        self.score = build_score(self.config, run.model, run.feed.num_true)
        self.told = False  # that one of several processes was asked to stop
        for notice in notices:
            self.log.say(f"warning: {notice}")

    def run(self) -> None:
        self.compiling = CompileClock()
        with ExitStack() as stack:
            for opened in (*self.seeds, self.log, self.compiling):
                stack.callback(opened.close)
            self._introduce()
            self._steps()

    def _steps(self) -> None:
        train = self.config.train
        step_function = self.run_.train_step()
        pending: tuple[int, dict, dict] | None = None
        self.pause, self.clock = 0.0, (time.perf_counter(), self.start)
        self.log.start_clock(self.start)
        if self.start and self._due(self.start, train.eval_every):
            self._evaluate(self.start)  # a signal may have come in between
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
                    self._save(step)
                self.pause += time.perf_counter() - pause_start
            if stop:
                self._stop(step)
        self._wait()
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

    def _states(self) -> list[TrainState]:
        """Each seed's state on the host."""
        return self._own(self.run_.layout.unpack(jax.tree.map(np.asarray, self.state)))

    def _own(self, tree: Any) -> list[Any]:
        """Each seed's part of a state, or of metrics, on the host."""
        host = jax.tree.map(np.asarray, tree)
        return [state_of(host, place, len(self.seeds)) for place in range(len(self.seeds))]

    def _read(self, step: int, metrics: dict[str, jax.Array], batch: dict[str, jax.Array]) -> None:
        """Takes one step's metrics from the device; sees to a step that was not finite."""
        figures = [{name: float(value) for name, value in own.items()} for own in self._own(metrics)]
        self.told |= max(own.pop("stop", 0) for own in figures) > 0
        broken = [nonfinite.broken(own) for own in figures]
        for seed, names in zip(self.seeds, broken, strict=True):
            seed.skipped = seed.skipped + 1 if names else 0
        if any(broken):
            self._not_finite(step, broken, batch)
        self.interruption.may_save = True
        self.log.advance(step)
        if step == self.start + 1:  # compiling is over
            self.log.say(str(self.compiling))
            self.clock, self.pause = (time.perf_counter(), step), 0.0
            self.log.start_clock(step)
        if step == self.start + 4 < self.config.train.num_steps:
            self._forecast(step)
        due = self._due(step, self.config.train.log_every)
        if due or any(broken):
            rate = self._images_per_second(step)
            more = {"learning_rate": float(np.asarray(self.schedule(step - 1))), "images_per_second": rate}
            for seed, own, names in zip(self.seeds, figures, broken, strict=True):
                if due or names:
                    shown = {name: None if name in names else value for name, value in own.items()}
                    seed.figures.write(step, shown | more | {"time": time.time()})
            self.log.show(step, float(np.mean([own["loss"] for own in figures])), rate * len(self.seeds))

    def _images_per_second(self, step: int) -> float:
        """Of each seed."""
        start, first = self.clock
        seconds = time.perf_counter() - start - self.pause
        self.clock, self.pause = (time.perf_counter(), step), 0.0
        return round((step - first) * self.config.train.batch_size / seconds, 2) if step > first else 0.0

    def _evaluate(self, step: int) -> None:
        """Scores the seeds that were not scored at this step yet."""
        run = self.run_
        for seed, state in zip(self.seeds, self._states(), strict=True):
            if step in seed.scored:
                continue
            params = jax.device_put(state.best_params, run.parallel.own_devices[0])
            # Of several processes each scores everything, so that all know which parameters are the best.
            batches = itertools.takewhile(lambda batch: processes.many() or not self._asked(), run.feed.eval_batches())
            figures = collect(self.score, params, batches)
            if self._asked():
                return  # half an evaluation is none; it is made up for when the run goes on
            seed.evaluated(step, run.task.summary(figures), state, params)

    def _not_finite(self, step: int, broken: list[list[str]], batch: dict[str, jax.Array]) -> None:
        """Has each seed that is concerned see to it."""
        rows = self.run_.parallel.gather(batch)
        for place, (seed, state) in enumerate(zip(self.seeds, self._states(), strict=True)):
            if broken[place]:
                seed.not_finite(step, broken[place], state.params, batch_of(rows, place, len(self.seeds)))

    def _save(self, step: int) -> None:
        for seed, state in zip(self.seeds, self._states(), strict=True):
            seed.checkpoints.save(step, state)

    def _wait(self) -> None:
        for seed in self.seeds:
            seed.checkpoints.wait()

    def _introduce(self) -> None:
        run, config = self.run_, self.config
        count, devices = run.layout.size, run.parallel.devices
        self.log.say(
            f"slotjax: {config.model.name}, {count:,} parameters, on {len(devices)} x {devices[0].device_kind}"
            + (f" of {jax.process_count()} processes" if processes.many() else "")
        )
        if len(self.seeds) > 1:
            first, last = self.seeds[0].config.seed, self.seeds[-1].config.seed
            self.log.say(f"{len(self.seeds)} seeds side by side, {first} to {last}, each in {run.workdir}/seed_N")
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

    def _stop(self, step: int) -> None:
        self._wait()
        why = self.interruption.asked or "another process was asked to stop"
        raise RunStopped(
            f"{why}: saved step {step} of {self.config.train.num_steps} in {self._where}/checkpoints; "
            "the same command goes on from there"
        )

    @property
    def _where(self) -> str:
        """The directories of the seeds."""
        return f"{self.run_.workdir}/seed_*" if len(self.seeds) > 1 else f"{self.run_.workdir}"

    def _conclude(self) -> None:
        workdir = self.run_.workdir
        if self.start >= self.config.train.num_steps:
            self.log.say(f"nothing to do: {workdir} is at step {self.start} of {self.config.train.num_steps}")
        else:
            self.log.say(
                f"wrote config.json, metrics.jsonl, checkpoints, pictures and TensorBoard events to {self._where}"
            )
        self.log.say("next: " + "\n      ".join(self._next()))

    def _next(self) -> list[str]:
        """What to run after training."""
        workdir, commands = self.run_.workdir, self.run_.task.NEXT
        if len(self.seeds) == 1:
            return [f"python -m {command.format(workdir=workdir)}" for command in commands]
        first = self.seeds[0].workdir
        return [
            f"for run in {self._where}; do python -m {commands[0].format(workdir='$run')}; done",
            *(f"python -m {command.format(workdir=first)}" for command in commands[1:]),
            f"python -m slotjax.report --workdir {self._where}",
        ]


def describe_data(config: ConfigDict) -> str:
    """Which pictures a run sees, in a few words."""
    data = config.data
    when = f"{data.pool:,} of them, rendered first" if data.get("pool", 0) else "rendered while training"
    where = f"{data.name} from {data.path}" if data.path else f"{data.name} scenes, {when}"
    if data.name == "clevr_tfds" and not data.path:
        where = "clevr_tfds from ~/tensorflow_datasets"
    options = json.dumps(dict(data.options)) if data.options else ""
    return f"{where} {options}".strip()
