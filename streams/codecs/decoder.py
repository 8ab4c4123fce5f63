"""What the decoders of all codecs share: the declared fields as a struct, and what its values have to keep."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, cast

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

Event = msgspec.Struct
"""A decoded event: an attribute per declared field, times as integer ms."""


class EventDecoder(ABC):
    """Decodes the records of one event's topic. Made by `streams.codecs.decoder_of`."""

    def __init__(self, event: EventDefinition) -> None:
        self.event = event
        self._times = tuple(each.name for each in event.fields if each.type is ValueType.TIME)
        self._struct = msgspec.defstruct(event.name, [_struct_field(each) for each in _ordered(event.fields)], gc=False)

    @abstractmethod
    def decode(self, value: bytes | None) -> Event:
        """Return the event in ``value``.

        Raises:
            DecodeError: the bytes are not the declared event.
            RegistryUnavailable: nobody can say which schema the bytes were written with.
        """

    @abstractmethod
    def decode_all(self, values: Sequence[bytes | None]) -> list[Event] | None:
        """Return the events of a whole batch, None if one of them has to be looked at.

        Raises:
            RegistryUnavailable: nobody can say which schema one of them was written with.
        """

    def decode_each(self, values: Sequence[bytes | None]) -> tuple[list[Event], dict[int, DecodeError]]:
        """Return the events in order, and why the other values are none, by place: for a batch with unusable ones.

        Raises:
            RegistryUnavailable: nobody can say which schema a record was written with.
        """
        refused: dict[int, DecodeError] = {}
        found = [self._tried(self.decode, value, place, refused) for place, value in enumerate(values)]
        return [event for event in found if event is not None], refused

    def _tried(
        self, decode: Callable[[bytes | None], Event], value: bytes | None, place: int, refused: dict[int, DecodeError]
    ) -> Event | None:
        try:
            return decode(value)
        except DecodeError as error:
            # Kept with its frames it would hold the whole batch in a cycle.
            error.__cause__ = error.__context__ = None
            refused[place] = error.with_traceback(None)
            return None

    def row(self, event: Event) -> dict[str, Value]:
        """Return the event's fields by name, as expressions take them. Times are integer ms."""
        return {name: getattr(event, name) for name in event.__struct_fields__}

    def at_ms(self, event: Event) -> int:
        """Return the event's time."""
        return cast("int", getattr(event, self.event.at))

    def _sized(self, value: bytes | None) -> bytes:
        """Return ``value`` if there is something to decode and not too much of it."""
        if not value:
            raise self._refusal("empty_value", "$", "expected an event, got no bytes")
        if len(value) > self.event.max_bytes:
            raise self._refusal("too_large", "$", f"expected at most {self.event.max_bytes} bytes, got {len(value)}")
        return value

    def _settle_times(self, events: Sequence[Any]) -> None:
        """Turn the events' times into integer ms, in place."""
        for name in self._times:
            times = list(map(attrgetter(name), events))
            if set(map(type, times)) == {int} and min(times) >= 0 and max(times) <= LATEST_MS:
                continue
            for event, given in zip(events, times, strict=True):
                at = given
                if type(at) is not int:
                    if at is None:
                        continue
                    at = _epoch_ms(at)
                    setattr(event, name, at)
                if not 0 <= at <= LATEST_MS:
                    said = f"expected a time between 1970 and 9999, got {at}"
                    raise self._refusal("out_of_range", f"$.{name}", said)

    def _misfit(self, error: msgspec.ValidationError) -> DecodeError:
        """Return what a value that does not fit the declared fields means."""
        said = str(error)
        return self._refusal(reason_of(error), *place_of(said[:_WORST_MESSAGE]))

    def _refusal(self, reason: str, path: str, said: str) -> DecodeError:
        return DecodeError(reason, path, f"cannot decode {self.event.name}: {said[:_WORST_MESSAGE]}")


def reason_of(error: msgspec.ValidationError) -> str:
    """Return the dead-letter reason of a value that does not fit."""
    said = str(error)
    return next((reason for words, reason in _REASONS if words in said), "wrong_type")


def place_of(said: str) -> tuple[str, str]:
    """Return the path that a message of msgspec names, and the message."""
    _, at, place = said.rpartition(" - at `")
    path = place.rstrip("`") if at else "$"
    missing = _MISSING.match(said)
    return path if missing is None else f"{path}.{missing[1]}", said


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
