"""Everything a run is made of, opened and checked before anything is compiled or written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax.errors import ScopeParamNotFoundError, ScopeParamShapeError
from ml_collections import ConfigDict

from slotjax.config import disk
from slotjax.config.backbone import identify
from slotjax.config.check import staged, validate
from slotjax.errors import UserError, first_line
from slotjax.losses import during
from slotjax.models import Model
from slotjax.models.build import noun_of
from slotjax.system.console import readable
from slotjax.system.rng import stream_key
from slotjax.tasks import TASKS, Task
from slotjax.training import memory, processes
from slotjax.training.cached import learner
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed
from slotjax.training.objective import Objective, build_objective
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel
from slotjax.training.restore import initial_state
from slotjax.training.step import Step, build_train_step
from slotjax.training.teacher import Teacher, open_teacher
from slotjax.training.vector import Layout

# Fields that may differ when a run is continued: they change how far and how often, not what was learned. Where the
# learning rate falls towards the last step, more steps raise it again.
MAY_CHANGE = (
    "train.num_steps", "train.micro_batches", "train.log_every", "train.eval_every", "train.checkpoint_every",
    "train.keep_checkpoints", "train.on_nonfinite", "eval.batch_size", "eval.pictures",
    "data.num_workers", "data.path", "data.feature_cache", "parallel", "cores", "mesh.data", "mesh.model",
    "model.remat", "model.backbone.weights",
)  # fmt: skip

FOLDERS = ("checkpoints", "best", "pictures", "tensorboard")  # that a run makes in its own


@dataclass
class Stage:
    """A part of a run with an objective of its own, up to and with step `until`."""

    until: int
    objective: Objective


@dataclass
class Run:
    """A training run, ready to go: see `open_run`.

    Attributes:
      layout: of the vectors that the step's states have in place of parameters.
      stages: one after another; a run without a curriculum has one.
      strange: whether the directory holds other things, and no run.
    """

    config: ConfigDict
    workdir: Path
    task: Task
    model: Model
    feed: SceneFeed | StoredFeed
    parallel: Parallel
    layout: Layout
    stages: list[Stage]
    micro_batches: int
    memory_note: str
    strange: bool = False
    teacher: Teacher | None = None

    def stage_at(self, step: int) -> int:
        """The number of the stage that makes step `step` (1 is the first)."""
        return next(i for i, stage in enumerate(self.stages) if step <= stage.until)

    def train_step(self, stage: int = 0) -> Callable:
        """The compiled step of a stage."""
        train = self.config.train
        step = Step(
            self.stages[stage].objective,
            build_optimizer(train, self.layout),
            stream_key(self.config.seed, "slots"),
            self.layout,
            train.ema_decay,
            train.on_nonfinite == "skip",
        )
        return build_train_step(step, self.parallel, self.micro_batches)


def open_run(config: ConfigDict, workdir: Path) -> Run:
    """Checks the config, the workdir, the devices and the data.

    Raises:
      UserError: anything that would fail later, before anything is compiled or written.

    What the file of a pretrained backbone says is filled into the config.
    """
    identify(config)  # first: a layer, say, may be one that only the file's network has
    validate(config)
    check_workdir(config, workdir)
    parallel = Parallel(config.parallel, config.train.batch_size, **config.mesh)
    feed = open_feed(config, cached=bool(config.data.feature_cache))
    teacher = open_teacher(config)
    model, stages = learner(config), open_stages(config, teacher)
    state = jax.eval_shape(lambda: initial_state(config, model))
    layout, state = Layout(state.params), teacher.beside(state) if teacher else state
    parts, note = fit(config, parallel, feed, [stage.objective for stage in stages], {**state.params, **state.frozen})
    strange = any(workdir.glob("[!.]*")) and not (workdir / "config.json").exists()
    task = TASKS[config.model.name]
    return Run(config, workdir, task, model, feed, parallel, layout, stages, parts, note, strange, teacher)


def open_stages(config: ConfigDict, teacher: Teacher | None = None) -> list[Stage]:
    """What is minimised when: `config.train.stages`, then the config itself.

    Raises:
      UserError: no loss weighs anything in one of them.
    """
    parts = [(stage["until"], staged(config, stage)) for stage in config.train.stages]
    stages, begin = [], 0
    for until, own in [*parts, (config.train.num_steps, config)]:
        weights = during(own.train.losses, begin, until - 1)  # nothing is asked of the model for those that weigh 0
        if not weights:
            raise UserError(f"train.losses: nothing to learn from step {begin + 1} to {until}; weigh one above 0")
        stages.append(Stage(until, build_objective(learner(own).in_training(), weights, teacher)))
        begin = until
    return stages


def fit(
    config: ConfigDict, parallel: Parallel, feed: SceneFeed | StoredFeed, objectives: list[Objective], params: Any
) -> tuple[int, str]:
    """In how many micro-batches the step fits, and what to say of memory."""
    example = {name: feed.lesson[name] for name in feed.fields}
    try:
        image_bytes = max(memory.bytes_per_image(objective, params, example) for objective in objectives)
    except (ScopeParamNotFoundError, ScopeParamShapeError) as error:
        raise UserError(f"train.stages: the config's own model lacks what a stage needs: {first_line(error)}") from None
    image_bytes //= parallel.model
    free = memory.free_bytes(parallel.own_devices[0])
    parts = memory.choose_micro_batches(config.train.micro_batches, parallel.per_share, image_bytes, free)
    parts = int(processes.everyones(parts).max())
    whole = readable(image_bytes * parallel.per_share)
    note = f"memory: about {whole} for {parallel.per_share} {noun_of(config.model)}s a device"
    if parallel.model > 1:
        note += f" ({parallel.model} devices share them)"
    if free is not None:
        note += f", {readable(free)} free"
    if parts > 1:
        note += f": {parts} micro-batches of {parallel.per_share // parts}, the same loss and gradients"
    return parts, note


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Refuses a workdir that holds another experiment, or no folder at all."""
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: is a file; name a directory")
    if files := [name for name in FOLDERS if (workdir / name).exists() and not (workdir / name).is_dir()]:
        raise UserError(f"--workdir {workdir}: {files[0]}, a file, is in the way; move it, or use another --workdir")
    path = workdir / "config.json"
    if path.exists():
        check_same_run(config, disk.load(path), workdir)


def check_same_run(config: ConfigDict, there: ConfigDict, workdir: Path) -> None:
    """Refuses a config under which the run that `there` describes would not go on as it began."""
    different = [
        line
        for line in disk.differences(config, there)
        if not line.startswith(tuple(f"{name}:" for name in MAY_CHANGE))
    ]
    if different:
        raise UserError(
            f"--workdir {workdir}: holds a run with another config ({'; '.join(different[:3])}; ours / there); "
            "use another --workdir, or the same config to continue it"
        )
