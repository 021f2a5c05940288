"""The training loop: restore, step, log, evaluate, save, each once."""

import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from slotjax import configuration, pictures
from slotjax.errors import RunFailed
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.evaluation import build_score, collect
from slotjax.training.logging import Logger, duration, read_metrics
from slotjax.training.optimizer import learning_rate
from slotjax.training.rng import example_keys, stream_key
from slotjax.training.run import Run, initial_state, open_run

PATIENT_SECONDS = 3600  # on a CPU, a longer run than this deserves a hint


def train(config: ConfigDict, workdir: Path) -> int:
    """Trains from the newest checkpoint in `workdir`, or from the start, to `config.train.num_steps`.

    Returns how many steps that took: 0 for a run that was finished before.

    Writes config.json, metrics.jsonl, tensorboard/, pictures/, checkpoints/ and best/ into `workdir`.

    Raises:
      UserError: the run cannot start. RunFailed: the loss or a gradient is not finite.
    """
    run = open_run(config, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    configuration.save(config, workdir / "config.json")
    checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
    try:
        loop = Loop(run, checkpoints)
        loop.run()
    finally:
        checkpoints.close()
    return max(config.train.num_steps - loop.start, 0)


class Loop:
    """One run in progress."""

    def __init__(self, run: Run, checkpoints: Checkpoints):
        self.run_, self.config, self.checkpoints = run, run.config, checkpoints
        state = run.parallel.replicate(initial_state(self.config, run.model))
        if checkpoints.latest_step is not None:
            shardings = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
            state = checkpoints.restore(shardings)
        self.state, self.start = state, int(state.step)
        self.log = Logger(run.workdir, self.start, self.config.train.num_steps)
        self.schedule = learning_rate(self.config.train)
        self.best = self._best_so_far()
        self.score = build_score(self.config, run.model, run.feed.num_true)

    def run(self) -> None:
        self._introduce()
        try:
            self._steps()
        finally:
            self.log.close()

    def _steps(self) -> None:
        train = self.config.train
        step_function = self.run_.train_step()
        pending: tuple[int, dict] | None = None
        self.pause, self.clock = 0.0, (time.perf_counter(), self.start)
        self.log.start_clock(self.start)
        for step, batch in zip(
            range(self.start + 1, train.num_steps + 1),
            self.run_.feed.train_batches(self.run_.parallel, self.start),
            strict=False,
        ):
            self.state, metrics = step_function(self.state, batch)
            if pending:
                self._read(*pending)  # one step late, so that the device never waits for the host
            pending = (step, metrics)
            evaluate, save = (self._due(step, every) for every in (train.eval_every, train.checkpoint_every))
            if evaluate or save:
                self._read(*pending)
                pending, pause_start = None, time.perf_counter()
                if evaluate:
                    self._evaluate(step)
                if save:
                    self.checkpoints.save(step, self.state)
                self.pause += time.perf_counter() - pause_start
        self.checkpoints.wait()
        self._conclude()

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.train.num_steps

    def _read(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Takes one step's metrics from the device; stops the run if they are not finite."""
        figures = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not all(map(math.isfinite, figures.values())):
            self._fail(step, figures)
        self.log.advance(step)
        if step == self.start + 1:  # compiling is over
            self.clock, self.pause = (time.perf_counter(), step), 0.0
            self.log.start_clock(step)
        if step == self.start + 4 < self.config.train.num_steps:
            self._forecast(step)
        if self._due(step, self.config.train.log_every):
            rate = self._images_per_second(step)
            lr = float(np.asarray(self.schedule(step - 1)))
            self.log.write(step, figures | {"learning_rate": lr, "images_per_second": rate, "time": time.time()})
            self.log.show(step, figures["loss"], rate)

    def _images_per_second(self, step: int) -> float:
        start, first = self.clock
        seconds = time.perf_counter() - start - self.pause
        self.clock, self.pause = (time.perf_counter(), step), 0.0
        return round((step - first) * self.config.train.batch_size / seconds, 2) if step > first else 0.0

    def _evaluate(self, step: int) -> None:
        run, params = self.run_, self._single(self.state.best_params)
        summary = run.task.summary(collect(self.score, params, run.feed.eval_batches()))
        self.log.write(step, summary)
        # Those of attention would make the line too long; they are in metrics.jsonl.
        headline = {name: value for name, value in summary.items() if not name.startswith("attention_")}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in headline.items() if isinstance(value, float))
        self.log.say(f"step {step}  held-out: {shown}  ({summary['num_images']} images)")
        self._draw(step, params)
        if run.task.is_better(summary, self.best):
            self.best = summary | {"step": step}
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
        return jax.device_put(jax.tree.map(np.asarray, tree), self.run_.parallel.devices[0])

    def _best_so_far(self) -> dict[str, Any] | None:
        best = None
        for row in read_metrics(self.run_.workdir / "metrics.jsonl"):
            if row["step"] <= self.start and "num_images" in row and self.run_.task.is_better(row, best):
                best = row
        return best

    def _introduce(self) -> None:
        run, config = self.run_, self.config
        count = sum(x.size for x in jax.tree.leaves(self.state.params))
        devices = run.parallel.devices
        self.log.say(
            f"slotjax: {config.model.name}, {count:,} parameters, on {len(devices)} x {devices[0].device_kind}"
        )
        self.log.say(f"data: {describe_data(config)}; workdir: {run.workdir}")
        self.log.say(run.memory_note)
        if self.start:
            self.log.say(f"continuing after step {self.start}")
        if self.start < config.train.num_steps:
            self.log.say("compiling the first step ...")

    def _forecast(self, step: int) -> None:
        left = (self.config.train.num_steps - step) * self.log._seconds_per_step(step)
        self.log.say(f"at this pace the remaining {self.config.train.num_steps - step} steps take {duration(left)}")
        if self.run_.parallel.devices[0].platform == "cpu" and left > PATIENT_SECONDS:
            self.log.say("this is a CPU: python train.py --config configs/quick.py shows objects in minutes")

    def _fail(self, step: int, figures: dict[str, float]) -> None:
        self.checkpoints.wait()
        last = self.checkpoints.latest_step
        bad = ", ".join(name for name, value in figures.items() if not math.isfinite(value))
        kept = (
            "no checkpoint was saved"
            if last is None
            else f"the last good checkpoint is {self.run_.workdir}/checkpoints/{last}"
        )
        raise RunFailed(
            f"step {step}: {bad} is not finite; {kept}; try a lower train.learning_rate or train.clip_norm=1"
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
