"""JSON to declared events, one object a record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NoReturn, cast

import msgspec

from definitions.declared import EventDefinition
from streams.codecs.decoder import Event, EventDecoder
from streams.errors import DecodeError

DEEPEST = 100
"""How many arrays and objects may lie in one another, fields that nobody reads included."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


class JsonDecoder(EventDecoder):
    """Decodes records that are JSON objects.

    Example:
        >>> from definitions.declared import Field
        >>> from definitions.values import ValueType
        >>> fields = (Field("user", ValueType.CATEGORY), Field("at", ValueType.TIME))
        >>> decoder = JsonDecoder(EventDefinition("visit", "visits", fields, "user", "at", ("user",), 0))
        >>> event = decoder.decode(b'{"user": "ann", "at": "2013-01-01T00:00:00Z", "more": 1}')
        >>> decoder.row(event), decoder.at_ms(event)
        ({'user': 'ann', 'at': 1356998400000}, 1356998400000)
    """

    def __init__(self, event: EventDefinition) -> None:
        super().__init__(event)
        decoder = msgspec.json.Decoder(self._struct)
        self._decode: Callable[[bytes], Any] = decoder.decode

    def decode(self, value: bytes | None) -> Event:
        """Return the event in ``value``. Cost: 0.5 us and up.

        Raises:
            DecodeError: the bytes are not the declared event.
        """
        event = self._unsettled(value)
        self._settle_times((event,))
        return event

    def decode_all(self, values: Sequence[bytes | None]) -> list[Event] | None:
        """Return the events of a whole batch, None if one of them has to be looked at. Cost: 0.4 us an event."""
        if not values or not all(values):
            return None
        whole = cast("Sequence[bytes]", values)
        longest = len(max(whole, key=len))
        if longest > self.event.max_bytes:
            return None
        # Brackets that nest so deep, closed again, are longer than most events.
        if longest > 2 * DEEPEST and any(map(_is_too_deep, whole)):
            return None
        try:
            events = list(map(self._decode, whole))
            if not all(map(bytes.isascii, whole)):
                b"".join(whole).decode()  # each begins and ends with a sign of JSON, so none mends its neighbour
            self._settle_times(events)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DecodeError):
            return None
        return events

    def decode_each(self, values: Sequence[bytes | None]) -> tuple[list[Event], dict[int, DecodeError]]:
        """Return the events, and why the other values are none. Cost: 0.5 us a value, 8 us one that is none."""
        given = [value or b"" for value in values]
        refused: dict[int, DecodeError] = {}
        found: list[Event | None] = []
        rest = iter(given)
        while len(found) < len(given):
            try:
                found.extend(map(self._decode, rest))  # what comes before one that raises is kept
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found.append(self._tried(self._unsettled, given[len(found)], len(found), refused))
        for place in self._suspects(given) - refused.keys():
            self._tried(self._unsettled, given[place], place, refused)
        living = bytearray(b"\1" * len(given))
        for place in refused:
            living[place] = 0
        events = cast("list[Event]", list(compress(found, living)))
        try:
            self._settle_times(events)
        except DecodeError:
            return super().decode_each(values)
        return events, refused

    def _suspects(self, given: Sequence[bytes]) -> set[int]:
        """Return the places of the values that may be none although they were decoded."""
        suspects: set[int] = set()
        if not all(map(bytes.isascii, given)):
            suspects = {place for place, value in enumerate(given) if not (value.isascii() or _is_utf8(value))}
        if max(map(len, given), default=0) > min(self.event.max_bytes, 2 * DEEPEST):
            suspects |= {
                place
                for place, value in enumerate(given)
                if len(value) > self.event.max_bytes or (len(value) > 2 * DEEPEST and _is_too_deep(value))
            }
        return suspects

    def _unsettled(self, value: bytes | None) -> Event:
        """Return the event with its times as they were written."""
        given = self._sized(value)
        if _is_too_deep(given):
            raise self._refusal("bad_json", "$", f"expected at most {DEEPEST} levels of nesting, got more")
        try:
            event = self._decode(given)
            if not given.isascii():
                given.decode()
        except msgspec.ValidationError as error:
            raise self._misfit(error) if _is_utf8(given) else self._refusal("not_utf8", "$", str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._refusal(why_no_json(given), "$", str(error)) from error
        return cast("Event", event)


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


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def why_no_json(value: bytes) -> str:
    """Return why bytes are no JSON."""
    if not _is_utf8(value):
        return "not_utf8"
    return "not_finite" if _names_not_finite(value.decode()) else "bad_json"


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
