"""Lines of JSON become records that others read: the official deserializer, and the decoder of the codec."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from agents.fetch_schemas import SchemaRegistry
from streams.codecs import Schema, decoder_of
from streams.codecs.framed import Unreadable
from streams.codecs.writing import encoder_of
from streams.errors import DecodeError
from tests.builders import event_definition
from tests.registry import TIMESTAMP, F, Writer, enum, field, message, message_class, proto_file, running_registry

AVRO = event_definition(codec="avro")
PROTOBUF = event_definition(codec="protobuf")
AT_MS = 1_700_000_000_123
LINE: dict[str, Any] = {
    "flight_id": "UA1", "origin": "JFK", "dest": "LAX", "carrier": "UA", "tail": None, "delay_min": 8.5, "seats": 100,
    "departed_at": "2023-11-14T23:13:20.123+01:00", "gate": "B7",
}  # fmt: skip
SCHEMA = {
    "type": "record",
    "name": "Departed",
    "fields": [
        *({"name": name, "type": "string"} for name in ("flight_id", "dest", "carrier", "gate")),
        {"name": "origin", "type": {"type": "enum", "name": "Airport", "symbols": ["JFK", "LGA"]}},
        {"name": "tail", "type": ["null", "string"]},
        {"name": "delay_min", "type": "double"},
        {"name": "seats", "type": ["null", "int"]},
        {"name": "departed_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "wind", "type": "double", "default": 1.5},
    ],
}
FILE = proto_file(
    message(
        "Departed",
        *(
            field(name, number, F.TYPE_STRING)
            for number, name in enumerate(("flight_id", "dest", "carrier", "gate"), 1)
        ),
        field("origin", 5, F.TYPE_ENUM, ".test.Airport"),
        field("tail", 6, F.TYPE_STRING, optional=True),
        field("delay_min", 7, F.TYPE_DOUBLE),
        field("seats", 8, F.TYPE_INT32, optional=True),
        field("departed_at", 9, F.TYPE_MESSAGE, TIMESTAMP),
    ),
    enums=[enum("Airport", "JFK", "LGA")],
)
EXPECTED = {**{name: each for name, each in LINE.items() if name != "gate"}, "departed_at": AT_MS}


def line(**changes: Any) -> bytes:
    return json.dumps(LINE | changes).encode()


def schema_of(file: Any) -> Schema:
    return Schema("PROTOBUF", base64.b64encode(file.serialized_pb).decode())


@pytest.mark.parametrize("at", [LINE["departed_at"], AT_MS])
def test_avro_is_what_the_official_deserializer_reads(at: object) -> None:
    context = SerializationContext(AVRO.topic, MessageField.VALUE)
    with running_registry() as registry:
        with Writer(registry, AVRO.topic) as writer:
            writer.register("flights.departed-value", SCHEMA)
        schemas = SchemaRegistry(registry.url)
        found = schemas.latest("flights.departed-value")
        assert found is not None

        record = encoder_of(AVRO, found.schema, found.id)(line(departed_at=at))

        with SchemaRegistryClient({"url": registry.url}) as client:
            theirs = AvroDeserializer(client)(record, context)
        decoder = decoder_of(AVRO, schemas)
        assert decoder.row(decoder.decode(record)) == EXPECTED
    assert theirs["departed_at"].timestamp() * 1_000 == AT_MS
    assert (theirs["gate"], theirs["origin"], theirs["wind"]) == ("B7", "JFK", 1.5)


@pytest.mark.parametrize("at", [LINE["departed_at"], AT_MS])
def test_protobuf_is_what_the_official_deserializer_reads(at: object) -> None:
    made = message_class(FILE, "Departed")

    record = encoder_of(PROTOBUF, schema_of(FILE), 7)(line(departed_at=at))

    read = ProtobufDeserializer(made, {"use.deprecated.format": False})
    theirs = read(record, SerializationContext(PROTOBUF.topic, MessageField.VALUE))
    decoder = decoder_of(PROTOBUF, {7: schema_of(FILE)}.get)
    assert decoder.row(decoder.decode(record)) == EXPECTED
    assert theirs.departed_at.ToMilliseconds() == AT_MS
    assert (theirs.gate, theirs.origin, theirs.HasField("tail")) == ("B7", 0, False)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "bad_json"),
        (line(delay_min="8"), "wrong_type"),
        (line(departed_at="2023-11-14T23:13:20"), "naive_time"),
        (line(gate=7), "wrong_type"),
        (line(origin="SFO"), "wrong_type"),
    ],
)
@pytest.mark.parametrize(
    ("event", "schema"),
    [(AVRO, Schema("AVRO", json.dumps(SCHEMA))), (PROTOBUF, schema_of(FILE))],
    ids=["avro", "protobuf"],
)
def test_a_line_that_does_not_fit_says_why(event: Any, schema: Schema, value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        encoder_of(event, schema, 1)(value)

    assert refusal.value.reason == reason


@pytest.mark.parametrize("schema", [Schema("AVRO", '"string"'), Schema("PROTOBUF", "!"), schema_of(proto_file())])
def test_a_schema_that_no_record_can_be_written_under_is_refused(schema: Schema) -> None:
    with pytest.raises(Unreadable):
        encoder_of(AVRO, schema, 1)
