"""Whatever the log looks like, a training vector holds what was visible at its time, counted one by one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from batch.build_training_set import build_training_set
from tests.unit.batch.flights import arrived, asked, at_ms, departed, flights_model, questions_of
from tests.unit.batch.memory_history import MemoryHistory

MODEL = flights_model()
FLIGHTS_1H = next(place for place, each in enumerate(MODEL.inputs) if each.name == "origin_traffic.flights_1h")
MINUTES = st.integers(0, 180)
PARTITIONS = st.lists(st.lists(MINUTES, max_size=12), min_size=1, max_size=3)


def oracle(partitions: Sequence[Sequence[int]], asked_minute: int, delay_min: int) -> int | None:
    """Count the flights of the last 60 tiles of a minute that were visible; None where the airport was never seen."""
    visible: list[int] = []
    for minutes in partitions:
        newest = 0
        for minute in minutes:
            newest = max(newest, minute)
            if newest + delay_min <= asked_minute:
                visible.append(minute)
    now_tile = at_ms(asked_minute) // 60_000
    inside = [minute for minute in visible if now_tile - 60 < at_ms(minute) // 60_000 <= now_tile]
    return len(inside) if visible else None


@settings(deadline=None, max_examples=60)
@given(PARTITIONS, st.lists(MINUTES, min_size=1, max_size=6), st.integers(0, 20), st.integers(1, 7))
def test_a_vector_counts_exactly_the_flights_that_were_visible(
    partitions: list[list[int]], times: list[int], delay_min: int, batch: int
) -> None:
    departures = [[departed(minute) for minute in minutes] for minutes in partitions]
    arrivals = [[arrived(200, flight="f", delay_min=0.0)]]
    past = MemoryHistory({"flights.departed": departures, "flights.arrived": arrivals}, batch=batch)

    questions = questions_of([asked(minute, flight="f") for minute in times])
    training = build_training_set(MODEL, questions, past, delay_ms=delay_min * 60_000)

    expected = [oracle(partitions, minute, delay_min) for minute in sorted(times)]
    assert [vector[FLIGHTS_1H] for vector in training.vectors] == expected
