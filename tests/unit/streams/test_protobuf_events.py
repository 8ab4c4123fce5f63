"""Protobuf records become the event that JSON would have been, or one of its reasons; the bytes are official ones."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fetch_schemas import SchemaRegistry
from definitions.declared import Field
from definitions.values import ValueType
from streams.codecs import Schema, Schemas, decoder_of
from streams.errors import DecodeError
from streams.intake import Intake
from streams.records import Partition
from tests.builders import event_definition
from tests.records import GivenRecord, batch_of
from tests.registry import TIMESTAMP, F, Writer, enum, field, message, message_class, proto_file, running_registry

EVENT = event_definition(
    fields=(
        *event_definition().fields,
        Field("booked_at", ValueType.TIME, nullable=True),
        Field("full", ValueType.BOOL),
    ),
    max_bytes=30_000,
    codec="protobuf",
)
AT_MS = 1_700_000_000_123
AT = {"seconds": AT_MS // 1_000, "nanos": 123_999_999}
LEFT_OUT = object()
Written = tuple[bytes, Schemas]
NUMBERS = {name: number for number, name in enumerate((each.name for each in EVENT.fields), 1)}


def declare(**given: Any) -> list[Any]:
    """Return the fields of a departure; ``given`` says other arguments of `field` for some of them."""
    kinds: dict[str, tuple[Any, ...]] = {
        "flight_id": (F.TYPE_STRING,),
        "origin": (F.TYPE_ENUM, ".test.Airport"),
        "dest": (F.TYPE_STRING,),
        "carrier": (F.TYPE_STRING,),
        "delay_min": (F.TYPE_DOUBLE,),
        "departed_at": (F.TYPE_MESSAGE, TIMESTAMP),
        "booked_at": (F.TYPE_INT64,),
        "full": (F.TYPE_BOOL,),
    }
    optional = {"booked_at"}
    made = [
        field(name, NUMBERS[name], *kind, optional=name in optional)
        for name, each in (kinds | given).items()
        if each is not LEFT_OUT
        for kind in [each]
    ]
    return [
        *made,
        field("tail", NUMBERS["tail"], F.TYPE_MESSAGE, ".google.protobuf.StringValue"),
        field("seats", NUMBERS["seats"], F.TYPE_INT32, optional=True),
    ]


AIRPORT = enum("Airport", "UNKNOWN", "JFK", "LGA")
FILE = proto_file(
    message("Departed", *declare(), field("surprise", 99, F.TYPE_STRING, label=F.LABEL_REPEATED)),
    message("Outer", nested=[message("First"), message("Inner", *declare())]),
    enums=[AIRPORT],
)
DEPARTED = message_class(FILE, "Departed")
VALUES: dict[str, Any] = {
    "flight_id": "UA1", "origin": 1, "dest": "LAX", "carrier": "UÄ", "delay_min": 8.0, "seats": 100, "departed_at": AT,
    "booked_at": AT_MS, "full": True,
}  # fmt: skip


def written(*messages: Any) -> list[Written]:
    """Return each message as a record by the official serializer, and the schema registry's schemas."""
    with running_registry() as registry:
        with Writer(registry, EVENT.topic) as writer:
            records = [writer.protobuf(each)[0] for each in messages]
        fetch = SchemaRegistry(registry.url)
        schemas = {number: fetch(number) for number in range(1, len(messages) + 1)}
    return [(record, schemas.get) for record in records]


def refused(decode: Callable[[bytes], object], value: bytes) -> tuple[str, str]:
    with pytest.raises(DecodeError) as refusal:
        decode(value)
    return refusal.value.reason, refusal.value.path


@pytest.fixture(scope="module")
def plain() -> Written:
    [found] = written(DEPARTED(**VALUES, surprise=["a", "b"]))
    return found


def test_a_record_of_the_official_serializer_is_the_event_that_json_would_have_been(plain: Written) -> None:
    record, schemas = plain
    decoder = decoder_of(EVENT, schemas)
    as_json = decoder_of(event_definition(fields=EVENT.fields))
    same = json.dumps({**VALUES, "origin": "JFK", "departed_at": AT_MS, "tail": None}).encode()

    event = decoder.decode(record)

    assert record[:6] == b"\0\0\0\0\1\0"
    assert decoder.row(event) == as_json.row(as_json.decode(same))
    assert decoder.at_ms(event) == AT_MS
    assert [decoder.row(each) for each in decoder.decode_all([record] * 3) or ()] == [decoder.row(event)] * 3


def test_a_message_within_another_is_found_by_its_indices() -> None:
    [(record, schemas)] = written(message_class(FILE, "Outer", "Inner")(**VALUES, tail={"value": "N1"}))
    decoder = decoder_of(EVENT, schemas)

    assert record[5:8] == b"\x04\x02\x02"
    assert decoder.row(decoder.decode(record))["tail"] == "N1"
    assert decoder.decode_all([record]) == [decoder.decode(record)]


