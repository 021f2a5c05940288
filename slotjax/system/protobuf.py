"""Protocol buffer messages, read without their schemas: fields by number, in the order in which they come."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_FIELDS = 10_000  # of one message; those that are known have up to 12


class Malformed(ValueError):
    """The bytes are no message. Callers, who know what the file is for, add the remedy."""


def fields(buffer: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The (number, wire type, start, end) of the fields of the message that lies in `buffer[start:end]`."""
    for _ in range(_MAX_FIELDS):
        if start >= end:
            return
        tag, start = varint(buffer, start, end)
        kind = tag & 7
        if kind == VARINT:
            length = varint(buffer, start, end)[1] - start
        elif kind == BYTES:
            length, start = varint(buffer, start, end)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise Malformed(f"unexpected wire type {kind}")
        if length > end - start:
            raise Malformed("a length points beyond the end")
        yield tag >> 3, kind, start, start + length
        start += length
    raise Malformed("too many fields")


def varint(buffer: bytes, start: int, end: int) -> tuple[int, int]:
    """The number that begins at `start`, seven bits a byte, and where it ends."""
    value = 0
    for position in range(start, min(end, start + 10)):
        byte = buffer[position]
        value |= (byte & 0x7F) << (7 * (position - start))
        if byte < 0x80:
            return value, position + 1
    raise Malformed("a number does not end")


class Message:
    """A message's fields by number, of any wire type; what a field is asked for as, it must be."""

    def __init__(self, buffer: bytes):
        self._values: dict[int, list[int | bytes]] = {}
        for number, kind, start, end in fields(buffer, 0, len(buffer)):
            if kind == VARINT:
                value = varint(buffer, start, end)[0]
            else:
                value = buffer[start:end] if kind == BYTES else int.from_bytes(buffer[start:end], "little")
            self._values.setdefault(number, []).append(value)

    def __contains__(self, field: int) -> bool:
        return field in self._values

    def number(self, field: int) -> int:
        """An integer without its sign; 0 where the message has none."""
        value = self._values.get(field, [0])[-1]
        if not isinstance(value, int):
            raise Malformed(f"field {field} is no number")
        return value

    def messages(self, field: int) -> list["Message"]:
        """The messages of a repeated field."""
        values = self._values.get(field, [])
        if not all(isinstance(value, bytes) for value in values):
            raise Malformed(f"field {field} is no message")
        return [Message(value) for value in values if isinstance(value, bytes)]
