"""Types of config fields, with the range that makes sense, and the one check for all of them.

A part's attributes and a config's sections are declared with these; `check` says what is wrong with a value in words.
The upper ends lie far beyond any use: what a file from somewhere asks for should not fill the memory while shapes are
computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from slotjax.errors import UserError, nearest, shown

MOST_ENTRIES = 64  # of a tuple: no network here has more layers


@dataclass(frozen=True)
class Range:
    """Where a number may lie, both ends included unless `open_below`.

    Attributes:
      hint: what to do about a number outside, after the bound ("0 for none", say).
    """

    least: float
    most: float
    open_below: bool = False
    open_above: bool = False
    hint: str = ""

    def check(self, where: str, value: float) -> None:
        """Raises a `UserError` for a number outside; NaN too."""
        hint = f", {self.hint}" if self.hint else ""
        if self.open_below and not value > self.least:
            raise UserError(f"{where}={value}: must be above {self.least:g}{hint}")
        if not value >= self.least:
            raise UserError(f"{where}={value}: must be at least {self.least:g}{hint}")
        if self.open_above and not value < self.most:
            raise UserError(f"{where}={value}: must be below {self.most:g}{hint}")
        if not value <= self.most:
            raise UserError(f"{where}={value}: must be at most {self.most:.15g}{hint}")


@dataclass(frozen=True)
class Choice:
    """The names among which a text chooses."""

    names: Mapping[str, Any]

    def check(self, where: str, value: str) -> None:
        """Raises a `UserError` for another name."""
        choose(where, self.names, value)

    def __hash__(self) -> int:
        return hash(tuple(self.names))


Count = Annotated[int, Range(1, 2**14)]
Side = Annotated[int, Range(1, 2048)]  # of a picture
Small = Annotated[int, Range(1, 255)]  # kernels, strides, patches
Resolution = tuple[Side, Side]
Counts = tuple[Count, ...]
Smalls = tuple[Small, ...]


def check(where: str, hint: Any, value: Any) -> None:
    """Raises a `UserError` where `value` is not of the type, or outside the range, that `hint` says.

    Args:
      where: the field's name, for the message.
      hint: bool, int, float, str, dict, tuple[...], Literal, or one of these annotated with a `Range`; of other types
        nothing is asked.
    """
    kind, bounds = hint, []
    if get_origin(hint) is Annotated:
        kind, *bounds = get_args(hint)
    if get_origin(kind) is Literal:
        choose(where, dict.fromkeys(get_args(kind)), value)
    elif get_origin(kind) is tuple:
        _check_tuple(where, get_args(kind), value)
    elif kind is dict:
        if not hasattr(value, "items"):  # a ConfigDict is no Mapping
            raise UserError(f"{where}={shown(value)}: must be fields by their names")
    elif kind in _WORDS:
        _check_type(where, kind, value)
    for bound in bounds:
        bound.check(where, value)


_WORDS: dict[Any, tuple[Any, str]] = {
    bool: (bool, "True or False"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    str: (str, "a text"),
}


def _check_type(where: str, kind: Any, value: Any) -> None:
    wanted, words = _WORDS[kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{where}={shown(value)}: must be {words}")


def _check_tuple(where: str, kinds: tuple[Any, ...], value: Any) -> None:
    size = None if ... in kinds else len(kinds)
    if not isinstance(value, tuple | list) or size not in (None, len(value)) or len(value) > MOST_ENTRIES:
        what = "whole numbers" if _is_int(kinds[0]) else "entries"
        raise UserError(f"{where}={shown(value)}: must be {size or f'up to {MOST_ENTRIES}'} {what}")
    for entry in value:
        check(where, kinds[0], entry)


def _is_int(kind: Any) -> bool:
    return kind is int or get_args(kind)[:1] == (int,)


def choose(where: str, choices: Mapping[str, Any], name: Any) -> Any:
    """The entry called `name`, or a `UserError` that lists what there is."""
    if not isinstance(name, str) or name not in choices:
        raise UserError(f"{where}={shown(name)}: choose one of {', '.join(choices)}{nearest(name, choices)}")
    return choices[name]