TAKEN: list[tuple[str, tuple[Any, ...], Any, object]] = [
    ("departed_at", (F.TYPE_INT64,), AT_MS, AT_MS),
    ("departed_at", (F.TYPE_FIXED64,), AT_MS, AT_MS),
    ("departed_at", (F.TYPE_STRING,), "2013-01-01T00:00:00+01:00", 1_356_994_800_000),
    ("booked_at", (F.TYPE_MESSAGE, TIMESTAMP), AT, AT_MS),
    ("booked_at", (F.TYPE_MESSAGE, TIMESTAMP), None, None),
    ("delay_min", (F.TYPE_FLOAT,), 0.5, 0.5),
    ("delay_min", (F.TYPE_SINT32,), -8, -8.0),
    ("delay_min", (F.TYPE_DOUBLE,), None, 0.0),
    ("delay_min", (F.TYPE_MESSAGE, ".google.protobuf.DoubleValue"), {"value": 0.25}, 0.25),
    ("origin", (F.TYPE_STRING,), "LGA", "LGA"),
    ("origin", (F.TYPE_ENUM, ".test.Airport"), None, "UNKNOWN"),
]
REFUSED: list[tuple[str, Any, Any, str, str]] = [
    ("dest", LEFT_OUT, None, "missing_field", "$.dest"),
    ("departed_at", (F.TYPE_MESSAGE, TIMESTAMP), None, "missing_field", "$.departed_at"),
    ("delay_min", (F.TYPE_MESSAGE, ".google.protobuf.DoubleValue"), None, "missing_field", "$.delay_min"),
    ("origin", (F.TYPE_INT32,), 7, "wrong_type", "$.origin"),
    ("origin", (F.TYPE_ENUM, ".test.Airport"), 77, "wrong_type", "$.origin"),
    ("dest", (F.TYPE_BYTES,), b"LAX", "wrong_type", "$.dest"),
    ("dest", (F.TYPE_MESSAGE, TIMESTAMP), AT, "wrong_type", "$.dest"),
    ("delay_min", (F.TYPE_STRING,), "8", "wrong_type", "$.delay_min"),
    ("full", (F.TYPE_INT32,), 1, "wrong_type", "$.full"),
    ("departed_at", (F.TYPE_STRING,), "2013-01-01T00:00:00", "naive_time", "$.departed_at"),
    ("departed_at", (F.TYPE_MESSAGE, TIMESTAMP), {"seconds": -1}, "out_of_range", "$.departed_at"),
    ("departed_at", (F.TYPE_UINT64,), 2**64 - 1, "out_of_range", "$.departed_at"),
    ("delay_min", (F.TYPE_DOUBLE,), float("nan"), "not_finite", "$.delay_min"),
    ("delay_min", (F.TYPE_FLOAT,), float("inf"), "not_finite", "$.delay_min"),
    ("dest", (F.TYPE_STRING,), "x" * 30_000, "too_large", "$"),
]


@pytest.fixture(scope="module")
def of_cases() -> list[Written]:
    """Return a record for each of `TAKEN`, then of `REFUSED`."""
    return written(*(departure(name, kind, value) for name, kind, value, *_ in (*TAKEN, *REFUSED)))


def departure(name: str, kind: Any, value: Any) -> Any:
    """Return a departure of which one field is declared otherwise."""
    file = proto_file(message("Departed", *declare(**{name: kind})), enums=[AIRPORT])
    values = {each: given for each, given in (VALUES | {name: value}).items() if given is not None}
    return message_class(file, "Departed")(**values)


@pytest.mark.parametrize(("case", "name", "expected"), [(case, each[0], each[3]) for case, each in enumerate(TAKEN)])
def test_what_a_writer_may_call_a_field_of_that_type(
    of_cases: list[Written], case: int, name: str, expected: object
) -> None:
    record, schemas = of_cases[case]
    decoder = decoder_of(EVENT, schemas)

    assert decoder.row(decoder.decode(record))[name] == expected
    assert decoder.decode_all([record]) == [decoder.decode(record)]


@pytest.mark.parametrize(
    ("case", "reason", "path"), [(case, *each[3:]) for case, each in enumerate(REFUSED, len(TAKEN))]
)
def test_a_value_that_is_not_the_declared_one_has_the_reason_and_the_place_of_json(
    of_cases: list[Written], case: int, reason: str, path: str
) -> None:
    record, schemas = of_cases[case]
    decoder = decoder_of(EVENT, schemas)

    assert refused(decoder.decode, record) == (reason, path)
    assert decoder.decode_all([record]) is None


def test_a_whole_number_beyond_64_bits_is_out_of_range() -> None:
    file = proto_file(message("Big", field("seats", 1, F.TYPE_UINT64)))
    [(record, schemas)] = written(message_class(file, "Big")(seats=2**63))
    seats = event_definition(fields=(Field("seats", ValueType.INT),), at="seats", codec="protobuf")

    assert refused(decoder_of(seats, schemas).decode, record) == ("out_of_range", "$.seats")


