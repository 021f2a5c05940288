"""What a config holds: shared defaults, checks, and its form on disk.

An experiment is one file in `configs/` with `get_config(variants)`; it starts from `defaults()` and says what differs.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.data.scenes import SCENES
from slotjax.errors import UserError, shown
from slotjax.models import build_model, choose
from slotjax.system.reading import read_json

STORED = (  # the names in slotjax.data.loader.STORED, whose readers are imported only when one is used
    "clevr_tfds",
    "clevr_with_masks",
    "tetrominoes_tfrecords",
    "multi_dsprites_tfrecords",
    "objects_room_tfrecords",
    "folder",
)
EVAL_SEED = 0  # held-out scenes are the same for every run
CORES = ("threads", "devices")
SCHEDULES = ("exponential", "cosine", "constant")


def defaults() -> ConfigDict:
    """A config with all but the model, set to the paper's numbers (Locatello et al., 2020, appendix E.3)."""
    config = ConfigDict()
    config.seed = 0
    config.parallel = "pmap"  # or "jit"
    config.cores = "threads"  # of a CPU; "devices": each takes a share of the batch, faster if convolutions are large
    config.data = ConfigDict(
        {
            "name": "",  # a scene family or a stored data set
            "path": "",  # stored data: a file or a folder
            "options": {},  # scenes: keywords of the family
            "pool": 0,  # scenes: render so many, once, and train on those again and again; 0: new ones for every step
            "eval_images": 320,  # held out; the paper's number
            "max_objects": 0,  # stored data: leave out scenes with more; 0 keeps all
            "crop": "default",  # stored CLEVR: "default", "reference" (the original's numbers) or "none"
            "num_workers": 0,  # stored data: worker processes
        }
    )
    config.train = ConfigDict(
        {
            "batch_size": 64,  # over all devices
            "micro_batches": 0,  # the batch in so many parts, one after another; 0: as few as fit, or are fast
            "num_seeds": 1,  # so many independent runs in one program: from `seed` on, each in a directory of its own
            "start_from": "",  # trained parameters to begin with: a run's directory, a weights file or packaged weights
            "num_steps": 500_000,
            "learning_rate": 4e-4,
            "schedule": "exponential",  # or "cosine", "constant"; all after a linear warm-up
            "warmup_steps": 10_000,
            "decay_rate": 0.5,
            "decay_steps": 100_000,
            "chroma_weight": 1.0,  # reconstruction: what errors of colour weigh against those of brightness; 1: MSE
            "clip_norm": 0.0,  # largest norm of the gradient; 0: no clipping
            "weight_decay": 0.0,
            "ema_decay": 0.0,  # moving average of the parameters, used for evaluation; 0: none
            "on_nonfinite": "stop",  # a loss or gradient that is not finite; or "skip", which leaves that step out
            "log_every": 100,
            "eval_every": 10_000,
            "checkpoint_every": 5_000,
            "keep_checkpoints": 3,
        }
    )
    config.eval = ConfigDict({"batch_size": 32, "pictures": 8})
    return config


def model_defaults(**fields) -> ConfigDict:
    """The model fields that the paper's experiments share, and those given here."""
    shared = {
        "name": "object_discovery",
        "dtype": "float32",  # of the computation; "bfloat16" keeps parameters, norms, softmax and loss in float32
        "num_iterations": 3,
        "slot_dim": 64,
        "mlp_dim": 128,
        "normalize": "slots",  # "inputs" makes it ordinary attention
        "update": "mean",  # or "sum"
        "centered": False,  # True: matches count from their mean over the picture
        "gradient": "all",  # or "last", "straight_through"
        "initializer": {"name": "gaussian"},  # or "learned", "background"
    }
    return ConfigDict(shared | fields)


