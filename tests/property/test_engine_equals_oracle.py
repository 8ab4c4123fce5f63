"""Whatever the history and however it is cut, the engine answers as brute force does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import ViewDefinition
from streams.aggregates import KINDS
from streams.chain import Chain
from streams.engine import Engine
from streams.intake import Intake
from streams.reading import Asked, FeatureReader, Served
from streams.records import RecordBatch
from streams.replay import PointInTime
from streams.store import Row, RowKey
from streams.store.memory import MemoryStore
from tests import oracle
from tests.builders import view_definition
from tests.property.histories import (
    AGGREGATES,
    AHEAD_MS,
    ASKED_BEHIND_MS,
    BEHIND_MS,
    COLOURS,
    NUMBERS,
    PARTITIONS,
    SALE,
    START_MS,
    Fields,
    History,
    as_records,
    compare,
)
from tests.records import cut

BY_USER = view_definition(on=SALE, by=["user"], aggregates=AGGREGATES, name="by_user")
BY_BOTH = view_definition(on=SALE, by=["shop", "user"], aggregates=NUMBERS[:4], name="by_both")

UNHURRIED, THOROUGH = settings(max_examples=40, deadline=None), settings(max_examples=80, deadline=None)

times_ms = st.sampled_from([-each for each in BEHIND_MS]) | st.sampled_from(AHEAD_MS)
eighths = st.integers(-800, 800).map(lambda number: number / 8)  # sums of them are exact, so equality may be demanded


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw what each partition holds: events late, early and at equal times, nulls, and records that are no events."""
    return {partition.index: draw(_records()) for partition in PARTITIONS[: draw(st.integers(1, 3))]}


@st.composite
def _records(draw: st.DrawFn) -> list[Fields]:
    newest_ms, records = START_MS + draw(st.sampled_from([0, 0, 7_000, 60_000])), list[Fields]()
    for _ in range(draw(st.integers(1, 25))):
        at_ms = newest_ms + draw(times_ms)
        newest_ms = max(newest_ms, at_ms)
        event = {
            "id": "x",
            "user": draw(st.sampled_from(["ann", "ann", "bob", None])),
            "shop": draw(st.integers(1, 2)),
            "amount": draw(st.none() | eighths),
            "pieces": draw(st.integers(-(2**40), 2**40) | st.integers(0, 3)),
            "level": draw(st.none() | st.integers(0, 5)),
            "paid": draw(st.booleans()),
            "colour": draw(st.sampled_from(COLOURS)),
            "at": at_ms,
        }
        records.append(None if draw(st.integers(0, 19)) == 0 else event)
    return records


@THOROUGH
@given(histories(), st.lists(st.sampled_from(ASKED_BEHIND_MS), min_size=1, max_size=4))
def test_values_equal_brute_force(history: History, asked: list[int]) -> None:
    replay = PointInTime([BY_USER, BY_BOTH])
    for number, events in history.items():
        replay.apply(cut(PARTITIONS[number], as_records(events), [])[0])

    rows = {
        view.name: {number: oracle.fold(view.sources[0], list(enumerate(events))) for number, events in history.items()}
        for view in (BY_USER, BY_BOTH)
    }
    newest_ms = max((event["at"] for events in history.values() for event in events if event), default=START_MS)
    for asked_ms in (newest_ms - each for each in asked):
        for user in ("ann", "bob"):
            served = PointInTimeView(replay, BY_USER).serve({"user": user}, asked_ms)
            compare(BY_USER, rows["by_user"], served, [user], asked_ms)
            for shop in (1, 2):
                served = PointInTimeView(replay, BY_BOTH).serve({"user": user, "shop": shop}, asked_ms)
                compare(BY_BOTH, rows["by_both"], served, [shop, user], asked_ms)


class PointInTimeView:
    """One view's part of what a replay serves."""

    def __init__(self, replay: PointInTime, view: ViewDefinition) -> None:
        self._replay = replay
        self._view = view

    def serve(self, entities: dict[str, Any], asked_ms: int) -> Served:
        """Return the answer without the other views' values."""
        whole, prefix = self._replay.serve(entities, asked_ms), f"{self._view.name}."
        return Served(
            {name: value for name, value in whole.values.items() if name.startswith(prefix)},
            whole.positions,
            whole.as_of_ms,
            tuple(name for name in whole.absent if name == self._view.name),
            tuple(name for name in whole.unanswerable if name.startswith(prefix)),
            whole.held,
            whole.at_ms,
        )


