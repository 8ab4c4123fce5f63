"""A view on two events: whatever either topic holds, it answers as brute force does, live as in a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import EventDefinition, Feature, Field, Source
from definitions.expressions import Name, Operation
from definitions.values import ValueType
from streams.chain import Chain
from streams.engine import Engine
from streams.intake import Intake
from streams.reading import FeatureReader
from streams.records import Partition
from streams.replay import PointInTime
from streams.store import Row, RowKey
from streams.store.memory import MemoryStore
from tests import oracle
from tests.builders import aggregate, view_definition, window
from tests.records import GivenRecord, cut, json_record

LEFT = EventDefinition(
    name="left",
    topic="left",
    fields=(
        Field("id", ValueType.CATEGORY),
        Field("origin", ValueType.CATEGORY, nullable=True),
        Field("delay", ValueType.INT, nullable=True),
        Field("at", ValueType.TIME),
    ),
    id="id",
    at="at",
    key=("id",),
    disorder_ms=20_000,
)
CAME = EventDefinition(
    name="came",
    topic="came",
    fields=(
        Field("id", ValueType.CATEGORY),
        Field("dest", ValueType.CATEGORY),
        Field("delay", ValueType.FLOAT),
        Field("seen", ValueType.TIME),
    ),
    id="id",
    at="seen",
    key=("id",),
    disorder_ms=60_000,
)
SPANS = (window("1m", every="10s"), window("10m", every="1m"))
VIEW = view_definition(
    name="airports",
    entity=["airport"],
    sources=[
        Source(
            LEFT,
            ("origin",),
            (aggregate("departures", "count", None, SPANS), aggregate("worst", "max", "delay", SPANS)),
        ),
        Source(
            CAME, ("dest",), (aggregate("arrivals", "count", None, SPANS), aggregate("delay", "mean", "delay", SPANS))
        ),
    ],
    expressions=[
        Feature("waiting", ValueType.INT, expression=Operation("-", Name("arrivals_10m"), Name("departures_10m"))),
        Feature("worse", ValueType.FLOAT, expression=Operation("-", Name("worst_1m"), Name("delay_1m"))),
    ],
)
READS = {"waiting": ("arrivals_10m", "departures_10m"), "worse": ("worst_1m", "delay_1m")}
START_MS = 1_700_000_000_000 // 600_000 * 600_000

AIRPORTS = ("JFK", "LGA")
steps_ms = st.sampled_from([0, 1, 10_000, 60_000, 300_000, -1, -20_001, -60_001, -600_000, -1_200_000])
asked_ms = st.sampled_from([-700_000, -60_000, 0, 1, 20_001, 60_001, 120_000, 900_000])

Fields = Mapping[str, Any] | None
History = Sequence[Sequence[Sequence[Fields]]]
"""Per source, per partition, the records; None for what is no event."""


@st.composite
def partitions(draw: st.DrawFn, event: EventDefinition) -> list[list[Fields]]:
    """Draw what each partition of one event's topic holds: nothing at all, too."""
    return [draw(_records(event)) for _ in range(draw(st.integers(1, 2)))]


@st.composite
def _records(draw: st.DrawFn, event: EventDefinition) -> list[Fields]:
    newest_ms, records, by = START_MS, list[Fields](), "origin" if event is LEFT else "dest"
    for _ in range(draw(st.integers(0, 12))):
        at_ms = newest_ms + draw(steps_ms)
        newest_ms = max(newest_ms, at_ms)
        airport = draw(st.sampled_from([*AIRPORTS, None] if event is LEFT else AIRPORTS))
        delay: Any = draw(st.none() | st.integers(-9, 9)) if event is LEFT else draw(st.integers(-80, 80)) / 8
        record = {"id": "x", by: airport, "delay": delay, event.at: at_ms}
        records.append(None if draw(st.integers(0, 19)) == 0 else record)
    return records


histories = st.tuples(partitions(LEFT), partitions(CAME))