def validate(config: ConfigDict) -> None:
    """Raises a `UserError` for what cannot work; what needs devices or data is checked where these are opened.

    The config may come from anyone's run, so nothing is assumed of it, not even that a field is there.
    """
    check_types(config, defaults())
    known = (*SCENES, *STORED)
    if config.data.name not in known:
        raise UserError(f"data.name={shown(config.data.name)}: choose one of {', '.join(known)}")
    check_kind(config)
    check_options(config)
    if config.parallel not in ("pmap", "jit"):
        raise UserError(f"parallel={shown(config.parallel)}: choose 'pmap' or 'jit'")
    if config.get("cores", CORES[0]) not in CORES:
        raise UserError(f"cores={shown(config.cores)}: choose 'threads' or 'devices'")
    choose("train.schedule", dict.fromkeys(SCHEDULES), config.train.schedule)
    choose("train.on_nonfinite", dict.fromkeys(("stop", "skip")), config.train.on_nonfinite)
    if not config.train.learning_rate > 0:
        raise UserError(f"train.learning_rate={config.train.learning_rate}: must be above 0")
    for field, (least, most) in _RANGES.items():
        section, name = field.split(".")
        value = config[section].get(name, least)
        if not value >= least:  # NaN too
            raise UserError(f"{field}={value}: must be at least {least}")
        if not value <= most:
            raise UserError(f"{field}={value}: must be at most {most}")
    check_seeds(config)
    if config.train.ema_decay >= 1:
        raise UserError(f"train.ema_decay={config.train.ema_decay}: must be below 1, 0.999 say; 0 for none")
    if not isinstance(config.get("model"), ConfigDict) or "name" not in config.model:
        raise UserError(f"model.name {_MISSING}")
    build_model(config.model)


_MISSING = "is missing: this is not the config of a run; restore the file, or train into another workdir"
_ADDED_LATER = {  # older runs do without; what they had instead
    "cores": "threads",
    "data.pool": 0,
    "train.on_nonfinite": "stop",
    "train.num_seeds": 1,
    "train.chroma_weight": 1.0,
    "train.start_from": "",
    "model.encoder.kernel_init": "glorot",
    "model.encoder.groups": 0,
    "model.centered": False,
    "model.decoder.relative": False,
    "model.decoder.hyper": False,
}
_ONLY_OF = {"model.decoder.hyper": "mlp"}  # which kind of part has the field
_STEPS = 2**31 - 1  # steps are counted in int32
_SEEDS = range(-(2**63), 2**63)  # what `jax.random.key` takes
_FLOAT = 1e38  # the largest that float32 holds, or so
_RANGES = {  # the most is beyond any use, so that a config from somewhere does not fill the memory
    "data.pool": (0, 10**7),  # 0 renders new scenes for every step
    "data.eval_images": (1, 10**6),
    "data.max_objects": (0, 1000),
    "data.num_workers": (0, 1000),
    "train.batch_size": (1, 10**6),
    "train.micro_batches": (0, 10**6),
    "train.num_seeds": (1, 1000),
    "train.num_steps": (1, _STEPS),
    "train.learning_rate": (0, _FLOAT),
    "train.warmup_steps": (0, _STEPS),
    "train.decay_rate": (0, _FLOAT),
    "train.decay_steps": (1, _STEPS),
    "train.chroma_weight": (0, 10**6),
    "train.clip_norm": (0, _FLOAT),
    "train.weight_decay": (0, _FLOAT),
    "train.ema_decay": (0, 1),
    "train.log_every": (1, _STEPS),
    "train.eval_every": (1, _STEPS),
    "train.checkpoint_every": (1, _STEPS),
    "train.keep_checkpoints": (1, _STEPS),
    "eval.batch_size": (1, 10**5),
    "eval.pictures": (1, 1000),
}


def check_seeds(config: ConfigDict) -> None:
    """Raises a `UserError` for seeds that no key can be made of."""
    for seed in (config.seed, config.seed + num_seeds(config) - 1):
        if seed not in _SEEDS:
            raise UserError(f"seed={config.seed}: seeds go from -2^63 to 2^63 - 1; take a smaller one, such as 0")


def num_seeds(config: ConfigDict) -> int:
    """How many seeds a run trains side by side; older configs, of one, do not say."""
    return config.train.get("num_seeds", 1)


def of_each_seed(config: ConfigDict) -> list[ConfigDict]:
    """The config that each seed would have as a run of its own; of a single one, `config` itself."""
    if num_seeds(config) == 1:
        return [config]
    configs = [config.copy_and_resolve_references() for _ in range(num_seeds(config))]
    for seed, own in enumerate(configs, config.seed):
        own.seed, own.train.num_seeds = seed, 1
    return configs


def workdirs(config: ConfigDict, workdir: Path) -> list[Path]:
    """The directory of each seed's run; of a single one, `workdir` itself."""
    if num_seeds(config) == 1:
        return [workdir]
    return [workdir / f"seed_{own.seed}" for own in of_each_seed(config)]


