"""Bytes to declared events, or to the reason why not.

Only the declared fields are read; unknown ones are ignored. Times are RFC 3339 with offset or integer epoch ms on the
wire, and integer ms UTC afterwards. Why a record may be unusable (its *dead-letter reason*):

================  ====================================================================================================
``not_utf8``      bytes that are no UTF-8
``bad_json``      no JSON object: cut short, a byte order mark, half a surrogate pair, nested too deeply, …
``missing_field`` a declared field is absent (a nullable one may be: it is null then)
``wrong_type``    a field of another type, null where it is not nullable, or an embedding of another length
``not_finite``    NaN, Infinity, or a number that a float cannot hold
``empty_value``   no bytes at all: a tombstone
``too_large``     more bytes than the event's ``max_bytes``
``naive_time``    a time without offset
``future_time``   an event time more than 5 minutes ahead of the broker's clock (`streams.intake`)
``out_of_range``  a whole number beyond 64 bits, or a time before 1970 or after 9999
================  ====================================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, cast

import msgspec

from definitions.declared import EventDefinition, Field
from definitions.values import Value, ValueType
from streams.errors import DecodeError

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_ZONED = Annotated[datetime, msgspec.Meta(tz=True)]
_TYPES: dict[ValueType, Any] = {
    ValueType.INT: _INT64,
    ValueType.FLOAT: float,
    ValueType.BOOL: bool,
    ValueType.CATEGORY: str,
    ValueType.TIME: _ZONED | int,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_PER_DAY = 86_400_000
_WORST_MESSAGE = 300
_MISSING = re.compile(r"Object missing required field `(\w+)`")

_REASONS = (
    ("missing required field", "missing_field"),
    ("with a timezone component", "naive_time"),
    ("Number out of range", "not_finite"),
    ("out of range", "out_of_range"),
    ("Expected `int` <=", "out_of_range"),
    ("Expected `int` >=", "out_of_range"),
)

DEEPEST = 100
"""How many arrays and objects may lie in one another, fields that nobody reads included."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

Event = msgspec.Struct
"""A decoded event: an attribute per declared field, times as integer ms."""


