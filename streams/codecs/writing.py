"""JSON objects to the framed records of an event's codec: for lines of JSON, and a topic that has none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import msgspec
from fastavro import schemaless_writer
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message_factory import GetMessageClass

from definitions.declared import EventDefinition
from definitions.values import ValueType
from streams.codecs.avro_events import UNITS, parsed
from streams.codecs.framed import MAGIC, Unreadable
from streams.codecs.json_events import JsonDecoder
from streams.codecs.protobuf_events import TIMESTAMP, file_of
from streams.codecs.schemas import AVRO, Schema
from streams.errors import DecodeError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISFITS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError)
"""What the Avro library raises on values that its schema has no place for."""

Body = Callable[[dict[str, Any]], bytes]
Encode = Callable[[bytes], bytes]
"""Takes a line of JSON; returns the record. Raises DecodeError."""


def encoder_of(event: EventDefinition, schema: Schema, schema_id: int) -> Encode:
    """Return what turns JSON events into records under a registered schema. Cost: 10-30 us a record.

    Every field of the line goes out that the schema has, declared or not. Times may be written as for a JSON topic.

    Raises:
        Unreadable: nobody can write such records.
    """
    decoder = JsonDecoder(event)
    body_of = _avro_body(schema) if schema.kind == AVRO else _protobuf_body(schema)
    times = [each.name for each in event.fields if each.type is ValueType.TIME]
    head = bytes([MAGIC]) + schema_id.to_bytes(4, "big")

    def encode(line: bytes) -> bytes:
        declared = decoder.decode(line)
        values = msgspec.json.decode(line)
        values.update({name: getattr(declared, name) for name in times if name in values})
        try:
            return head + body_of(values)
        except (*_MISFITS, ParseError) as error:
            said = f"cannot encode {event.name}: expected what its {schema.kind} schema has a place for: {error}"
            raise DecodeError("wrong_type", "$", said) from error

    return encode


def _avro_body(schema: Schema) -> Body:
    record, _ = parsed(schema)
    units = {each["name"]: found for each in record["fields"] if (found := _units(each["type"])) > 1}

    def body_of(values: dict[str, Any]) -> bytes:
        for name, factor in units.items():
            if type(values.get(name)) is int:
                values[name] *= factor
        body = BytesIO()
        schemaless_writer(body, record, values)
        return body.getvalue()

    return body_of


def _units(node: Any) -> int:
    """Return how many units of a field's timestamp are a millisecond, 1 where it is none."""
    kinds = (
        each.get("logicalType", "") for each in (node if isinstance(node, list) else [node]) if isinstance(each, dict)
    )
    return max((UNITS.get(kind, 1) for kind in kinds), default=1)


def _protobuf_body(schema: Schema) -> Body:
    """Return what writes the first message of the file, whose number among its messages is a single 0."""
    first: Descriptor | None = next(iter(file_of(schema).message_types_by_name.values()), None)
    if first is None:
        raise Unreadable("expected a message, got a file without one")
    message = GetMessageClass(first)
    stamps = [each.name for each in first.fields if each.message_type and each.message_type.full_name == TIMESTAMP]

    def body_of(values: dict[str, Any]) -> bytes:
        for name in stamps:
            if type(values.get(name)) is int:
                values[name] = _rfc3339(values[name])
        # The library's own way to ignore unknown fields turns unknown enum values into the first one.
        known = {name: value for name, value in values.items() if name in first.fields_by_name}
        return b"\0" + bytes(ParseDict(known, message()).SerializeToString())

    return body_of


def _rfc3339(at_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat().replace("+00:00", "Z")
