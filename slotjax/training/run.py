"""Everything a run is made of, opened and checked before anything is compiled or written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from slotjax import configuration
from slotjax.api import init
from slotjax.data.cache import say
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.tasks import TASKS
from slotjax.training import memory, processes
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel
from slotjax.training.rng import stream_key
from slotjax.training.state import TrainState, create_state
from slotjax.training.step import SeveralSteps, Step, build_train_step
from slotjax.training.vector import Layout
from slotjax.weights import check_parameters, flatten, load, unflatten

# Fields that may differ when a run is continued: they change how far and how often, not what is learned.
MAY_CHANGE = (
    "train.num_steps", "train.micro_batches", "train.log_every", "train.eval_every", "train.checkpoint_every",
    "train.keep_checkpoints", "train.on_nonfinite", "eval.batch_size", "eval.pictures",
    "data.num_workers", "data.path", "parallel", "cores", "model.decoder.remat",
)  # fmt: skip


@dataclass
class Run:
    """A training run, ready to go: see `open_run`.

    Attributes:
      layout: of the vectors that the step's states have in place of parameters.
      seeds: config and directory of each seed's own run; of a single one, those of this run.
    """

    config: ConfigDict
    workdir: Path
    task: Any
    model: nn.Module
    feed: SceneFeed | StoredFeed
    parallel: Parallel
    layout: Layout
    step: Step | SeveralSteps
    micro_batches: int
    memory_note: str
    seeds: list[tuple[ConfigDict, Path]]

    def train_step(self):
        return build_train_step(self.step, self.parallel, self.micro_batches)


def open_run(config: ConfigDict, workdir: Path) -> Run:
    """Checks the config, the workdir, the devices and the data.

    Raises:
      UserError: anything that would fail later, before anything is compiled or written.
    """
    configuration.validate(config)
    check_workdir(config, workdir)
    configs = configuration.of_each_seed(config)
    if len(configs) > 1 and processes.many():
        raise UserError(
            f"train.num_seeds={len(configs)}: several seeds take one process; leave out --distributed, or train them "
            "one by one (train.num_seeds=1)"
        )
    seeds = list(zip(configs, configuration.workdirs(config, workdir), strict=True))
    for own, directory in seeds:
        check_workdir(own, directory)
    parallel = Parallel(config.parallel, config.train.batch_size)
    feed = open_feed(config)
    model, task = build_model(config.model), TASKS[config.model.name]

    loss = task.build_loss(model, config.train)
    shapes = jax.eval_shape(lambda: initial_state(config, model).params)
    image_bytes = memory.bytes_per_image(loss, shapes, {name: feed.example[name] for name in task.FIELDS}) * len(seeds)
    free = memory.free_bytes(parallel.own_devices[0])
    fastest = memory.fastest_bytes(parallel.own_devices[0])
    parts = memory.choose_micro_batches(
        config.train.micro_batches, parallel.per_device, image_bytes, free, fastest, len(seeds)
    )
    parts = int(processes.everyones(parts).max())
    whole = memory.readable(image_bytes * parallel.per_device)
    note = f"memory: about {whole} for {parallel.per_device} images a device"
    if len(seeds) > 1:
        note += f", {len(seeds)} seeds"
    if free is not None:
        note += f", {memory.readable(free)} free"
    if parts > 1:
        note += f": {parts} micro-batches of {parallel.per_device // parts}, the same loss and gradients"
    layout = Layout(shapes)
    step = Step(
        layout.of_vectors(loss),
        build_optimizer(config.train),
        slots_key(config),
        config.train.ema_decay,
        config.train.on_nonfinite == "skip",
    )
    if len(seeds) > 1:
        step = SeveralSteps(step, jnp.stack([slots_key(own) for own in configs]))
    return Run(config, workdir, task, model, feed, parallel, layout, step, parts, note, seeds)


def slots_key(config: ConfigDict) -> jax.Array:
    """The key of the stream that draws one seed's slots while training."""
    return stream_key(config.seed, "slots")


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Refuses a workdir that holds another experiment, or no folder at all."""
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: is a file; name a directory")
    path = workdir / "config.json"
    if path.exists():
        check_same_run(config, configuration.load(path), workdir)


def check_same_run(config: ConfigDict, there: ConfigDict, workdir: Path) -> None:
    """Refuses a config under which the run that `there` describes would not go on as it began."""
    different = [
        line
        for line in configuration.differences(config, there)
        if not line.startswith(tuple(f"{name}:" for name in MAY_CHANGE))
    ]
    if different:
        raise UserError(
            f"--workdir {workdir}: holds a run with another config ({'; '.join(different[:3])}; ours / there); "
            "use another --workdir, or the same config to continue it"
        )


def initial_state(config: ConfigDict, model: nn.Module) -> TrainState:
    """The state before the first step, drawn from the seed."""
    images = jnp.zeros((1, *model.resolution, 3))
    params = init(model, stream_key(config.seed, "parameters"), images)
    return create_state(params, build_optimizer(config.train), config.train.ema_decay > 0)


def first_state(config: ConfigDict, model: nn.Module) -> TrainState:
    """The state before the first step: drawn from the seed, or with the parameters that `train.start_from` names.

    Layers that only `model` has are drawn from the seed, and the user is told.

    Raises:
      UserError: there are none of that name, or they are another model's.
    """
    state = initial_state(config, model)
    name = config.train.get("start_from")
    if not name:
        return state
    drawn = flatten(state.params)
    try:
        given = flatten(load(name)[1])
        params = unflatten(drawn | given)
    except ValueError as error:  # a UserError, or one name that is an array here and a branch there
        raise UserError(f"train.start_from={name}: {error}") from None
    try:
        check_parameters(model, params)
    except UserError as error:
        raise UserError(f"train.start_from={name}: {error}; it takes those of a model with the same layers") from None
    if lacking := sorted(drawn.keys() - given.keys()):
        say(f"note: train.start_from={name}: what it lacks is drawn from the seed: {', '.join(lacking)}")
    return create_state(jax.tree.map(jnp.asarray, params), build_optimizer(config.train), config.train.ema_decay > 0)


def restore_state(config: ConfigDict, workdir: Path, *, best: bool = False) -> tuple[nn.Module, TrainState]:
    """The model of a run and its newest (or best) state, on one device."""
    model = build_model(config.model)
    target = jax.eval_shape(lambda: initial_state(config, model))
    checkpoints = Checkpoints(workdir)
    try:
        state = checkpoints.restore(target, best=best)
    finally:
        checkpoints.close()
    return model, jax.device_put(state, jax.local_devices()[0])
