"""What a config may hold: refused in one line that names the field, the value and the remedy, before anything runs."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from slotjax.config.schema import hints
from slotjax.data.scenes import SCENES, check_options
from slotjax.data.stored import STORED
from slotjax.errors import UserError, shown
from slotjax.losses import LOSSES
from slotjax.models import build_model
from slotjax.models.build import MODELS, with_defaults
from slotjax.nn.fields import check, choose
from slotjax.nn.selections import LEARNED, SELECTIONS
from slotjax.tasks import TASKS

MISSING = "is missing: this is not the config of a run; restore the file, or train into another workdir"

TAUGHT = {"distillation": 0.005, "perceptual": 0.01}  # losses that need `train.teacher`, and a usual weight
AUGMENTED = {"flip": ("coco", "voc"), "crop": ("coco", "voc", "movi")}
# What a stage may change: nothing that brings parameters which the run's own model has not.
STAGED = (
    "num_iterations",
    "gradient",
    "update",
    "centered",
    "noise",
    "background",
    "initializer.sigma",
    "decoder.position",
    "selection",
    "restart",
)


def complete(config: ConfigDict) -> ConfigDict:
    """`config` with every field that its parts and its task have: what it left out has its default."""
    model = config.get("model")
    if isinstance(model, ConfigDict):
        config.model = ConfigDict(with_defaults(model.to_dict()))
        train, name = config.get("train"), config.model.get("name")
        if isinstance(train, ConfigDict) and isinstance(name, str) and name in TASKS:
            rates = dict.fromkeys((*MODELS[name].parts, "attention"), 1.0)
            weights = dict.fromkeys(LOSSES, 0.0) | dict(TASKS[name].LOSSES)
            for field, values in (("losses", weights), ("learning_rates", rates)):
                if isinstance(train.get(field), ConfigDict):
                    train[field] = ConfigDict(values | train[field].to_dict())
    return config


def validate(config: ConfigDict) -> None:
    """Raises a `UserError` for what cannot work; what needs devices or data is checked where these are opened.

    The config may come from anyone's run, so nothing is assumed of it, not even that a field is there.
    """
    for where, hint in hints().items():
        check(where, hint, value_at(config, where))
    choose("data.name", {**SCENES, **STORED}, config.data.name)
    check_data(config)
    check_mesh(config)
    if not isinstance(config.get("model"), ConfigDict) or "name" not in config.model:
        raise UserError(f"model.name {MISSING}")
    model = build_model(config.model)
    if config.data.feature_cache:
        model.given_features()
    check_losses(config)
    check_rates(config)
    check_stages(config)


def value_at(config: ConfigDict, where: str) -> Any:
    """The value of a dotted field; a `UserError` if it is missing."""
    value: Any = config
    for name in where.split("."):
        if not isinstance(value, ConfigDict) or name not in value:
            raise UserError(f"{where} {MISSING}")
        value = value[name]
    return value


def check_data(config: ConfigDict) -> None:
    """Raises a `UserError` for a field that this kind of data would leave unread: whoever set it meant something."""
    data, rendered = config.data, config.data.name in SCENES
    if rendered and data.path:
        raise UserError(
            f"data.path={shown(data.path)}: {data.name} scenes are rendered, no file is read: leave it out, or let "
            f"data.name be one of {', '.join(STORED)} (variants such as configs/clevr.py:masks do)"
        )
    if rendered and data.feature_cache:
        raise UserError(
            f"data.feature_cache={data.feature_cache:g}: {data.name} scenes are rendered, features are kept of stored "
            "pictures alone: set it to 0, or render scenes once with slotjax.data.export"
        )
    if data.augment != "none" and data.name not in AUGMENTED[data.augment]:
        *some, last = AUGMENTED[data.augment]
        raise UserError(
            f"data.augment={data.augment}: is for {', '.join(some)} and {last}, not {data.name}: leave it out"
        )
    if data.augment != "none" and data.feature_cache:
        raise UserError(
            f"data.augment={data.augment}: features are kept of pictures as they are; set one of data.augment=none and "
            "data.feature_cache=0"
        )
    if rendered and not data.eval_images:
        raise UserError("data.eval_images=0: must be at least 1 where scenes are rendered; 320 is the paper's number")
    for field, value, none in (("options", dict(data.options), {}), ("pool", data.pool, 0)):
        if value and not rendered:
            given = f"data.{field}={shown(value)}"
            raise UserError(f"{given}: is for rendered scenes, {data.name} is read: set it to {none}")
    if rendered:
        check_options(data.name, data.options)


def check_mesh(config: ConfigDict) -> None:
    """Raises a `UserError` for devices that are to work together in a way in which they cannot."""
    if config.parallel == "pmap" and config.mesh.model > 1:
        raise UserError(f"mesh.model={config.mesh.model}: is for parallel=jit; set that, or mesh.model=1")


def check_losses(config: ConfigDict) -> None:
    """Raises a `UserError` for a loss that there is not, or a weight that is none."""
    for name, weight in config.train.losses.items():
        where = f"train.losses.{name}"
        choose("train.losses", LOSSES, name)
        if isinstance(weight, tuple | list):
            check_points(where, weight)
        else:
            check_weight(where, weight)
    if not any(config.train.losses.values()):
        raise UserError(f"train.losses={shown(config.train.losses.to_dict())}: nothing to learn; weigh one above 0")
    price, selection = config.train.losses.get("kept"), config.model.get("selection")
    if price and selection in SELECTIONS and selection not in LEARNED:
        raise UserError(
            f"train.losses.kept={shown(price)}: model.selection={selection} does not learn from a price; choose one of "
            f"{', '.join(LEARNED)}, or set it to 0"
        )
    check_teacher(config.train.teacher, {name: config.train.losses.get(name, 0) for name in TAUGHT})


def check_teacher(teacher: str, taught: Mapping[str, Any]) -> None:
    """Raises a `UserError` for a teacher of nothing, or of two things, and for losses that lack theirs."""
    weighed = [name for name, weight in taught.items() if weight]
    if teacher and not weighed:
        usual = " or ".join(f"train.losses.{name}, by {weight} say" for name, weight in TAUGHT.items())
        raise UserError(f"train.teacher={teacher}: nothing is learned from it; weigh {usual}")
    if weighed and not teacher:
        name = weighed[0]
        raise UserError(f"train.losses.{name}={shown(taught[name])}: has no teacher; name its run as train.teacher")
    if len(weighed) > 1:
        raise UserError(f"train.teacher={teacher}: teaches one of {' and '.join(weighed)}; set the other to 0")


def check_points(where: str, points: Any) -> None:
    """Raises a `UserError` for what are no (step, weight) pairs with growing steps."""
    pairs = all(isinstance(point, tuple | list) and len(point) == 2 for point in points)
    if not points or not pairs:
        raise UserError(f"{where}={shown(points)}: give a number, or pairs of a step and a weight")
    steps = [step for step, _ in points]
    if any(isinstance(step, bool) or not isinstance(step, int) for step in steps) or sorted(set(steps)) != steps:
        raise UserError(f"{where}={shown(points)}: steps must be whole numbers that grow")
    for _, weight in points:
        check_weight(where, weight)


def check_weight(where: str, weight: Any) -> None:
    """Raises a `UserError` for what weighs nothing, or multiplies nothing."""
    check(where, float, weight)
    if not 0 <= weight <= 10**6:
        raise UserError(f"{where}={weight}: must lie between 0 and 1000000")


def check_rates(config: ConfigDict) -> None:
    """Raises a `UserError` for a part that the model has not, or a factor that is none."""
    for name, factor in config.train.learning_rates.items():
        choose("train.learning_rates", {**MODELS[config.model.name].parts, "attention": None}, name)
        check_weight(f"train.learning_rates.{name}", factor)


def check_stages(config: ConfigDict) -> None:
    """Raises a `UserError` for stages that do not follow each other, or that change what parameters depend on."""
    before = 0
    for i, stage in enumerate(config.train.stages):
        where = f"train.stages[{i}]"
        check(where, dict, stage)
        until = stage.get("until")
        if isinstance(until, bool) or not isinstance(until, int) or not before < until < config.train.num_steps:
            raise UserError(
                f"{where}.until={shown(until)}: must be a step above {before} and below train.num_steps="
                f"{config.train.num_steps}"
            )
        before = until
        for name in stage:
            if name != "until" and not (name.startswith("model.") and name.removeprefix("model.") in STAGED):
                known = ", ".join(f"model.{field}" for field in STAGED)
                raise UserError(f"{where}.{name}={shown(stage[name])}: a stage can change {known}")
        try:
            build_model(staged(config, stage).model)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def staged(config: ConfigDict, stage: Mapping[str, Any]) -> ConfigDict:
    """The config as it is during a stage."""
    own = config.copy_and_resolve_references()
    with own.ignore_type():  # the model that is built of it checks its fields
        for name, value in stage.items():
            if name != "until":
                own.update_from_flattened_dict({name: value})
    return own