@THOROUGH
@given(histories())
def test_tallies_equal_brute_force(history: History) -> None:
    engine = Engine(BY_BOTH.sources[0])
    for number, events in history.items():
        expected = oracle.fold(BY_BOTH.sources[0], list(enumerate(events)))
        row = run(engine, MemoryStore(), cut(PARTITIONS[number], as_records(events), []))

        assert row.read == row.next == len(events)
        assert (row.applied, row.late, row.too_late, row.no_entity, row.dead, row.newest_ms) == (
            expected.applied,
            expected.late,
            expected.too_late,
            expected.no_entity,
            expected.dead,
            expected.newest_ms,
        )


@UNHURRIED
@given(histories(), st.lists(st.integers(1, 24), max_size=12), st.randoms(use_true_random=False))
def test_batches_cut_otherwise_leave_equal_bytes_and_tallies(history: History, places: list[int], chance: Any) -> None:
    for number, events in history.items():
        records, whole, parts = as_records(events), MemoryStore(), MemoryStore()

        row = run(Engine(BY_USER.sources[0]), whole, cut(PARTITIONS[number], records, []))
        row_of_parts = run(Engine(BY_USER.sources[0]), parts, cut(PARTITIONS[number], records, places), forget=chance)

        assert row_of_parts == row
        assert states(parts, number) == states(whole, number)


@UNHURRIED
@given(histories(), st.lists(st.tuples(st.integers(0, 24), st.integers(1, 24)), max_size=8))
def test_what_is_delivered_again_changes_nothing(history: History, again: list[tuple[int, int]]) -> None:
    events = history[0]
    once, often = MemoryStore(), MemoryStore()
    records = as_records(events)
    batches = cut(PARTITIONS[0], records, range(0, 25, 5))
    delivered = list[RecordBatch]()
    for batch in batches:
        delivered.append(batch)
        for first, length in again:
            part = [record for record in records[first : first + length] if record.offset() < batch.next]
            if part:
                delivered.append(RecordBatch(PARTITIONS[0], 2, first, part[-1].offset() + 1, part))

    row = run(Engine(BY_USER.sources[0]), once, batches)
    row_of_often = run(Engine(BY_USER.sources[0]), often, delivered)

    assert row_of_often == row
    assert states(often, 0) == states(once, 0)


@UNHURRIED
@given(histories())
def test_the_store_serves_what_the_replay_serves(history: History) -> None:
    store, replay, reader = MemoryStore(), PointInTime([BY_USER, BY_BOTH]), FeatureReader([BY_USER, BY_BOTH])
    for number, events in history.items():
        batches = cut(PARTITIONS[number], as_records(events), [7, 11])
        for view in (BY_USER, BY_BOTH):
            run(Engine(view.sources[0]), store, batches)
        for batch in batches:
            replay.apply(batch)

    asked: list[Asked] = [{"user": "ann", "shop": 1}, {"user": "bob", "shop": 2}, {"user": None, "shop": 1}]
    for entities in asked:
        for asked_ms in (START_MS, START_MS + 60_000):
            question = reader.question([{"user": "x", "shop": 1}, entities])
            live = reader.serve(question, store.read(question), 1, asked_ms)
            past = replay.serve(entities, asked_ms)
            assert (live.values, live.absent, live.unanswerable) == (past.values, past.absent, past.unanswerable)
            assert live.positions == past.positions


def run(engine: Engine, store: MemoryStore, batches: list[RecordBatch], *, forget: Any = None) -> Row:
    """Apply the batches by a chain, opened anew between batches where ``forget`` says so; return the row."""
    intake, key = Intake(SALE), RowKey(engine.source.key, batches[0].partition)
    chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), engine.codec)
    for batch in batches:
        applied = engine.apply(chain.row, chain.load, intake.read(batch))
        if applied.row is not chain.row:
            chain.commit(applied.row, applied.changed)
        if forget is not None and forget.random() < 0.5:
            chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), engine.codec)
    return chain.row


def states(store: MemoryStore, number: int) -> dict[str, bytes]:
    """Return the bytes of every cell of one partition."""
    entities, key = list(store.entities(BY_USER.key)), RowKey(BY_USER.key, PARTITIONS[number])
    cells = store.read_cells(key, entities)
    return {entity: cell.state for entity, cell in zip(entities, cells, strict=True) if cell is not None}


@pytest.mark.parametrize("kind", [*KINDS, "ratio"])
def test_the_oracle_knows_every_kind(kind: str) -> None:
    assert kind in {each.kind for each in AGGREGATES}
