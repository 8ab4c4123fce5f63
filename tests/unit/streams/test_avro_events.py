"""Avro records become the event that JSON would have been, or one of its reasons; the bytes are official ones."""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fetch_schemas import SchemaRegistry
from definitions.declared import Field
from definitions.values import ValueType
from streams.codecs import Reference, Schema, Schemas, decoder_of
from streams.errors import CodecMissing, DecodeError, RegistryUnavailable
from streams.intake import Intake
from streams.records import Partition
from tests.builders import event_definition
from tests.records import GivenRecord, batch_of
from tests.registry import Writer, running_registry

EVENT = event_definition(
    fields=(
        *event_definition().fields,
        Field("booked_at", ValueType.TIME, nullable=True),
        Field("full", ValueType.BOOL),
    ),
    max_bytes=30_000,
    codec="avro",
)
PARTITION = Partition(EVENT.topic, 0, "tid")
AT_MS = 1_700_000_000_123
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
LEFT_OUT = object()
Written = tuple[bytes, Schemas]
TYPES: dict[str, Any] = {
    "surprise": {
        "type": "array",
        "items": {"type": "record", "name": "Deep", "fields": [{"name": "x", "type": "int"}]},
    },
    "flight_id": "string",
    "origin": {"type": "enum", "name": "Airport", "symbols": ["JFK", "LGA"]},
    "dest": "string",
    "carrier": "string",
    "tail": ["null", "string"],
    "delay_min": "double",
    "seats": ["null", "int"],
    "departed_at": MILLIS,
    "booked_at": ["null", MICROS],
    "full": "boolean",
}
VALUES: dict[str, Any] = {
    "surprise": [{"x": 1}, {"x": 2}], "flight_id": "UA1", "origin": "JFK", "dest": "LAX", "carrier": "UÄ", "tail": None,
    "delay_min": 8.0, "seats": 100, "departed_at": AT_MS, "booked_at": AT_MS * 1_000 + 999, "full": True,
}  # fmt: skip


def schema_of(**types: Any) -> dict[str, Any]:
    known = {name: each for name, each in (TYPES | types).items() if each is not LEFT_OUT}
    fields = [{"name": name, "type": each} for name, each in known.items()]
    return {"type": "record", "name": "Departed", "namespace": "flights", "fields": fields}


def written(*pairs: tuple[Any, Any]) -> list[tuple[bytes, Schemas]]:
    """Return a record of each (schema, value) by the official serializer, and the schema registry's schemas."""
    with running_registry() as registry:
        with Writer(registry, EVENT.topic) as writer:
            records = [writer.avro(schema, value)[0] for schema, value in pairs]
        fetch = SchemaRegistry(registry.url)
        schemas = {number: fetch(number) for number in range(1, len(pairs) + 1)}
    return [(record, schemas.get) for record in records]


def refused(decode: Callable[[bytes], object], value: bytes) -> tuple[str, str]:
    with pytest.raises(DecodeError) as refusal:
        decode(value)
    return refusal.value.reason, refusal.value.path


@pytest.fixture(scope="module")
def plain() -> Written:
    [found] = written((schema_of(), VALUES))
    return found


def test_a_record_of_the_official_serializer_is_the_event_that_json_would_have_been(plain: Written) -> None:
    record, schemas = plain
    decoder = decoder_of(EVENT, schemas)
    as_json = decoder_of(event_definition(fields=EVENT.fields))
    same = json.dumps({**VALUES, "booked_at": AT_MS}).encode()

    event = decoder.decode(record)

    assert record[:5] == b"\0\0\0\0\1"
    assert decoder.row(event) == as_json.row(as_json.decode(same))
    assert decoder.at_ms(event) == AT_MS
    assert [decoder.row(each) for each in decoder.decode_all([record] * 3) or ()] == [decoder.row(event)] * 3


TAKEN: list[tuple[str, Any, Any, object]] = [
    ("departed_at", "long", AT_MS, AT_MS),
    ("departed_at", "string", "2013-01-01T00:00:00+01:00", 1_356_994_800_000),
    ("departed_at", {"type": "long", "logicalType": "timestamp-nanos"}, AT_MS * 1_000_000 + 7, AT_MS),
    ("departed_at", [MICROS, "string"], AT_MS * 1_000, AT_MS),
    ("delay_min", "int", 8, 8.0),
    ("delay_min", "float", 0.5, 0.5),
    ("delay_min", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, b"\xff\x85", -1.23),
    ("seats", "long", 2**62, 2**62),
    ("seats", LEFT_OUT, None, None),
    ("flight_id", {"type": "string", "logicalType": "uuid"}, "3f2a", "3f2a"),
    ("flight_id", {"type": "string"}, "x", "x"),
]


@pytest.fixture(scope="module")
def of_cases() -> list[Written]:
    """Return a record for each of `TAKEN`, then of `REFUSED`."""
    return written(
        *((schema_of(**{name: kind}), {**VALUES, name: value}) for name, kind, value, *_ in (*TAKEN, *REFUSED))
    )


