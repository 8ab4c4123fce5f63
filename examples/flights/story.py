"""Which part of the year the demo plays: a month to train on, and the days that are lived through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from examples.flights.data import Flight, Observation, read_flights, read_weather
from examples.flights.timeline import Happening, Slot, happenings, local_midnight_ms, questions, slots
from streams.messages import ScoreRequest


@dataclass(frozen=True, slots=True)
class Span:
    """Days of New York: training from ``first`` on, live from ``live`` on, up to ``end``, which is not in it."""

    first: str = "2013-01-01"
    live: str = "2013-02-01"
    end: str = "2013-02-15"


@dataclass(frozen=True, slots=True)
class Story:
    """What is published and asked, in order."""

    past: Sequence[Happening]
    past_questions: Sequence[ScoreRequest]
    slots: Sequence[Slot]

    @property
    def live_questions(self) -> int:
        """How many flights are asked about."""
        return sum(len(slot.questions) for slot in self.slots)


def read_story(span: Span) -> Story:
    """Read the flights that are scheduled within the span, and everything that becomes of them. Cost: about 2 s.

    Raises:
        DataMissing: the data files are not installed.
    """
    first_ms, live_ms, end_ms = (local_midnight_ms(day) for day in (span.first, span.live, span.end))
    months = sorted({int(day[5:7]) for day in (span.first, span.live, span.end)})
    flights: list[Flight] = [each for each in read_flights(months) if first_ms <= each.scheduled_ms < end_ms]
    weather: list[Observation] = [each for each in read_weather(months) if first_ms <= each.observed_ms < end_ms]
    told = happenings(flights, weather)
    past_count = sum(each.at_ms < live_ms for each in told)
    asked = questions(flights)
    asked_count = sum(flight.scheduled_ms < live_ms for flight in flights)
    return Story(told[:past_count], asked[:asked_count], list(slots(told[past_count:], asked[asked_count:])))
