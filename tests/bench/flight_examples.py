"""The flights of some months as the examples that a running system makes of them: labels come later than vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batch.build_training_set import TrainingSet, build_training_set, question_of
from definitions.values import Value
from examples.flights.app import LATE_MIN, Late
from examples.flights.data import Flight, read_flights, read_weather
from examples.flights.timeline import happenings, local_midnight_ms, questions
from streams.records import Partition, RecordBatch
from tests.unit.batch.memory_history import KeptRecord, MemoryHistory

MODEL = Late.definition
_BATCH = 5_000


class _History(MemoryHistory):
    """Topics of one partition, in order of event time."""

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        values = self.topics[partition.topic][partition.index]
        for low in range(first, end, _BATCH):
            high = min(low + _BATCH, end)
            yield RecordBatch(partition, 0, low, high, [KeptRecord(at, values[at]) for at in range(low, high)])


@dataclass(frozen=True, slots=True)
class FlightExample:
    """A flight that was asked about and arrived."""

    asked_ms: int
    known_ms: int
    """When the label came."""
    vector: list[Value]
    label: bool


def read_examples(first: str, end: str) -> tuple[list[FlightExample], TrainingSet]:
    """Return the flights scheduled within days of New York, in order of schedule. Cost: about 0.5 ms a flight.

    The vectors are those of `headrace batch train`: point in time, by the engine that serves.
    """
    first_ms, end_ms = local_midnight_ms(first), local_midnight_ms(end)
    months = list(range(int(first[5:7]), int(end[5:7]) + 1))
    flights = [each for each in read_flights(months) if first_ms <= each.scheduled_ms < end_ms]
    weather = [each for each in read_weather(months) if first_ms <= each.observed_ms < end_ms]
    topics: dict[str, list[bytes | None]] = {}
    for each in happenings(flights, weather):
        topics.setdefault(each.topic, []).append(each.value)
    asked = [question_of(request, MODEL, number) for number, request in enumerate(questions(flights))]
    training = build_training_set(MODEL, asked, _History({name: [values] for name, values in topics.items()}))
    return _examples(flights, training), training


def _examples(flights: Sequence[Flight], training: TrainingSet) -> list[FlightExample]:
    label = MODEL.label
    assert label is not None
    found = sorted((each for each in flights if each.arrived_ms is not None), key=lambda each: each.scheduled_ms)
    known = [each for each in found if (each.arrived_ms or 0) <= each.scheduled_ms + label.within_ms]
    assert [each.scheduled_ms for each in known] == training.times_ms
    truths = [(each.arrival_delay_min or 0) > LATE_MIN for each in known]
    assert truths == training.labels
    return [
        FlightExample(each.scheduled_ms, each.arrived_ms or 0, vector, truth)
        for each, vector, truth in zip(known, training.vectors, truths, strict=True)
    ]