class EventDecoder:
    """Decodes the records of one event's topic.

    Example:
        >>> from definitions.declared import EventDefinition, Field
        >>> fields = (Field("user", ValueType.CATEGORY), Field("at", ValueType.TIME))
        >>> decoder = EventDecoder(EventDefinition("visit", "visits", fields, "user", "at", ("user",), 0))
        >>> event = decoder.decode(b'{"user": "ann", "at": "2013-01-01T00:00:00Z", "more": 1}')
        >>> decoder.row(event), decoder.at_ms(event)
        ({'user': 'ann', 'at': 1356998400000}, 1356998400000)
    """

    def __init__(self, event: EventDefinition) -> None:
        self.event = event
        self._max_bytes = event.max_bytes
        self._times = tuple(each.name for each in event.fields if each.type is ValueType.TIME)
        struct = msgspec.defstruct(event.name, [_struct_field(each) for each in _ordered(event.fields)], gc=False)
        decoder = msgspec.json.Decoder(struct)
        self._decode: Callable[[bytes], Any] = decoder.decode
        self._decode_lines: Callable[[bytes], list[Any]] = decoder.decode_lines

    def decode(self, value: bytes | None) -> Event:
        """Return the event in ``value``. Cost: 0.5 us and up.

        Raises:
            DecodeError: the bytes are not the declared event.
        """
        if not value:
            raise DecodeError("empty_value", "$", f"cannot decode {self.event.name}: expected an event, got no bytes")
        if len(value) > self._max_bytes:
            raise DecodeError(
                "too_large",
                "$",
                f"cannot decode {self.event.name}: expected at most {self._max_bytes} bytes, got {len(value)}",
            )
        if _is_too_deep(value):
            raise DecodeError(
                "bad_json",
                "$",
                f"cannot decode {self.event.name}: expected at most {DEEPEST} levels of nesting, got more",
            )
        try:
            event = self._decode(value)
            if not value.isascii():
                value.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(value, error)
        self._settle_times(event)
        return cast("Event", event)

    def decode_all(self, values: Sequence[bytes | None]) -> list[Event] | None:
        """Return the events of a whole batch, None if one of them has to be looked at. Cost: 0.4 us an event.

        One event a line is decoded in a single call. So that lines and records are the same, no value may hold a line
        break and each has to end with its brace: then each gives one event or more, and equal numbers mean one each.
        """
        if not values or None in values:
            return None
        whole = cast("Sequence[bytes]", values)
        lines = b"\n".join(whole)
        breaks = len(whole) - 1
        if lines.count(b"\n") != breaks or lines.count(b"}\n") != breaks or not lines.endswith(b"}"):
            return None
        if len(max(whole, key=len)) > self._max_bytes:
            return None
        if _openings(lines) - len(whole) > DEEPEST and any(map(_is_too_deep, whole)):
            return None
        try:
            events = self._decode_lines(lines)
            if not lines.isascii():
                lines.decode()
            for name in self._times:
                self._settle_time(events, name)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DecodeError):
            return None
        return events if len(events) == len(values) else None

    def row(self, event: Event) -> dict[str, Value]:
        """Return the event's fields by name, as expressions take them. Times are integer ms."""
        return {name: getattr(event, name) for name in event.__struct_fields__}

    def at_ms(self, event: Event) -> int:
        """Return the event's time."""
        return cast("int", getattr(event, self.event.at))

    def _settle_times(self, event: Event) -> None:
        for name in self._times:
            self._settle_time((event,), name)

    def _settle_time(self, events: Sequence[Any], name: str) -> None:
        for event in events:
            at = getattr(event, name)
            if type(at) is not int:
                if at is None:
                    continue
                at = _epoch_ms(at)
                setattr(event, name, at)
            if not 0 <= at <= LATEST_MS:
                raise DecodeError(
                    "out_of_range",
                    f"$.{name}",
                    f"cannot decode {self.event.name}: expected a time between 1970 and 9999, got {at}",
                )

    def _refuse(self, value: bytes, error: Exception) -> NoReturn:
        said = str(error)[:_WORST_MESSAGE]
        _, at, place = said.rpartition(" - at `")
        path = place.rstrip("`") if at else "$"
        missing = _MISSING.match(said)
        path = path if missing is None else f"{path}.{missing[1]}"
        raise DecodeError(_reason(value, error), path, f"cannot decode {self.event.name}: {said}") from error


def _openings(value: bytes) -> int:
    return value.count(b"[") + value.count(b"{")


def _is_too_deep(value: bytes) -> bool:
    """Return whether the JSON nests deeper than `DEEPEST`.

    Judged by the bytes: where the interpreter's own limit lies depends on the process, and a replay decides the same.
    """
    if _openings(value) <= DEEPEST:
        return False
    depth = deepest = 0
    for sign in _BRACKETS.findall(_STRINGS.sub(b"", value)):
        depth += 1 if sign in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def _ordered(fields: Sequence[Field]) -> list[Field]:
    return sorted(fields, key=lambda field: field.nullable)


def _struct_field(field: Field) -> tuple[str, Any] | tuple[str, Any, None]:
    kind = _embedding(field) if field.type is ValueType.EMBEDDING else _TYPES[field.type]
    return (field.name, kind | None, None) if field.nullable else (field.name, kind)


def _embedding(field: Field) -> Any:
    return Annotated[list[float], msgspec.Meta(min_length=field.length, max_length=field.length)]


def _epoch_ms(at: datetime) -> int:
    since = at - _EPOCH
    return since.days * _MS_PER_DAY + since.seconds * 1_000 + since.microseconds // 1_000


def _reason(value: bytes, error: Exception) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    if isinstance(error, msgspec.ValidationError):
        said = str(error)
        return next((reason for words, reason in _REASONS if words in said), "wrong_type")
    return "not_finite" if _names_not_finite(text) else "bad_json"


class _NotFinite(Exception):  # noqa: N818  # a finding, caught below
    """The text is JSON but for a NaN or an Infinity."""


def _found(_: str) -> NoReturn:
    raise _NotFinite


def _names_not_finite(text: str) -> bool:
    """Return whether the first thing wrong with the text is a NaN or an Infinity, which JSON has no word for."""
    try:
        json.loads(text, parse_constant=_found, parse_int=len)
    except _NotFinite:
        return True
    except (ValueError, RecursionError):
        return False
    return False