@pytest.mark.parametrize(("case", "name", "expected"), [(case, each[0], each[3]) for case, each in enumerate(TAKEN)])
def test_what_a_writer_may_call_a_field_of_that_type(
    of_cases: list[Written], case: int, name: str, expected: object
) -> None:
    record, schemas = of_cases[case]
    decoder = decoder_of(EVENT, schemas)

    assert decoder.row(decoder.decode(record))[name] == expected
    assert decoder.decode_all([record]) == [decoder.decode(record)]


REFUSED: list[tuple[str, Any, Any, str, str]] = [
    ("origin", LEFT_OUT, None, "missing_field", "$.origin"),
    ("origin", ["null", "string"], None, "wrong_type", "$.origin"),
    ("origin", "int", 7, "wrong_type", "$.origin"),
    ("origin", "bytes", b"JFK", "wrong_type", "$.origin"),
    ("delay_min", "string", "8", "wrong_type", "$.delay_min"),
    ("delay_min", "boolean", True, "wrong_type", "$.delay_min"),
    ("seats", "double", 1.5, "wrong_type", "$.seats"),
    ("full", "int", 1, "wrong_type", "$.full"),
    ("departed_at", "double", 1.5, "wrong_type", "$.departed_at"),
    ("departed_at", "string", "yesterday", "wrong_type", "$.departed_at"),
    ("departed_at", "string", "2013-01-01T00:00:00", "naive_time", "$.departed_at"),
    ("departed_at", {"type": "long", "logicalType": "local-timestamp-millis"}, AT_MS, "naive_time", "$.departed_at"),
    ("booked_at", ["null", {"type": "long", "logicalType": "local-timestamp-micros"}], 5, "naive_time", "$.booked_at"),
    ("departed_at", MILLIS, -1, "out_of_range", "$.departed_at"),
    ("departed_at", MILLIS, 2**62, "out_of_range", "$.departed_at"),
    ("delay_min", "double", float("nan"), "not_finite", "$.delay_min"),
    ("delay_min", "float", float("-inf"), "not_finite", "$.delay_min"),
    ("dest", "string", "x" * 30_000, "too_large", "$"),
]  # fmt: skip


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


def test_bytes_that_are_no_record_of_their_schema_have_a_reason(plain: Written) -> None:
    record, schemas = plain
    decoder = decoder_of(EVENT, schemas)
    bad = {
        b"": "empty_value",
        b"\0\0\0": "bad_frame",
        b"\1" + record[1:]: "bad_frame",
        json.dumps(VALUES).encode(): "bad_frame",
        b"\0\0\0\0\7" + record[5:]: "unknown_schema",
        record[:-1]: "bad_avro",
        record + b"\0": "bad_avro",
        record[:5]: "bad_avro",
        record.replace(b"UA1", b"U\xff1"): "not_utf8",
    }

    for value, reason in bad.items():
        assert refused(decoder.decode, value) == (reason, "$"), value
        assert decoder.decode_all([record, value]) is None
    with pytest.raises(DecodeError, match="expected an event, got no bytes"):
        decoder.decode(None)
    assert decoder.decode_all([record, None]) is None
    assert decoder.decode_all([]) is None


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_but_a_reason(body: bytes) -> None:
    decoder = decoder_of(EVENT, {1: Schema("AVRO", json.dumps(schema_of()))}.get)

    with contextlib.suppress(DecodeError):
        decoder.decode(b"\0\0\0\0\1" + body)