def check_types(config: ConfigDict, like: ConfigDict, prefix: str = "") -> None:
    """Raises a `UserError` where a field of `like` is missing or of another type; further fields are let be."""
    for name, default in like.items():
        where = prefix + name
        if name not in config:
            if where in _ADDED_LATER:
                continue
            raise UserError(f"{where} {_MISSING}")
        value = config[name]
        wanted, what = _TYPES[type(default)]
        if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise UserError(f"{where}={shown(value)}: must be {what}")
        if isinstance(default, ConfigDict):
            check_types(value, default, f"{where}.")


_TYPES = {
    ConfigDict: (ConfigDict, "fields by their names"),
    str: (str, "a text"),
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
}


def check_kind(config: ConfigDict) -> None:
    """Raises a `UserError` for a field that this kind of data would leave unread: whoever set it meant something."""
    name = config.data.name
    if name in SCENES and config.data.get("path"):
        raise UserError(
            f"data.path={shown(config.data.path)}: {name} scenes are rendered, no file is read: leave it out, or let "
            f"data.name be one of {', '.join(STORED)} (variants such as configs/clevr.py:masks do)"
        )
    for field in ("options", "pool"):
        if name in STORED and config.data.get(field):
            value = config.data[field]
            value = value.to_dict() if isinstance(value, ConfigDict) else value
            raise UserError(f"data.{field}={shown(value)}: is for rendered scenes, {name} is read: leave it out")


def check_options(config: ConfigDict) -> None:
    """Raises a `UserError` for an option of the scene family of another type; its values the family checks itself."""
    parameters = inspect.signature(SCENES[config.data.name]).parameters if config.data.name in SCENES else {}
    for name, value in config.data.options.items():
        hint = parameters[name].annotation if name in parameters else None
        if hint in _TYPES and type(value) is not hint:
            raise UserError(f"data.options.{name}={shown(value)}: must be {_TYPES[hint][1]}")


def save(config: ConfigDict, path: Path) -> None:
    """Writes `config` as readable JSON, whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    temporary.replace(path)


def load(path: Path) -> ConfigDict:
    """Reads what `save` wrote. Data only: nothing in it is imported or run.

    Fields that have come since it was written have their defaults.
    """
    try:
        return from_fields(read_json(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is {path.parent} the --workdir of a training run?") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a slotjax config ({error}); restore the file, or train into another workdir"
        ) from None


def from_fields(fields: Any) -> ConfigDict:
    """The config of what JSON held, with defaults for fields that have come since; a ValueError where it is none."""
    if not isinstance(fields, dict):
        raise ValueError("it holds no fields")
    try:
        return completed(ConfigDict(fields))
    except (TypeError, KeyError, AttributeError) as error:  # the last: a method's name as a field
        raise ValueError(error) from None


def completed(config: ConfigDict) -> ConfigDict:
    """Adds the fields that a config written by an older slotjax does not have yet."""
    for field, value in _ADDED_LATER.items():
        *path, name = field.split(".")
        section: Any = config
        for part in path:
            section = section.get(part) if isinstance(section, ConfigDict) else None
        if not isinstance(section, ConfigDict) or name in section:
            continue
        if field not in _ONLY_OF or section.get("name") == _ONLY_OF[field]:
            section[name] = value
    return config


def load_valid(path: Path) -> ConfigDict:
    """`load` and `validate`; for whoever takes a config as it is."""
    return checked(load(path), path)


def checked(config: ConfigDict, path: Path) -> ConfigDict:
    """`config`; a `UserError` that names the file it is from, where `validate` has one."""
    try:
        validate(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return config


def load_single(path: Path) -> ConfigDict:
    """`load_valid` for what takes the run of one seed; a `UserError` for the directory of several."""
    config = load_valid(path)
    if num_seeds(config) > 1:
        raise UserError(
            f"--workdir {path.parent}: holds the runs of {num_seeds(config)} seeds; "
            f"name one of them, such as {workdirs(config, path.parent)[0]}"
        )
    return config


def differences(ours: ConfigDict, theirs: ConfigDict) -> list[str]:
    """Fields in which two configs differ, as "field: ours / theirs"."""
    a, b = flat(ours.to_dict()), flat(theirs.to_dict())
    missing = "(absent)"
    return [
        f"{name}: {a.get(name, missing)} / {b.get(name, missing)}"
        for name in sorted(a | b)
        if a.get(name, missing) != b.get(name, missing)
    ]


def flat(tree: Mapping, prefix: str = "") -> dict[str, str]:
    """Fields by their dotted names, their values as JSON."""
    fields = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = json.dumps(value)
    return fields
