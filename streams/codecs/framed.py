"""Records that name their schema: a 0, the schema's id in 4 bytes, big-endian, then what the codec writes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any, NoReturn, cast

import msgspec

from definitions.declared import EventDefinition
from definitions.values import ValueType
from streams.codecs.decoder import Event, EventDecoder
from streams.codecs.schemas import Schema, Schemas
from streams.errors import DecodeError

HEAD_BYTES = 5
MAGIC = 0
_NEVER_FLOATS = frozenset({ValueType.INT, ValueType.BOOL, ValueType.CATEGORY, ValueType.TIME})

ReadFields = Callable[[bytes], dict[str, Any]]
"""Takes a whole record, head included; returns its fields by name. Raises DecodeError."""


class Unreadable(Exception):  # noqa: N818  # a finding about a schema, caught where its id is known
    """A schema that a codec cannot read; the text says why."""


class FramedDecoder(EventDecoder):
    """Decodes records by the schemas they were written with, several in one topic side by side.

    A schema is asked for once per id and decoder; what the registry denies is asked for again.
    """

    kind: str
    """The kind of schema that the codec reads, as registries name it."""

    def __init__(self, event: EventDefinition, schemas: Schemas) -> None:
        super().__init__(event)
        self._schemas = schemas
        self._readers: dict[bytes, ReadFields] = {}
        self._floats = tuple(each.name for each in event.fields if each.type not in _NEVER_FLOATS)
        self._rows_type = list[self._struct]  # type: ignore[name-defined]  # a class made for the event

    @abstractmethod
    def _reader_of(self, schema: Schema) -> ReadFields:
        """Return what reads the records of one schema.

        Raises:
            Unreadable: nothing can.
        """

    def decode(self, value: bytes | None) -> Event:
        """Return the event in ``value``. Cost: as in `decode_all`, and a third more."""
        given = self._sized(value)
        try:
            event = msgspec.convert(self._reader(given[:HEAD_BYTES])(given), self._struct)
        except msgspec.ValidationError as error:
            raise self._misfit(error) from error
        self._settle((event,))
        return event

    def decode_all(self, values: Sequence[bytes | None]) -> list[Event] | None:
        """Return the events of a batch, None if one has to be looked at. Cost: Protobuf 4, Avro 6 times JSON's."""
        if not values or not all(values):
            return None
        whole = cast("Sequence[bytes]", values)
        if len(max(whole, key=len)) > self.event.max_bytes:
            return None
        try:
            readers = {head: self._reader(head) for head in {value[:HEAD_BYTES] for value in whole}}
            rows = [readers[value[:HEAD_BYTES]](value) for value in whole]
            events: list[Event] = msgspec.convert(rows, self._rows_type)
            self._settle(events)
        except (msgspec.ValidationError, DecodeError):
            return None
        return events

    def _reader(self, head: bytes) -> ReadFields:
        known = self._readers.get(head)
        if known is not None:
            return known
        if len(head) < HEAD_BYTES or head[0] != MAGIC:
            raise self._refusal("bad_frame", "$", f"expected a 0 and a schema id, got {head.hex(' ')}")
        schema_id = int.from_bytes(head[1:], "big")
        schema = self._schemas(schema_id)
        if schema is None:
            raise self._refusal("unknown_schema", "$", f"expected a schema that the registry has, got id {schema_id}")
        reader = self._readers[head] = self._reader_or_refusal(schema_id, schema)
        return reader

    def _reader_or_refusal(self, schema_id: int, schema: Schema) -> ReadFields:
        """Return what reads the records of a schema, or refuses each: found out once, for schemas do not change."""
        said = f"expected {self.kind}, got {schema.kind}"
        if schema.kind == self.kind:
            try:
                return self._reader_of(schema)
            except Unreadable as error:
                said = str(error)

        def refuse(_: bytes) -> NoReturn:
            raise self._refusal("wrong_schema", "$", f"schema {schema_id}: {said}")

        return refuse

    def _settle(self, events: Sequence[Any]) -> None:
        """Turn times into ms, and refuse numbers that JSON could not have brought."""
        self._settle_times(events)
        for name in self._floats:
            for event in events:
                value = getattr(event, name)
                if value is not None and not _is_finite(value):
                    raise self._refusal("not_finite", f"$.{name}", f"expected a finite number, got {value}")


def _is_finite(value: float | Iterable[float]) -> bool:
    return isfinite(value) if isinstance(value, float | int) else all(map(isfinite, value))