def test_bytes_that_are_no_record_of_their_schema_have_a_reason(plain: Written) -> None:
    record, schemas = plain
    decoder = decoder_of(EVENT, schemas)
    head, body = record[:5], record[6:]
    bad = {
        b"": "empty_value",
        b"\0\0\0\0": "bad_frame",
        json.dumps(VALUES).encode(): "bad_frame",
        b"\0\0\0\0\7\0" + body: "unknown_schema",
        head: "bad_frame",  # no indices at all
        head + b"\x02\x04" + body: "bad_frame",  # the third message of a file of two
        head + b"\x04\x02\x08" + body: "bad_frame",  # the fifth within the second
        head + b"\x03" + body: "bad_frame",  # minus two indices
        head + b"\xff" * 20 + body: "bad_frame",
        head + b"\xfe\x01\x02": "bad_frame",
        record[:-1]: "bad_protobuf",
        record + b"\xff": "bad_protobuf",
        record.replace(b"UA1", b"U\xff1"): "not_utf8",
    }

    for value, reason in bad.items():
        assert refused(decoder.decode, value) == (reason, "$"), value
        assert decoder.decode_all([record, value]) is None
    assert decoder.decode_all([record, None]) is None


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_but_a_reason(body: bytes) -> None:
    decoder = decoder_of(EVENT, {1: schema_of(FILE.serialized_pb)}.get)

    with contextlib.suppress(DecodeError):
        decoder.decode(b"\0\0\0\0\1" + body)


def schema_of(descriptor: bytes) -> Schema:
    return Schema("PROTOBUF", base64.b64encode(descriptor).decode())


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (Schema("AVRO", '"string"'), "schema 1: expected PROTOBUF, got AVRO"),
        (Schema("PROTOBUF", 'syntax = "proto3";'), "cannot be used"),
        (schema_of(b"\xff\xff"), "cannot be used"),
        (schema_of(FileDescriptorProto(message_type=[message("M", field("x", 1, F.TYPE_MESSAGE, ".no.Such"))])
                   .SerializeToString()), "cannot be used"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_read_is_refused(schema: Schema, said: str) -> None:
    decoder = decoder_of(EVENT, {1: schema}.get)

    with pytest.raises(DecodeError, match=said) as refusal:
        decoder.decode(b"\0\0\0\0\1\0")
    assert (refusal.value.reason, refusal.value.path) == ("wrong_schema", "$")


def test_an_import_that_is_not_installed_is_not_missed_where_only_options_come_from_it() -> None:
    file = FileDescriptorProto.FromString(FILE.serialized_pb)
    file.dependency.append("company/options.proto")
    [(record, _)] = written(DEPARTED(**VALUES))
    decoder = decoder_of(EVENT, {1: schema_of(file.SerializeToString())}.get)

    assert decoder.at_ms(decoder.decode(record)) == AT_MS


def test_files_that_a_schema_imports_are_fetched_with_it() -> None:
    imported = proto_file(enums=[AIRPORT], name="airports.proto")
    file = proto_file(message("Departed", *declare()), more=[imported])
    with running_registry() as registry:
        with Writer(registry, EVENT.topic) as writer:
            [record] = writer.protobuf(message_class(file, "Departed")(**VALUES | {"origin": 2}))
        decoder = decoder_of(EVENT, SchemaRegistry(registry.url))

        assert decoder.row(decoder.decode(record))["origin"] == "LGA"


def test_two_writers_schemas_decode_side_by_side_and_each_is_asked_for_once() -> None:
    """The newer one has another message of the same full name: each schema has a pool of its own."""
    newer = proto_file(message("Departed", *declare(departed_at=(F.TYPE_INT64,))), enums=[AIRPORT])
    with running_registry() as registry:
        with Writer(registry, EVENT.topic) as writer:
            [old] = writer.protobuf(DEPARTED(**VALUES))
            [new] = writer.protobuf(message_class(newer, "Departed")(**VALUES | {"departed_at": AT_MS, "dest": "SFO"}))
        registry.asked.clear()
        decoder = decoder_of(EVENT, SchemaRegistry(registry.url))

        events = decoder.decode_all([old, new] * 500)

        ids = ("1", "1?format=serialized", "2", "2?format=serialized")
        assert sorted(registry.asked) == [f"GET /schemas/ids/{each}" for each in ids]
    assert events is not None
    assert [decoder.row(each)["dest"] for each in events] == ["LAX", "SFO"] * 500
    assert {decoder.at_ms(each) for each in events} == {AT_MS}


def test_one_bad_record_does_not_touch_its_neighbours(plain: Written) -> None:
    record, schemas = plain
    records = [GivenRecord(0, record), GivenRecord(1, record[:-1]), GivenRecord(2, record)]

    found = Intake(EVENT, schemas).read(batch_of(Partition(EVENT.topic, 0, "tid"), records))

    assert list(found.offsets) == [0, 2]
    assert [(letter.offset, letter.reason) for letter in found.dead] == [(1, "bad_protobuf")]
