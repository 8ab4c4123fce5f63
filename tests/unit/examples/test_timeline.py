"""The story is told in order of event time, and no question sees its own future."""

from __future__ import annotations

import msgspec
import pytest

from definitions.requests import check_inputs
from examples.flights import data, timeline
from examples.flights.app import Arrived, Departed, Late, Weather
from examples.flights.data import Flight, Observation
from examples.flights.timeline import BAD_BYTES, SLOT_MS, Happening
from streams.codecs import decoder_of
from streams.errors import DecodeError
from streams.messages import ScoreRequest

T0 = timeline.local_midnight_ms("2013-02-01")


def flight(number: int, scheduled_ms: int, **changes: object) -> Flight:
    given = {
        "flight_id": f"F{number}",
        "carrier": "UA",
        "tail": None,
        "origin": "JFK",
        "dest": "LAX",
        "distance_mi": 2475,
        "scheduled_ms": scheduled_ms,
        "departed_ms": None,
        "departure_delay_min": None,
        "arrived_ms": None,
        "arrival_delay_min": None,
    }
    return Flight(**{**given, **changes})  # type: ignore[arg-type]


def happening(at_ms: int) -> Happening:
    return Happening(at_ms, "t", b"k", b"{}")


def question(at_ms: int) -> ScoreRequest:
    return ScoreRequest(model="late", at=at_ms)


def test_new_york_days_begin_at_its_own_midnight() -> None:
    assert T0 == 1359694800000  # 2013-02-01 05:00 UTC


def test_a_slot_knows_what_happened_before_it_began_and_nothing_else() -> None:
    told = [happening(T0 + at) for at in (-1, 0, SLOT_MS - 1, SLOT_MS, 5 * SLOT_MS)]
    asked = [question(T0 + at) for at in (0, 1, SLOT_MS + 1)]
    cut = list(timeline.slots(told, asked))
    assert [[each.at_ms - T0 for each in slot.happenings] for slot in cut] == [
        [-1],
        [0, SLOT_MS - 1],
        [SLOT_MS, 5 * SLOT_MS],
    ]
    assert [len(slot.questions) for slot in cut] == [2, 1, 0]


def test_slots_lose_and_repeat_nothing() -> None:
    flights = data.read_flights([1])[:3_000]
    told = timeline.happenings(flights, data.read_weather([1])[:200])
    asked = timeline.questions(flights)
    cut = list(timeline.slots(told, asked))
    assert [each for slot in cut for each in slot.happenings] == told
    assert [each for slot in cut for each in slot.questions] == asked
    for slot in cut[:-1]:
        assert all(each.at_ms < slot.start_ms for each in slot.happenings)
        assert all(slot.start_ms <= int(each.at or 0) < slot.start_ms + SLOT_MS for each in slot.questions)


def test_happenings_are_in_order_and_decode_as_the_app_declares_them() -> None:
    flights = data.read_flights([1])[:2_000]
    told = timeline.happenings(flights, data.read_weather([1])[:100])
    assert [each.at_ms for each in told] == sorted(each.at_ms for each in told)
    decoders = {each.definition.topic: decoder_of(each.definition) for each in (Departed, Arrived, Weather)}
    for each in told:
        decoder = decoders[each.topic]
        assert decoder.at_ms(decoder.decode(each.value)) == each.at_ms
    assert {each.topic for each in told} == set(decoders)


def test_a_cancelled_flight_is_asked_about_and_never_told_of() -> None:
    cancelled = flight(1, T0)
    assert timeline.happenings([cancelled], []) == []
    [asked] = timeline.questions([cancelled])
    assert (asked.label_key, asked.at) == ("F1", T0)


def test_a_question_is_one_that_the_model_takes() -> None:
    [asked] = timeline.questions([flight(1, T0 + 90 * 60_000)])
    given = check_inputs(Late.definition, asked.entities, asked.inputs)
    assert not isinstance(given, str), given
    assert given.inputs["hour"] == 1.5


def test_a_departure_is_published_under_its_flight() -> None:
    [told] = timeline.happenings([flight(7, T0, departed_ms=T0 + 60_000, departure_delay_min=1)], [])
    assert (told.topic, told.key, told.at_ms) == ("flights.departed", b"F7", T0 + 60_000)
    assert msgspec.json.decode(told.value)["delay_min"] == 1


def test_weather_is_published_under_its_airport() -> None:
    observation = Observation("JFK", T0, None, None, 50.0, None, None, 0.0, None, 10.0)
    [told] = timeline.happenings([], [observation])
    assert (told.topic, told.key) == ("flights.weather", b"JFK")


@pytest.mark.parametrize("bad", [each for each in BAD_BYTES if b"2099" not in each and len(each) < 1_000])
def test_bad_bytes_are_bad(bad: bytes) -> None:
    with pytest.raises(DecodeError):
        decoder_of(Departed.definition).decode(bad)
