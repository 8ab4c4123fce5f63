"""The flights as the world tells them: events in order of event time, and the questions that are asked meanwhile.

Time is cut into slots of ten minutes of the schedule. What happened before a slot begins is known when its flights are
asked about; so a question never sees its own future, and what it sees is at most ten minutes old.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from examples.flights.app import Arrived, Departed, Late, Weather
from examples.flights.data import Flight, Observation
from streams.entities import entity_key
from streams.messages import ScoreRequest

SLOT_MS = 600_000
NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, ready to be published."""

    at_ms: int
    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Slot:
    """Ten minutes of schedule: what became known before they began, and whom to ask about."""

    start_ms: int
    happenings: Sequence[Happening]
    questions: Sequence[ScoreRequest]


def happenings(flights: Sequence[Flight], observations: Sequence[Observation]) -> list[Happening]:
    """Return everything that happened, in order of event time."""
    told = [_departed(flight) for flight in flights if flight.departed_ms is not None]
    told += [_arrived(flight) for flight in flights if flight.arrived_ms is not None]
    told += [_observed(each) for each in observations]
    return sorted(told, key=lambda happening: (happening.at_ms, happening.topic, happening.key))


def questions(flights: Sequence[Flight]) -> list[ScoreRequest]:
    """Return what is asked about each scheduled flight, later cancelled ones too, in order of schedule."""
    return [_question(flight) for flight in sorted(flights, key=lambda each: (each.scheduled_ms, each.flight_id))]


def slots(told: Sequence[Happening], asked: Sequence[ScoreRequest]) -> Iterator[Slot]:
    """Cut a time-ordered story into slots; a slot without questions waits for the next that has some.

    What happens after the last slot began comes as one more slot, with no questions.
    """
    next_happening, next_question = 0, 0
    while next_question < len(asked):
        start_ms = _at_ms(asked[next_question]) // SLOT_MS * SLOT_MS
        first_happening, first_question = next_happening, next_question
        while next_happening < len(told) and told[next_happening].at_ms < start_ms:
            next_happening += 1
        while next_question < len(asked) and _at_ms(asked[next_question]) < start_ms + SLOT_MS:
            next_question += 1
        yield Slot(start_ms, told[first_happening:next_happening], asked[first_question:next_question])
    if next_happening < len(told):
        yield Slot(told[next_happening].at_ms, told[next_happening:], ())


def local_midnight_ms(text: str) -> int:
    """Return the moment at which a day (``"2013-02-01"``) begins in New York."""
    return round(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp() * 1_000)


def _departed(flight: Flight) -> Happening:
    body = {**_shared(flight), "delay_min": flight.departure_delay_min, "departed_at": flight.departed_ms}
    return Happening(flight.departed_ms or 0, Departed.definition.topic, flight.flight_id.encode(), _json(body))


def _arrived(flight: Flight) -> Happening:
    body = {**_shared(flight), "delay_min": flight.arrival_delay_min, "arrived_at": flight.arrived_ms}
    return Happening(flight.arrived_ms or 0, Arrived.definition.topic, flight.flight_id.encode(), _json(body))


def _shared(flight: Flight) -> dict[str, str | None]:
    return {
        "flight_id": flight.flight_id,
        "carrier": flight.carrier,
        "tail": flight.tail,
        "origin": flight.origin,
        "dest": flight.dest,
    }


def _observed(observation: Observation) -> Happening:
    body = {
        "observation_id": f"{observation.origin}.{observation.observed_ms}",
        "origin": observation.origin,
        "humidity_pct": observation.humidity_pct,
        "wind_mph": observation.wind_mph,
        "gust_mph": observation.gust_mph,
        "precip_in": observation.precip_in,
        "visibility_mi": observation.visibility_mi,
        "observed_at": observation.observed_ms,
    }
    key = entity_key([observation.origin]).encode()
    return Happening(observation.observed_ms, Weather.definition.topic, key, _json(body))


def _question(flight: Flight) -> ScoreRequest:
    scheduled = datetime.fromtimestamp(flight.scheduled_ms / 1_000, NEW_YORK)
    return ScoreRequest(
        model=Late.definition.name,
        entities={"origin": flight.origin, "carrier": flight.carrier, "dest": flight.dest, "tail": flight.tail},
        inputs={
            "hour": scheduled.hour + scheduled.minute / 60,
            "distance_mi": float(flight.distance_mi),
            "carrier": flight.carrier,
            "origin": flight.origin,
            "dest": flight.dest,
        },
        label_key=flight.flight_id,
        at=flight.scheduled_ms,
    )


def _at_ms(question: ScoreRequest) -> int:
    if not isinstance(question.at, int):
        raise TypeError(f"cannot order questions: {question.label_key}: expected epoch ms, got {question.at!r}")
    return question.at


def _json(body: object) -> bytes:
    return msgspec.json.encode(body)


_GOOD = {
    "flight_id": "X1",
    "carrier": "UA",
    "tail": None,
    "origin": "JFK",
    "dest": "LAX",
    "delay_min": 3.0,
    "departed_at": 1_359_723_600_000,
}

BAD_BYTES: tuple[bytes, ...] = (
    b"\xff\xfe not text",
    b"{",
    b"",
    _json({name: value for name, value in _GOOD.items() if name != "dest"}),
    _json({**_GOOD, "delay_min": "late"}),
    _json(_GOOD).replace(b"3.0", b"NaN"),
    _json({**_GOOD, "departed_at": "2013-02-01T08:00:00"}),
    _json({**_GOOD, "departed_at": "2099-01-01T00:00:00Z"}),
    _json({**_GOOD, "carrier": "X" * 300_000}),
)
"""Departures that no one should publish, and someone does: each has to become a dead letter, and nothing else."""
