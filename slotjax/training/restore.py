"""Trained models: from a run's checkpoints, a file of weights, or weights that come with the library."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from slotjax import weights
from slotjax.api import init
from slotjax.config import disk
from slotjax.config.check import validate
from slotjax.config.schema import defaults
from slotjax.errors import UserError
from slotjax.models import Model, build_model
from slotjax.models.build import fields_of
from slotjax.nn.fields import choose
from slotjax.system.console import say
from slotjax.system.paths import given
from slotjax.system.rng import stream_key
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.optimizer import build_optimizer
from slotjax.training.state import TrainState, create_state


def load(name: str | Path, *, backbone: str | Path | None = None) -> tuple[Model, Any]:
    """The model and the parameters of a training run or of a weights file.

    Args:
      name: a run's directory, such as "runs/clevr" (its best checkpoint, or the newest where none was evaluated); a
        file of `slotjax pack` or `slotjax.save`, such as "clevr.safetensors"; or the name of packaged weights, such as
        "quick".
      backbone: where the weights of its pretrained backbone are now, if it has one and they have moved.

    Returns:
      (model, params), for `slotjax.apply`.

    Raises:
      UserError: nothing of that name, no checkpoint in it, a damaged file, or a backbone's weights that are not there.
    """
    path = given(name, "name")
    if path.is_dir():
        return load_run(path, backbone)
    return weights.load(weights.find(name), backbone)


def save(path: str | Path, model: Model, params: Any, *, data: Mapping[str, Any] | None = None) -> Path:
    """Writes a model and its parameters as one file of weights, as the end of a training loop of one's own.

    `slotjax.load`, `train.start_from` and `slotjax.segment --weights` take it; with `data` also `slotjax.evaluate
    --weights` and `slotjax.report --weights`.

    Args:
      path: ends in .safetensors.
      model: of `slotjax.build_model`, or put together from the library's parts.
      params: of `slotjax.init`, trained.
      data: which held-out pictures to score it on, as the section `data` of a config: {"name": "sprites"}, say.

    Returns:
      The path.

    Raises:
      UserError: another ending, a part that is not the library's, parameters of another model, no such data, or a file
        that cannot be written.
    """
    path = given(path, "path")
    if path.suffix != weights.SUFFIX:
        raise UserError(f"{path}: name a file that ends in {weights.SUFFIX}")
    config = disk.from_fields(defaults().to_dict() | {"model": fields_of(model)})
    if data is not None:
        for name in data:
            choose("data", config.data, name)
        config.data = ConfigDict({**config.data.to_dict(), **data})
        validate(config)
    weights.check_parameters(model, params)
    fields = config.to_dict()
    kept = {name: value for name, value in params.items() if name not in model.pretrained()}
    weights.save(path, {name: fields[name] for name in ("model", *(["data"] if data else []))}, kept)
    return path


def load_run(workdir: Path, backbone: str | Path | None = None) -> tuple[Model, Any]:
    """The best checkpoint of a training run."""
    config = disk.load_valid(workdir / "config.json")
    config.model = ConfigDict(weights.with_backbone(config.model.to_dict(), backbone))
    model, state = restore_state(config, workdir, best=True)
    return model, state.best_params


def initial_state(config: ConfigDict, model: Model) -> TrainState:
    """The state before the first step, drawn from the seed."""
    shapes = next(iter(model.inputs.values()))
    params = init(model, stream_key(config.seed, "parameters"), jnp.zeros((1, *shapes.shape), shapes.dtype))
    return state_of(config, model, params)


def state_of(config: ConfigDict, model: Model, params: Any) -> TrainState:
    """The state before the first step, with these parameters."""
    create = partial(create_state, optimizer=build_optimizer(config.train), frozen=model.frozen)
    return jax.jit(partial(create, ema=config.train.ema_decay > 0))(params)  # one program, and not one for every array


def first_state(config: ConfigDict, model: Model) -> TrainState:
    """The state before the first step: drawn from the seed, or with the parameters that `train.start_from` names.

    A part that they lack altogether, such as a selection of slots, is drawn from the seed, which is said.

    Raises:
      UserError: there are none of that name, or they are another model's.
    """
    name = config.train.start_from
    if not name:
        return initial_state(config, model)
    shapes = jax.eval_shape(lambda: initial_state(config, model))
    try:
        params = {name: x for name, x in load(name)[1].items() if name not in model.frozen}
        new = sorted(shapes.params.keys() - params)
        weights.check_parameters(model, params | {part: shapes.params[part] for part in new} | shapes.frozen)
    except UserError as error:
        raise UserError(f"train.start_from={name}: {error}") from None
    if new:
        say(f"train.start_from={name}: has no {' and no '.join(new)}, which begins anew")
    own = initial_state(config, model)  # its frozen parameters are the config's own; none of kept features
    params |= {part: own.params[part] for part in new} | own.frozen
    return state_of(config, model, jax.tree.map(jnp.asarray, params))


def restore_state(config: ConfigDict, workdir: Path, *, best: bool = False) -> tuple[Model, TrainState]:
    """The model of a run and its newest (or best) state, on one device."""
    model = build_model(config.model)
    target = jax.eval_shape(lambda: initial_state(config, model))
    checkpoints = Checkpoints(workdir)
    try:
        state = checkpoints.restore(saved(target), best=best)
    finally:
        checkpoints.close()
    frozen = initial_state(config, model).frozen if target.frozen else {}
    return model, jax.device_put(replace(state, frozen=frozen), jax.local_devices()[0])


def saved(state: TrainState) -> TrainState:
    """What a checkpoint holds of a state."""
    return replace(state, frozen={})
