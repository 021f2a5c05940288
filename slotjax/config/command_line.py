"""Configs from the command line: `--config configs/NAME.py:VARIANT --config.FIELD=VALUE`."""

import ast
import re
import runpy
import traceback
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from slotjax.config.check import complete
from slotjax.config.disk import flat
from slotjax.data.scenes import SCENES, check_options, options_of
from slotjax.errors import UserError, first_line, nearest, shown
from slotjax.models.build import MODELS, declared
from slotjax.nn.fields import check

NAMES = (".name", ".model.attention")  # of fields that choose a part
NEEDED = "a config is a Python file whose get_config(variants) returns a ConfigDict, as those in configs/"
WANTED: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "values in brackets and quotes",
}


def read_config(path: Path, variants: str) -> ConfigDict:
    """What the file's `get_config(variants)` returns.

    Raises:
      UserError: the file is no such program, or fails.
    """
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        config = get_config(variants) if get_config else None
    except UserError:
        raise
    except Exception as error:  # whatever a program of the user's raises
        raise UserError(f"--config {path}: {_where(error, path)}{first_line(error)}; {NEEDED}") from error
    if not isinstance(config, ConfigDict):
        lacks = "has no get_config(variants)" if get_config is None else f"get_config returns {shown(config)}"
        raise UserError(f"--config {path}: {lacks}; {NEEDED}")
    return config


def _where(error: Exception, path: Path) -> str:
    """The last line of the file that was being run, and the kind of the error; of a file that is no Python, nothing."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: {type(error).__name__}: " if lines else ""


def override(config: ConfigDict, arguments: list[str]) -> None:
    """Sets fields from `--config.FIELD=VALUE`, or `--config.FIELD VALUE`, each to a value of the type it has; completes
    parts that change.

    Names of parts come first, so that what another part has can be set beside its name.
    """
    arguments = joined(arguments)
    names = [argument for argument in arguments if argument.partition("=")[0].endswith(NAMES)]
    for some in (names, [argument for argument in arguments if argument not in names]):
        assign(config, some)
    for argument in arguments:
        check_read(config, argument)


def check_read(config: ConfigDict, argument: str) -> None:
    """Raises a `UserError` for a field of stored pictures where scenes are rendered: recipes set it for both."""
    where, _, value = argument.removeprefix("--config.").partition("=")
    if where in ("data.max_objects", "data.crop") and config.data.name in SCENES:
        field, name = where.removeprefix("data."), config.data.name
        own = f", or set data.options.{field}" if field in options_of(name) else ""
        raise UserError(f"{where}={value}: is for stored pictures, {name} scenes are rendered: leave it out{own}")


def joined(arguments: list[str]) -> list[str]:
    """The arguments with a value behind its field joined to it by "="."""
    found: list[str] = []
    for argument in arguments:
        if found and "=" not in found[-1] and not argument.startswith("-"):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def assign(config: ConfigDict, arguments: list[str]) -> None:
    """Sets fields of the parts that there are."""
    before = config.copy_and_resolve_references()
    for argument in list(arguments):
        name, _, value = argument.partition("=")
        *sections, field = name.removeprefix("--config.").split(".")
        if sections == ["data", "options"]:
            offer_option(config.data, field, value)
        if argument.startswith("-"):
            check_field(config, name.removeprefix("--config."))
        if sections == ["train", "losses"]:
            weigh(config.train.losses, field, value)
        elif hasattr(ConfigDict, field):  # "update", say: absl would find the method of that name
            reduce(getitem, sections, config)[field] = value
        else:
            continue
        arguments = [other for other in arguments if other is not argument]
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["train.py", *arguments])
    try:
        rest = values(["train.py", *arguments])[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(in_words(config, str(error).splitlines()[0])) from None
    if rest:
        raise UserError(f"{rest[0]!r}: not a flag; write --config.FIELD=VALUE")
    forget(config, before)
    complete(config)


def offer_option(data: ConfigDict, option: str, value: str) -> None:
    """Gives an option of rendered scenes that the config leaves as it is its default, so that it can be set."""
    if data.name not in SCENES or option in data.options:
        return
    check_options(data.name, {} if option in options_of(data.name) else {option: value})
    with data.unlocked():
        data.options[option] = options_of(data.name)[option].default


def weigh(losses: ConfigDict, name: str, text: str) -> None:
    """Sets what a loss weighs, a number or pairs of a step and a weight, whichever of the two it was before."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        where = f"--config.train.losses.{name}={text}"
        raise UserError(f"{where}: must be a number, or pairs of a step and a weight, ((0,1.0),(1000,0.5))") from None
    with losses.ignore_type():
        losses[name] = float(value) if type(value) is int else value  # as it is where a config says 1.0


def forget(config: ConfigDict, before: ConfigDict) -> None:
    """Of the model's parts that have another name than before, drops the fields that suit only the former part."""
    model = config.get("model", {})
    kinds = MODELS[model.name].kinds if model.get("name") in MODELS else {}
    for part, known in kinds.items():
        new, old = (some.get(part) for some in (model, before.model))
        if not (isinstance(new, ConfigDict) and isinstance(old, ConfigDict)):
            continue  # no part: what is missing, or wrong, is refused when the model is built
        name = new.get("name")
        if name != old.get("name") and name in known:
            hints = declared(known[name])
            for field in set(old) - {"name"}:
                asked = new[field] != old[field]  # and is refused, if it does not suit
                if not asked and not (field in hints and suits(hints[field], old[field])):
                    with config.unlocked():
                        del new[field]


def suits(hint: Any, value: Any) -> bool:
    """Whether a field that is declared so may have this value."""
    try:
        check("", hint, value)
    except UserError:
        return False
    return True


def in_words(config: ConfigDict, message: str) -> str:
    """absl's message; where a value is not of its field's type, one that says which type that is."""
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", message)
    if not found:
        return re.sub(r"^Missing value for flag (\S+)$", r"\1: has no value; write \1=VALUE", message)
    field, given = found.groups()
    now: Any = reduce(getitem, field.split("."), config)
    if isinstance(now, ConfigDict):
        return f"--config.{field}={given}: has fields; set one by one, as --config.{field}.{next(iter(now), 'X')}=VALUE"
    if type(now) not in WANTED:
        return message
    return f"--config.{field}={given}: must be {WANTED[type(now)]}; it is {str(now).replace(' ', '')} now"


def check_field(config: ConfigDict, field: str) -> None:
    """Raises a `UserError` that lists the fields there are, if this is none."""
    section, where = config, ""
    for name in field.split("."):
        if not isinstance(section, ConfigDict) or name not in section:
            fields = isinstance(section, ConfigDict) and section
            have = f"there are {', '.join(section)}" if fields else "it has no fields"
            meant = likely(config, section, field, name)
            raise UserError(f"--config.{field}: no field {name!r} in config{where}; {have}{meant}")
        section, where = section[name], f"{where}.{name}"


def likely(config: ConfigDict, section: Any, field: str, name: str) -> str:
    """For the end of a message: which field may have been meant, one of this section or one of another."""
    here = nearest(name, section) if isinstance(section, ConfigDict) else ""
    elsewhere = [other for other in flat(config.to_dict()) if other.endswith(f".{field.rpartition('.')[2]}")]
    return here or (f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else "")
