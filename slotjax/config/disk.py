"""Configs as JSON, and how two of them differ."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.config.check import complete, validate
from slotjax.config.schema import defaults
from slotjax.errors import UserError
from slotjax.system import writing
from slotjax.system.reading import read_json


def save(config: ConfigDict, path: Path) -> None:
    """Writes `config` as readable JSON, whole or not at all."""
    writing.write_json(path, config.to_dict())


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
        config = ConfigDict({"mesh": {}} | fields)  # a section that has come since
        for name, section in defaults().items():
            if isinstance(section, ConfigDict) and isinstance(config.get(name), ConfigDict):
                config[name] = ConfigDict(section.to_dict() | config[name].to_dict())
        return complete(config)
    except (TypeError, KeyError, AttributeError) as error:  # the last: a method's name as a field
        raise ValueError(error) from None


def load_valid(path: Path) -> ConfigDict:
    """`load` and `validate`; for whoever takes a config as it is. Errors name the file."""
    config = load(path)
    try:
        validate(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
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