RECURSIVE = schema_of(
    surprise={"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
)
HOLLOW = schema_of(surprise={"type": "array", "items": {"type": "record", "name": "None", "fields": []}})
UNREADABLE = [
    (Schema("PROTOBUF", "CgA="), "schema 1: expected AVRO, got PROTOBUF"),
    (Schema("AVRO", "{"), "cannot be parsed"),
    (Schema("AVRO", '"string"'), "expected a record"),
    (Schema("AVRO", json.dumps(schema_of(dest="flights.Nowhere"))), "cannot be parsed"),
    (Schema("AVRO", json.dumps(RECURSIVE)), "Node, which contains itself"),
    (Schema("AVRO", json.dumps(HOLLOW)), "array of nothing"),
    (Schema("AVRO", json.dumps(schema_of(surprise={"type": "array", "items": "null"}))), "array of nothing"),
]


@pytest.mark.parametrize(("schema", "said"), UNREADABLE)
def test_a_schema_that_cannot_be_read_safely_is_refused_before_a_byte_is(schema: Schema, said: str) -> None:
    """Two hundred thousand levels of a type that contains itself end the process that reads them, uncaught."""
    asked: list[int] = []
    decoder = decoder_of(EVENT, lambda each: asked.append(each) or schema)  # type: ignore[func-returns-value]
    value = b"\0\0\0\0\1" + b"\2" * 20_000

    for _ in range(2):
        with pytest.raises(DecodeError, match=said) as refusal:
            decoder.decode(value)
        assert (refusal.value.reason, refusal.value.path) == ("wrong_schema", "$")
        assert decoder.decode_all([value]) is None
    assert asked == [1], "poison must not have its schema parsed a record"


def test_a_named_type_is_read_wherever_it_is_used_again() -> None:
    schema = schema_of(dest="flights.Airport", surprise=["null", {"type": "map", "values": "long"}])
    [(record, schemas)] = written((schema, {**VALUES, "dest": "LGA", "surprise": {"a": 1}}))
    decoder = decoder_of(EVENT, schemas)

    assert decoder.row(decoder.decode(record))["dest"] == "LGA"


def test_schemas_that_a_schema_refers_to_are_fetched_with_it() -> None:
    airport = {"type": "enum", "name": "geo.Airport", "symbols": ["JFK", "LGA"]}
    with running_registry() as registry:
        with Writer(registry, EVENT.topic) as writer:
            reference = writer.register("airports", airport)
            [record] = writer.avro(schema_of(origin="geo.Airport"), {**VALUES, "origin": "LGA"}, references=[reference])
        schemas = SchemaRegistry(registry.url)
        decoder = decoder_of(EVENT, schemas)

        assert decoder.row(decoder.decode(record))["origin"] == "LGA"
        assert schemas(2) == Schema(
            "AVRO",
            json.dumps(schema_of(origin="geo.Airport")),
            (Reference("geo.Airport", Schema("AVRO", json.dumps(airport))),),
        )


def test_two_writers_schemas_decode_side_by_side_and_each_is_asked_for_once() -> None:
    newer = schema_of(seats=LEFT_OUT, departed_at=MICROS, wind="double")
    with running_registry() as registry:
        with Writer(registry, EVENT.topic) as writer:
            [old] = writer.avro(schema_of(), VALUES)
            [new] = writer.avro(newer, {**VALUES, "departed_at": AT_MS * 1_000, "wind": 3.0})
        registry.asked.clear()
        decoder = decoder_of(EVENT, SchemaRegistry(registry.url))

        events = decoder.decode_all([old, new] * 500)

        assert sorted(registry.asked) == ["GET /schemas/ids/1", "GET /schemas/ids/2"]
        assert events is not None
        assert [decoder.row(each)["seats"] for each in events] == [100, None] * 500
        assert {decoder.at_ms(each) for each in events} == {AT_MS}


def test_a_schema_is_asked_for_and_parsed_once(plain: Written) -> None:
    record, schemas = plain
    asked: list[int] = []
    decoder = decoder_of(EVENT, lambda each: asked.append(each) or schemas(each))  # type: ignore[func-returns-value]

    for _ in range(3):
        decoder.decode(record)
        decoder.decode_all([record] * 10)

    assert asked == [1]


def test_a_registry_that_does_not_answer_makes_no_record_dead(plain: Written) -> None:
    record, schemas = plain

    def silent(_: int) -> Schema | None:
        raise RegistryUnavailable("no answer")

    batch = batch_of(PARTITION, [GivenRecord(0, b"no frame"), GivenRecord(1, record), GivenRecord(2, record)])

    with pytest.raises(RegistryUnavailable):
        Intake(EVENT, silent).read(batch)
    found = Intake(EVENT, schemas).read(batch)
    assert (list(found.offsets), [letter.reason for letter in found.dead]) == ([1, 2], ["bad_frame"])


def test_a_batch_and_its_records_one_by_one_are_the_same_events(plain: Written) -> None:
    """A record that ends too early must not be completed by the next one."""
    record, schemas = plain
    intake = Intake(EVENT, schemas)
    cut_in_two = [record[:20], record[20:]]
    records = [GivenRecord(offset, value) for offset, value in enumerate([record, *cut_in_two, record + record])]

    found = intake.read(batch_of(PARTITION, records))

    assert list(found.offsets) == [0]
    assert [letter.reason for letter in found.dead] == ["bad_avro", "bad_frame", "bad_avro"]


def test_a_codec_without_a_registry_says_where_to_name_it() -> None:
    with pytest.raises(CodecMissing, match=r"^cannot decode departed: codec avro: .* HEADRACE_SCHEMA_REGISTRY$"):
        decoder_of(EVENT)


def test_a_codec_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    monkeypatch.delitem(sys.modules, "streams.codecs.avro_events", raising=False)

    with pytest.raises(
        CodecMissing, match=r"expected the package fastavro, got none; pip install 'headrace\[codecs\]'$"
    ):
        decoder_of(EVENT, {}.get)


def test_the_frame_is_a_zero_and_a_big_endian_id(plain: Written) -> None:
    record, schemas = plain
    asked: list[int] = []
    decoder = decoder_of(EVENT, lambda each: asked.append(each) or schemas(1))  # type: ignore[func-returns-value]

    decoder.decode(struct.pack(">bI", 0, 2**32 - 2) + record[5:])

    assert asked == [2**32 - 2]
