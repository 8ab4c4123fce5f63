"""An id counts once within its horizon, whatever the order, the cuts and the redeliveries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.chain import Chain
from streams.engine import Engine
from streams.entities import RESERVED
from streams.intake import Intake
from streams.reading import FeatureReader
from streams.records import RecordBatch
from streams.store import Row, RowKey
from streams.store.memory import MemoryStore
from tests import oracle
from tests.builders import aggregate, view_definition
from tests.property.histories import PARTITIONS, SALE, SPANS, START_MS
from tests.records import GivenRecord, cut, json_record

HORIZON_MS, BUCKET_MS = 160_000, 10_000
EVENT = replace(SALE, dedupe_ms=HORIZON_MS)
AGGREGATES = [aggregate("sales", "count", None, SPANS), aggregate("pieces", "sum", "pieces", SPANS)]
VIEW = view_definition(on=EVENT, by=["user"], aggregates=AGGREGATES, name="by_user")
PARTITION = PARTITIONS[0]
KEY = RowKey(VIEW.key, PARTITION)
UNHURRIED = settings(max_examples=100, deadline=None)

Records = list[dict[str, Any]]


@st.composite
def histories(draw: st.DrawFn) -> Records:
    """Draw sales of few ids, many sent twice: at once, much later, with another time, and beyond the horizon."""
    newest_ms, records = START_MS, Records()
    for number in range(draw(st.integers(1, 30))):
        again = draw(st.sampled_from([None, None, *range(max(0, number - 4), number)]))
        step_ms = draw(st.sampled_from([0, 1, 5_000, 9_999, 10_000, 100_000, 170_000, 400_000, -1, -9_000, -170_000]))
        at_ms = newest_ms + step_ms if again is None or draw(st.booleans()) else records[again]["at"]
        event = {
            "id": f"i{number}" if again is None else records[again]["id"],
            "user": draw(st.sampled_from(["ann", "ann", "bob", None, f"{RESERVED}ids/0/0"])),
            "shop": 1,
            "amount": None,
            "pieces": draw(st.integers(0, 3)),
            "paid": True,
            "colour": None,
            "at": at_ms,
        }
        newest_ms = max(newest_ms, at_ms)
        records.append(event)
    return records


def first_only(records: Records) -> list[tuple[int, dict[str, Any]]]:
    """Return what is no duplicate, by brute force."""
    kept: list[tuple[int, dict[str, Any]]] = []
    newest_ms: int | None = None
    for offset, event in enumerate(records):
        at_ms = event["at"]
        would_be_ms = at_ms if newest_ms is None else max(newest_ms, at_ms)
        oldest = (would_be_ms - HORIZON_MS) // BUCKET_MS
        times = [each["at"] // BUCKET_MS for _, each in kept if each["id"] == event["id"]]
        if at_ms // BUCKET_MS >= oldest and any(time >= oldest for time in times):
            continue
        kept.append((offset, event))
        newest_ms = would_be_ms
    return kept


@UNHURRIED
@given(histories(), st.lists(st.integers(1, 29), max_size=6), st.randoms(use_true_random=False))
def test_duplicates_are_counted_once_however_batches_are_cut(records: Records, places: list[int], chance: Any) -> None:
    kept = first_only(records)
    expected = oracle.fold(VIEW.sources[0], kept)
    whole, parts = MemoryStore(), MemoryStore()

    row = run(whole, cut(PARTITION, as_records(records), []))
    row_of_parts = run(parts, cut(PARTITION, as_records(records), places), forget=chance)

    assert row.read == len(records)
    assert row.duplicate == len(records) - len(kept)
    assert (row.applied, row.late, row.too_late, row.no_entity) == (
        expected.applied,
        expected.late,
        expected.too_late,
        expected.no_entity,
    )
    assert row_of_parts == row
    assert cells(parts) == cells(whole)
    reader = FeatureReader([VIEW])
    for user in ("ann", "bob", f"{RESERVED}ids/0/0"):
        question = reader.question([{"user": user}])
        asked_ms = max(event["at"] for event in records)
        served = reader.serve(question, whole.read(question), 0, asked_ms)
        values = oracle.values(VIEW, [{0: expected}], [user], asked_ms)
        assert all(value is None for value in served.values.values()) if values is None else True
        for name, value in (values or {}).items():
            assert served.values[f"by_user.{name}"] == value


@UNHURRIED
@given(histories(), st.lists(st.tuples(st.integers(0, 29), st.integers(1, 29)), max_size=8))
def test_what_is_delivered_again_is_no_duplicate(records: Records, again: list[tuple[int, int]]) -> None:
    given_records, once, often = as_records(records), MemoryStore(), MemoryStore()
    batches = cut(PARTITION, given_records, range(0, 30, 4))
    delivered = list[RecordBatch]()
    for batch in batches:
        delivered.append(batch)
        for first, length in again:
            part = [record for record in given_records[first : first + length] if record.offset() < batch.next]
            if part:
                delivered.append(RecordBatch(PARTITION, 2, first, part[-1].offset() + 1, part))

    assert run(often, delivered) == run(once, batches)
    assert cells(often) == cells(once)


@UNHURRIED
@given(histories(), st.integers(1, 29))
def test_cells_that_are_ahead_of_the_row_decide_as_they_did(records: Records, crashed_at: int) -> None:
    """A pipeline cut before its last link: the cells contain records that the row does not."""
    given_records, store, whole = as_records(records), MemoryStore(), MemoryStore()
    [batch] = cut(PARTITION, given_records, [])
    chain = Chain(store, KEY, store.create_row(KEY, Row(next=0, first=0)), Engine(VIEW.sources[0]).codec)
    decoded = Intake(EVENT).read(batch).between(0, crashed_at)
    applied = Engine(VIEW.sources[0]).apply(chain.row, chain.load, decoded)
    prepared = chain.prepare(applied.row, applied.changed)
    store.write([replace(link, row=None) for link in prepared.links if any(link.cells.values())])

    run(whole, [batch])
    run(store, [batch])

    assert without_removed(cells(store)) == without_removed(cells(whole))
    assert store.read_rows([KEY])[0].row == whole.read_rows([KEY])[0].row  # type: ignore[union-attr]


def as_records(events: Records) -> list[GivenRecord]:
    """Return the events as records."""
    return [json_record(offset, event) for offset, event in enumerate(events)]


def run(store: MemoryStore, batches: list[RecordBatch], *, forget: Any = None) -> Row:
    """Apply the batches by a chain, opened anew between batches where ``forget`` says so; return the row."""
    engine, intake = Engine(VIEW.sources[0]), Intake(EVENT)
    chain = Chain(store, KEY, store.create_row(KEY, Row(next=0, first=0)), engine.codec)
    for batch in batches:
        applied = engine.apply(chain.row, chain.load, intake.read(batch))
        if applied.row is not chain.row:
            chain.commit(applied.row, applied.changed)
        if forget is not None and forget.random() < 0.5:
            chain = Chain(store, KEY, store.create_row(KEY, Row(next=0, first=0)), engine.codec)
    return chain.row


def cells(store: MemoryStore) -> dict[str, bytes]:
    """Return the bytes of every cell."""
    entities = list(store.entities(VIEW.key))
    found = store.read_cells(KEY, entities)
    return {entity: cell.state for entity, cell in zip(entities, found, strict=True) if cell is not None}


def without_removed(found: dict[str, bytes]) -> dict[str, bytes]:
    """Return the cells of entities, and the ids that still count."""
    return {name: state for name, state in found.items() if not name.startswith(RESERVED)}
