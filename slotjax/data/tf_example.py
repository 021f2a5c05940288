"""`tf.train.Example` messages, read and written without TensorFlow.

The multi-object data sets store a uint8 array as one *one-byte string per element*, hundreds of thousands in a record,
so those are parsed through a single strided numpy view instead of element by element.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from slotjax.errors import UserError
from slotjax.system.protobuf import BYTES, Malformed, fields


def parse_example(record: bytes, where: str) -> dict[str, np.ndarray]:
    """The features of a `tf.train.Example`: uint8 [n] for lists of strings, float32 [n] for lists of floats.

    Strings are put one after another, so that an array is the same as one string or as many of one byte. Features of
    other kinds are left out.

    Args:
      record: the serialized message.
      where: what to call the record in errors ("FILE: record 3").

    Raises:
      UserError: the bytes are no Example.
    """
    features = {}
    try:
        for number, start, end in _fields(record, 0, len(record)):
            if number == 1:
                for _, entry_start, entry_end in _fields(record, start, end):
                    name, values = _parse_entry(record, entry_start, entry_end)
                    if values is not None:
                        features[name] = values
    except Malformed as error:
        raise UserError(f"{where} is no tf.train.Example of a known data set ({error}): check data.path") from None
    return features


class Features:
    """The features of a `tf.train.Example`, each decoded when it is asked for, as the kind of list that it must be.

    Args:
      record, where: as of `parse_example`.

    Raises:
      UserError: the bytes are no Example; or, when asked for, there is no such feature of that kind.
    """

    def __init__(self, record: bytes, where: str):
        self._record, self._where = record, where
        self._lists: dict[str, tuple[int, int, int]] = {}
        try:
            for number, start, end in _fields(record, 0, len(record)):
                for _, entry_start, entry_end in _fields(record, start, end) if number == 1 else ():
                    parts = {part: (begin, stop) for part, begin, stop in _fields(record, entry_start, entry_end)}
                    if set(parts) == {1, 2} and (kinds := list(_fields(record, *parts[2]))):
                        self._lists[record[slice(*parts[1])].decode(errors="replace")] = kinds[-1]
        except Malformed as error:
            raise UserError(f"{where} is no tf.train.Example ({error}): check data.path") from None

    def __contains__(self, name: str) -> bool:
        return name in self._lists

    def strings(self, name: str) -> list[bytes]:
        """A list of strings of any length."""
        return self._list(name, 1, lambda start, end: [self._record[a:b] for _, a, b in self._parts(start, end)])

    def floats(self, name: str) -> np.ndarray:
        """A list of floats: float32 [n]."""
        return self._list(name, 2, lambda start, end: _floats(self._record, start, end))

    def integers(self, name: str, part: slice = slice(None), total: int | None = None) -> np.ndarray:
        """A list of integers, or the part of it that is wanted: int64 [n].

        Args:
          total: how many the whole list must have.
        """

        def decode(start: int, end: int) -> np.ndarray:
            pieces = [piece[1:] for piece in self._parts(start, end)]
            if len(pieces) == 1:
                return _varints(self._record, *pieces[0], part, total)
            return _varints(
                b"".join(self._record[a:b] for a, b in pieces), 0, sum(b - a for a, b in pieces), part, total
            )

        return self._list(name, 3, decode)

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        return _fields(self._record, start, end)

    def _list(self, name: str, kind: int, decode: Callable[[int, int], Any]) -> Any:
        found, start, end = self._lists.get(name, (0, 0, 0))
        if found != kind:
            what = {1: "strings", 2: "floats", 3: "integers"}[kind]
            raise UserError(f"{self._where} has no feature {name!r} of {what}: it is of another data set")
        try:
            return decode(start, end)
        except Malformed as error:
            raise UserError(
                f"{self._where}: feature {name!r} is damaged ({error}): copy or download it again"
            ) from None


def _varints(buffer: bytes, start: int, end: int, part: slice, total: int | None) -> np.ndarray:
    """A part of the integers that are packed one after another, seven bits a byte: int64 [n]."""
    data = np.frombuffer(buffer, np.uint8, end - start, start)
    last = np.flatnonzero(data < 128)
    if len(data) and (not len(last) or last[-1] != len(data) - 1):
        raise Malformed("a number does not end")
    if total is not None and len(last) != total:
        raise Malformed(f"it holds {len(last)} numbers, not {total}")
    first = np.concatenate([np.zeros(1, np.int64), last[:-1] + 1])[: len(last)][part]
    length = last[part] - first + 1
    if length.max(initial=0) > 10:
        raise Malformed("a number has more than 10 bytes")
    values = np.zeros(len(first), np.uint64)
    for place in range(length.max(initial=0)):
        longer = np.flatnonzero(length > place)
        values[longer] |= (data[first[longer] + place] & 127).astype(np.uint64) << np.uint64(7 * place)
    return values.view(np.int64)


def _parse_entry(buffer: bytes, start: int, end: int) -> tuple[str, np.ndarray | None]:
    """One entry of the map from names to features; None for a feature of another kind."""
    parts = {number: (begin, stop) for number, begin, stop in _fields(buffer, start, end)}
    if set(parts) != {1, 2}:
        raise Malformed("an entry is not a name and a feature")
    name = buffer[slice(*parts[1])].decode(errors="replace")
    kinds = list(_fields(buffer, *parts[2]))
    if len(kinds) != 1 or kinds[0][0] not in (1, 2):
        return name, None
    kind, begin, stop = kinds[0]
    try:
        return name, (_strings if kind == 1 else _floats)(buffer, begin, stop)
    except Malformed as error:
        raise Malformed(f"feature {name[:40]!r}: {error}") from None


def _strings(buffer: bytes, start: int, end: int) -> np.ndarray:
    """A list of strings: of one byte, in groups of tag 0x0A, length 1, value; or of any length."""
    ones = _groups(buffer, start, end, b"\x0a\x01", 1)
    if ones is not None:
        return ones[:, 0].copy()
    parts = list(_fields(buffer, start, end))
    return np.concatenate([np.frombuffer(buffer, np.uint8, stop - begin, begin) for _, begin, stop in parts])


def _floats(buffer: bytes, start: int, end: int) -> np.ndarray:
    """A list of floats: packed into one string, or each in a group of tag 0x0D and value."""
    singles = _groups(buffer, start, end, b"\x0d", 4)
    if singles is not None:
        return singles.copy().view("<f4")[:, 0]
    parts = list(_fields(buffer, start, end))
    if any(number != 1 or (stop - begin) % 4 for number, begin, stop in parts):
        raise Malformed("it is no list of floats")
    return np.concatenate([np.frombuffer(buffer, "<f4", (stop - begin) // 4, begin) for _, begin, stop in parts])


def _groups(buffer: bytes, start: int, end: int, tag: bytes, size: int) -> np.ndarray | None:
    """The bytes [n, size] of groups that are a tag and so many bytes each; None if not all are."""
    if (end - start) % (len(tag) + size):
        return None
    groups = np.frombuffer(buffer, np.uint8, end - start, start).reshape(-1, len(tag) + size)
    is_so = all((groups[:, i] == byte).all() for i, byte in enumerate(tag))
    return groups[:, len(tag) :] if is_so else None


def _fields(buffer: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The (number, start, end) of the length-delimited fields of a message; no other kind occurs in an Example."""
    for number, kind, begin, stop in fields(buffer, start, end):
        if kind != BYTES:
            raise Malformed(f"unexpected wire type {kind}")
        yield number, begin, stop