def as_records(events: Sequence[Fields]) -> list[GivenRecord]:
    """Return the events as records, dead ones as bytes that are no JSON."""
    return [
        GivenRecord(offset, b"{oops") if event is None else json_record(offset, event)
        for offset, event in enumerate(events)
    ]


def newest_of(history: History) -> int:
    """Return the newest event time of all."""
    events = zip((LEFT, CAME), history, strict=True)
    times = [each[event.at] for event, of_event in events for part in of_event for each in part if each is not None]
    return max(times, default=START_MS)


def live(history: History, places: Sequence[int]) -> MemoryStore:
    """Return a store that holds the history, each partition applied in batches that end at ``places``."""
    store = MemoryStore()
    for source, of_source in zip(VIEW.sources, history, strict=True):
        engine, intake = Engine(source), Intake(source.event)
        for number, events in enumerate(of_source):
            key = RowKey(source.key, Partition(source.event.topic, number, "tid"))
            chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), engine.codec)
            for batch in cut(key.partition, as_records(events), places):
                applied = engine.apply(chain.row, chain.load, intake.read(batch))
                if applied.row is not chain.row:
                    chain.commit(applied.row, applied.changed)
    return store


def replayed(history: History) -> PointInTime:
    """Return a replay of the history. Nothing is applied of an empty partition: its log yields no batch."""
    replay = PointInTime([VIEW])
    for source, of_source in zip(VIEW.sources, history, strict=True):
        for number, events in enumerate(of_source):
            if events:
                replay.apply(cut(Partition(source.event.topic, number, "tid"), as_records(events), [])[0])
    return replay


@settings(max_examples=200, deadline=None)
@given(histories, st.lists(asked_ms, min_size=1, max_size=3))
def test_values_equal_brute_force(history: History, asked: list[int]) -> None:
    replay, newest_ms = replayed(history), newest_of(history)
    rows = [
        {number: oracle.fold(source, list(enumerate(events))) for number, events in enumerate(of_source)}
        for source, of_source in zip(VIEW.sources, history, strict=True)
    ]
    for at_ms in (newest_ms - each for each in asked):
        for airport in AIRPORTS:
            served = replay.serve({"airport": airport}, at_ms)
            expected = oracle.values(VIEW, rows, [airport], at_ms)
            if expected is None:
                assert served.absent == (() if oracle.out_of_reach(VIEW, rows, at_ms) else ("airports",))
                assert set(served.values.values()) == {None}
                continue
            assert served.absent == ()
            for name, reads in READS.items():
                first, second = (expected[each] for each in reads)
                expected[name] = None if first is None or second is None else first - second
            known = {name: value for name, value in expected.items() if f"airports.{name}" not in served.unanswerable}
            assert {name: served.values[f"airports.{name}"] for name in known} == known
            given_up = {name.removeprefix("airports.") for name in served.unanswerable}
            assert all(served.values[f"airports.{name}"] is None for name in given_up)
            assert {name for name, reads in READS.items() if given_up & set(reads)} == given_up & set(READS)
            if at_ms >= newest_ms - LEFT.disorder_ms:
                assert not given_up


@settings(max_examples=100, deadline=None)
@given(histories, st.lists(st.integers(1, 12), max_size=4), asked_ms)
def test_the_store_serves_what_the_replay_serves(history: History, places: list[int], asked: int) -> None:
    store, replay, reader = live(history, places), replayed(history), FeatureReader([VIEW])
    at_ms = newest_of(history) - asked
    for airport in (*AIRPORTS, None):
        question = reader.question([{"airport": "x"}, {"airport": airport}])
        served = reader.serve(question, store.read(question), 1, at_ms)
        past = replay.serve({"airport": airport}, at_ms)

        assert (served.values, served.absent, served.unanswerable) == (past.values, past.absent, past.unanswerable)
        assert past.positions == {
            source.key: {f"tid/{number}": len(events) for number, events in enumerate(of_source) if events}
            for source, of_source in zip(VIEW.sources, history, strict=True)
        }
        assert served.positions == {
            source.key: {f"tid/{number}": len(events) for number, events in enumerate(of_source)}
            for source, of_source in zip(VIEW.sources, history, strict=True)
        }
