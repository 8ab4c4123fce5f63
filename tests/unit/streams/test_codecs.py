"""Bytes become the declared event, or the reason why not, whatever the bytes are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import Field
from definitions.values import ValueType
from streams.codecs import LATEST_MS, decoder_of
from streams.errors import DecodeError
from streams.intake import FUTURE_MS, DeadLetter, Intake
from streams.records import Partition, RecordBatch
from tests.builders import event_definition
from tests.records import GivenRecord, batch_of

EVENT = event_definition(
    fields=(
        *event_definition().fields,
        Field("booked_at", ValueType.TIME, nullable=True),
        Field("full", ValueType.BOOL),
    ),
    max_bytes=30_000,
)
DECODER = decoder_of(EVENT)
PARTITION = Partition(EVENT.topic, 0, "tid")
AT_MS = 1_700_000_000_123
CREATE_TIME = 1


def fields(**changes: Any) -> dict[str, Any]:
    valid = {
        "flight_id": "UA1", "origin": "JFK", "dest": "LAX", "carrier": "UA", "tail": None, "delay_min": 8,
        "seats": 100, "departed_at": AT_MS, "full": True,
    }  # fmt: skip
    return {name: value for name, value in (valid | changes).items() if value != "left out"}


def bytes_of(**changes: Any) -> bytes:
    return json.dumps(fields(**changes)).encode()


def refused(value: bytes | None) -> tuple[str, str]:
    with pytest.raises(DecodeError) as refusal:
        DECODER.decode(value)
    return refusal.value.reason, refusal.value.path


def test_the_declared_fields_are_read_and_no_others() -> None:
    row = DECODER.row(DECODER.decode(bytes_of(surprise={"deep": [1]})))

    assert row == {**fields(), "booked_at": None}
    assert isinstance(row["delay_min"], float)


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2013-01-01T00:00:00Z", 1_356_998_400_000),
        ("2013-01-01T00:00:00.1239Z", 1_356_998_400_123),
        ("2012-12-31T19:00:00-05:00", 1_356_998_400_000),
        (1_356_998_400_000, 1_356_998_400_000),
        (0, 0),
        (LATEST_MS, LATEST_MS),
    ],
)
def test_a_time_is_milliseconds_of_utc_whichever_way_it_is_written(text: str | int, at_ms: int) -> None:
    event = DECODER.decode(bytes_of(departed_at=text, booked_at=text))

    assert DECODER.at_ms(event) == at_ms
    assert DECODER.row(event)["booked_at"] == at_ms


def test_a_nullable_field_may_be_left_out() -> None:
    assert DECODER.row(DECODER.decode(bytes_of(tail="left out")))["tail"] is None


DEEP = b"[" * 10_000 + b"]" * 10_000
BAD: list[tuple[bytes | None, str, str]] = [
    (None, "empty_value", "$"),
    (b"", "empty_value", "$"),
    (b"\xff\xfe{}", "not_utf8", "$"),
    (bytes_of().replace(b"UA1", b"U\xff1"), "not_utf8", "$"),
    (bytes_of().replace(b'"flight_id"', b'"unknown": "\xff", "flight_id"'), "not_utf8", "$"),
    (b"\xef\xbb\xbf" + bytes_of(), "bad_json", "$"),
    (b"{oops", "bad_json", "$"),
    (b"   ", "bad_json", "$"),
    (bytes_of()[:-1], "bad_json", "$"),
    (bytes_of() + b" {}", "bad_json", "$"),
    (bytes_of() + bytes_of(), "bad_json", "$"),
    (b"\x00\x00\x00\x00\x07" + bytes_of(), "bad_json", "$"),
    (bytes_of().replace(b'"UA1"', b'"\\ud800"'), "bad_json", "$"),
    (bytes_of().replace(b'"flight_id"', b'"deep": ' + DEEP + b', "flight_id"'), "bad_json", "$"),
    (b"[]", "wrong_type", "$"),
    (b"null", "wrong_type", "$"),
    (b"{}", "missing_field", "$.flight_id"),
    (bytes_of(origin="left out"), "missing_field", "$.origin"),
    (bytes_of(origin=None), "wrong_type", "$.origin"),
    (bytes_of(origin=7), "wrong_type", "$.origin"),
    (bytes_of(delay_min="8"), "wrong_type", "$.delay_min"),
    (bytes_of(delay_min=True), "wrong_type", "$.delay_min"),
    (bytes_of(seats=1.5), "wrong_type", "$.seats"),
    (bytes_of(full=1), "wrong_type", "$.full"),
    (bytes_of(departed_at=1.5), "wrong_type", "$.departed_at"),
    (bytes_of(departed_at="yesterday"), "wrong_type", "$.departed_at"),
    (bytes_of(departed_at="2013-01-01T00:00:00"), "naive_time", "$.departed_at"),
    (bytes_of(booked_at="2013-01-01T00:00:00"), "naive_time", "$.booked_at"),
    (bytes_of(departed_at=-1), "out_of_range", "$.departed_at"),
    (bytes_of(departed_at="1969-12-31T23:59:59Z"), "out_of_range", "$.departed_at"),
    (bytes_of(departed_at=LATEST_MS + 1), "out_of_range", "$.departed_at"),
    (bytes_of(departed_at=2**70), "out_of_range", "$.departed_at"),
    (bytes_of(seats=2**63), "out_of_range", "$.seats"),
    (bytes_of(seats=-(2**63) - 1), "out_of_range", "$.seats"),
    (bytes_of().replace(b"100", b"9" * 5_000), "out_of_range", "$.seats"),
    (bytes_of(delay_min=float("nan")), "not_finite", "$"),
    (bytes_of(delay_min=float("-inf")), "not_finite", "$"),
    (bytes_of().replace(b"8", b"1e999"), "not_finite", "$.delay_min"),
    (bytes_of(origin="x" * 30_000), "too_large", "$"),
]


@pytest.mark.parametrize(("value", "reason", "path"), BAD)
def test_unusable_bytes_have_a_reason_and_a_place(value: bytes | None, reason: str, path: str) -> None:
    assert refused(value) == (reason, path)


@pytest.mark.parametrize(("value", "reason", "path"), BAD)
def test_one_unusable_record_does_not_touch_its_neighbours(value: bytes | None, reason: str, path: str) -> None:
    batch = batch_of(
        PARTITION, [GivenRecord(5, bytes_of()), GivenRecord(6, value), GivenRecord(7, bytes_of())], first=5
    )

    found = Intake(EVENT).read(batch)

    assert list(found.offsets) == [5, 7]
    assert [(letter.offset, letter.reason, letter.path) for letter in found.dead] == [(6, reason, path)]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_but_a_reason(value: bytes) -> None:
    with pytest.raises(DecodeError):
        DECODER.decode(value)


def test_one_record_of_two_events_and_one_of_blanks_are_not_taken_for_two() -> None:
    two, blank = bytes_of() + b" " + bytes_of(), b"  "
    batch = batch_of(PARTITION, [GivenRecord(0, two), GivenRecord(1, blank), GivenRecord(2, bytes_of())])

    found = Intake(EVENT).read(batch)

    assert list(found.offsets) == [2]
    assert [letter.reason for letter in found.dead] == ["bad_json", "bad_json"]


def test_events_written_over_several_lines_are_read() -> None:
    records = [GivenRecord(offset, json.dumps(fields(seats=offset), indent=2).encode()) for offset in range(3)]

    found = Intake(EVENT).read(batch_of(PARTITION, records))

    assert [DECODER.row(event)["seats"] for event in found.events] == [0, 1, 2]


def test_an_event_may_be_five_minutes_ahead_of_the_brokers_clock_and_no_more() -> None:
    records = [
        GivenRecord(0, bytes_of(), appended_ms=AT_MS - FUTURE_MS),
        GivenRecord(1, bytes_of(), appended_ms=AT_MS - FUTURE_MS - 1),
        GivenRecord(2, bytes_of(), appended_ms=0, kind=CREATE_TIME),
    ]

    found = Intake(EVENT).read(batch_of(PARTITION, records))

    assert list(found.offsets) == [0, 2]
    [letter] = found.dead
    assert (letter.offset, letter.reason, letter.path) == (1, "future_time", "$.departed_at")
    assert found.appended_ms is None


def test_a_batch_without_records_keeps_its_range() -> None:
    found = Intake(EVENT).read(RecordBatch(PARTITION, 1, 5, 9, ()))

    assert (found.first, found.next, list(found.offsets), list(found.dead)) == (5, 9, [], [])


def test_offsets_with_gaps_are_asked_for() -> None:
    records = [GivenRecord(3, bytes_of()), GivenRecord(8, bytes_of())]

    assert list(Intake(EVENT).read(batch_of(PARTITION, records, first=3)).offsets) == [3, 8]


def test_a_part_of_a_batch_holds_what_lies_in_it() -> None:
    records = [GivenRecord(offset, b"{" if offset in {2, 6} else bytes_of()) for offset in range(8)]
    whole = Intake(EVENT).read(batch_of(PARTITION, records))

    part = whole.between(2, 6)

    assert (part.first, part.next, list(part.offsets)) == (2, 6, [3, 4, 5])
    assert [letter.offset for letter in part.dead] == [2]
    assert whole.between(0, 8) is whole
    assert isinstance(whole.dead[0], DeadLetter)


@pytest.mark.parametrize(("levels", "is_refused"), [(99, False), (100, True)])
def test_how_deep_a_value_may_nest_does_not_depend_on_the_process(levels: int, *, is_refused: bool) -> None:
    """The event itself is one level; brackets inside text are none, and neither is breadth."""
    nested = b"[" * levels + b"]" * levels
    wide = b'"wide": [' + b",".join([b"[]"] * 500) + b'], "text": "' + b"[" * 500 + b'"'
    value = bytes_of().replace(b'"flight_id"', b'"deep": ' + nested + b", " + wide + b', "flight_id"')

    if is_refused:
        with pytest.raises(DecodeError, match="expected at most 100 levels"):
            DECODER.decode(value)
    else:
        DECODER.decode(value)
    assert (DECODER.decode_all([value, value]) is None) is is_refused


EMBEDDING = event_definition(
    fields=(*event_definition().fields, Field("state", ValueType.EMBEDDING, nullable=True, length=3))
)


@pytest.mark.parametrize("state", [[1, 2.5, -0.0], None])
def test_an_embedding_is_its_numbers_as_floats(state: list[float] | None) -> None:
    decoder = decoder_of(EMBEDDING)
    values = [bytes_of(state=state), bytes_of(state=state)]

    [one, other] = decoder.decode_all(values) or []

    assert decoder.row(decoder.decode(values[0]))["state"] == decoder.row(one)["state"] == state
    assert state is None or {type(each) for each in decoder.row(other)["state"] or ()} == {float}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("state", "reason", "path"),
    [
        ("[1, 2]", "wrong_type", "$.state"),
        ("[1, 2, 3, 4]", "wrong_type", "$.state"),
        ('[1, 2, "3"]', "wrong_type", "$.state[2]"),
        ("[1, null, 3]", "wrong_type", "$.state[1]"),
        ('"1,2,3"', "wrong_type", "$.state"),
        ("[1, 2, 1e999]", "not_finite", "$.state[2]"),
        ("[1, NaN, 3]", "not_finite", "$"),
    ],
)
def test_what_is_no_embedding_of_the_declared_length_is_a_dead_letter(state: str, reason: str, path: str) -> None:
    value = bytes_of(state="?").replace(b'"?"', state.encode())

    with pytest.raises(DecodeError) as refusal:
        decoder_of(EMBEDDING).decode(value)

    assert (refusal.value.reason, refusal.value.path) == (reason, path)
    assert decoder_of(EMBEDDING).decode_all([value]) is None