def example(features: dict[str, np.ndarray]) -> bytes:
    """A serialized `tf.train.Example`: uint8 arrays as lists of one-byte strings, float32 arrays as packed lists."""

    def written(values: np.ndarray) -> bytes:
        if values.dtype != np.uint8:
            return _field(2, _field(1, values.astype("<f4").tobytes()))
        strings = np.empty((values.size, 3), np.uint8)
        strings[:] = (0x0A, 1, 0)  # field 1, a string of one byte
        strings[:, 2] = values.ravel()
        return _field(1, strings.tobytes())

    return _example({name: written(values) for name, values in features.items()})


def lists(features: Mapping[str, list[bytes] | np.ndarray]) -> bytes:
    """A serialized `tf.train.Example` of lists of strings and of whole numbers, which `Features` reads."""

    def written(values: list[bytes] | np.ndarray) -> bytes:
        if isinstance(values, list):
            return _field(1, b"".join(_field(1, value) for value in values))
        return _field(3, _field(1, b"".join(_written_varint(int(value)) for value in values)))

    return _example({name: written(values) for name, values in features.items()})


def _example(features: Mapping[str, bytes]) -> bytes:
    entries = (_field(1, _field(1, name.encode()) + _field(2, feature)) for name, feature in features.items())
    return _field(1, b"".join(entries))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protocol buffer field."""
    return bytes([number << 3 | 2]) + _written_varint(len(payload)) + payload


def _written_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
