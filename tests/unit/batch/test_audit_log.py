"""The audit finds what is missing and what is there twice, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace as with_

from batch.audit_log import audit_log
from batch.findings import Audit
from definitions.declared import AppDefinition
from streams.cells import COUNTED, FIRST_COLUMN, OPEN
from streams.chain import Chain, commit_together
from streams.engine import Engine, advance_intake
from streams.intake import FOLD, Intake
from streams.records import Partition, RecordBatch
from streams.store import Cell, Link, Row, RowKey
from streams.store.memory import MemoryStore
from streams.sweep import Sweep
from tests.builders import event_definition, view_definition
from tests.records import GivenRecord, batch_of, cut, json_record

EVENT = event_definition()
VIEW = view_definition(on=EVENT)
APP = AppDefinition("flights", (EVENT,), (VIEW,), ())
PARTITIONS = [Partition(EVENT.topic, index, "tid") for index in range(2)]
KEY = RowKey(VIEW.key, PARTITIONS[0])
START_MS = 1_700_000_000_000


class GivenHistory:
    """A log that holds what it is told, from ``oldest`` on."""

    def __init__(self, records: Sequence[Sequence[GivenRecord]], oldest: int = 0) -> None:
        self._records = records
        self._oldest = oldest

    def partitions(self, topic: str) -> Sequence[Partition]:
        """Return all of them."""
        return PARTITIONS if topic == EVENT.topic else []

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return the oldest offset and the end."""
        return self._oldest, len(self._records[partition.index])

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        """Return batches of seven records."""
        for low in range(first, end, 7):
            part = self._records[partition.index][low : min(low + 7, end)]
            yield batch_of(partition, part, first=low)


def events(count: int) -> list[GivenRecord]:
    """Return records of which some are late, dead, or of nobody."""
    records = []
    for offset in range(count):
        late_ms = 3_600_000 * 30 if offset % 11 == 10 else 1_000_000 if offset % 5 == 4 else 0
        event: dict[str, Any] = {
            "flight_id": "x", "origin": f"o{offset % 3}", "dest": "LAX", "carrier": "UA", "delay_min": 1.5,
            "departed_at": START_MS + offset * 60_000 - late_ms,
        }  # fmt: skip
        records.append(json_record(offset, event) if offset % 13 != 12 else GivenRecord(offset, b"{"))
    return records


@pytest.fixture
def history() -> GivenHistory:
    return GivenHistory([events(60), events(25)])


@pytest.fixture
def store(history: GivenHistory) -> MemoryStore:
    """Return a store that contains all but the last ten records of the first partition."""
    store = MemoryStore()
    for partition, end in zip(PARTITIONS, (50, 25), strict=True):
        records = [record for batch in history.read(partition, 0, end) for record in batch.records]
        fill(store, partition, records)
    return store


def fill(store: MemoryStore, partition: Partition, records: Sequence[Any]) -> None:
    """Apply the records as the features role does."""
    intake, engine, begin = Intake(EVENT), Engine(VIEW.sources[0]), Row(next=0, first=0)
    taken, key = RowKey(FOLD, partition), RowKey(VIEW.key, partition)
    intakes = Chain(store, taken, store.create_row(taken, begin), engine.codec)
    views = Chain(store, key, store.create_row(key, begin), engine.codec)
    for batch in cut(partition, records, [20, 40]):
        decoded = intake.read(batch)
        intakes.commit(advance_intake(intakes.row, decoded), ())
        applied = engine.apply(views.row, views.load, decoded)
        views.commit(applied.row, applied.changed)


def audited(store: MemoryStore, history: GivenHistory) -> Audit:
    """Return what the audit finds."""
    return audit_log(APP, history, store)


def tamper(store: MemoryStore, entity: str, state: bytes | None, *, position: int = 50) -> None:
    """Write a cell that no engine would."""
    [stored] = store.read_rows([KEY])
    assert stored is not None
    cell = None if state is None else Cell(position, state)
    store.write([Link(KEY, stored.mark, b"tampered", {entity: cell})])


def test_all_is_well(store: MemoryStore, history: GivenHistory) -> None:
    found = audited(store, history)

    assert (found.lost, found.counted_twice, found.problems) == (0, 0, [])
    [first, second] = [each.as_json() for each in found.views]
    assert first["read"] == 50
    assert [first[name] for name in ("view", "topic", "partition", "next", "end")] == [
        "origin_traffic", EVENT.topic, 0, 50, 60,
    ]  # fmt: skip
    assert second["read"] == second["end"] == 25
    assert [each.row.dead for each in found.intakes] == [3, 1]


def test_a_dead_cell_that_was_removed_is_not_missed_though_it_came_back(history: GivenHistory) -> None:
    """o1 leaves once, and again two days later: by then its first cell is long dead."""
    days_ms = 48 * 3_600_000
    records = [
        json_record(
            offset,
            {
                "flight_id": "x", "origin": origin, "dest": "LAX", "carrier": "UA", "delay_min": 1.5,
                "departed_at": START_MS + behind_ms,
            },
        )
        for offset, (origin, behind_ms) in enumerate([("o1", 0), ("o2", 1), ("o3", days_ms), ("o1", days_ms)])
    ]  # fmt: skip
    store, history = MemoryStore(), GivenHistory([records, []])
    for end in (3, 4):
        fill(store, PARTITIONS[0], records[end - 3 and 3 : end])
        chain = Chain(store, KEY, store.create_row(KEY, Row(next=0, first=0)), Engine(VIEW.sources[0]).codec)
        removal = Sweep(store, Engine(VIEW.sources[0]), chain).step()
        commit_together(store, [removal] if removal else [])

    assert sorted(store.entities(VIEW.key)) == ["o1", "o3"]
    assert audited(store, history).problems == []
    tamper(store, "o1", None)
    assert audited(store, history).lost == 1


def test_a_missing_cell_is_so_many_lost(store: MemoryStore, history: GivenHistory) -> None:
    tamper(store, "o1", None)

    found = audited(store, history)

    assert found.counted_twice == 0
    assert found.lost == store_count(history, "o1")
    assert any("cell of 'o1'" in line for line in found.problems)


def test_a_cell_of_nobody_is_so_many_counted_twice(store: MemoryStore, history: GivenHistory) -> None:
    [cell] = store.read_cells(KEY, ["o1"])
    assert cell is not None
    tamper(store, "o9", cell.state)

    found = audited(store, history)

    assert (found.lost, found.counted_twice) == (0, store_count(history, "o1"))


def test_one_event_added_again_is_one_counted_twice(store: MemoryStore, history: GivenHistory) -> None:
    tamper(store, "o2", altered(store, "o2", add=True))

    found = audited(store, history)

    assert (found.lost, found.counted_twice) == (0, 1)


def test_a_sum_that_differs_is_noticed_though_the_counts_agree(store: MemoryStore, history: GivenHistory) -> None:
    tamper(store, "o2", altered(store, "o2", add=False))

    found = audited(store, history)

    assert (found.lost, found.counted_twice) == (1, 1)


def test_a_tally_that_does_not_add_up_is_noticed(store: MemoryStore, history: GivenHistory) -> None:
    [stored] = store.read_rows([KEY])
    assert stored is not None
    row = with_(stored.row, applied=stored.row.applied - 2, dead=stored.row.dead + 1)
    store.write([Link(KEY, stored.mark, b"tampered", {}, row)])

    found = audited(store, history)

    assert (found.lost, found.counted_twice) == (1, 0)
    assert [line.split(": ")[1] for line in found.problems] == ["applied", "dead"]


def test_a_cell_ahead_of_its_row_is_compared_at_its_own_position(store: MemoryStore, history: GivenHistory) -> None:
    ahead = MemoryStore()
    fill(ahead, PARTITIONS[0], [record for batch in history.read(PARTITIONS[0], 0, 57) for record in batch.records])
    [cell] = ahead.read_cells(KEY, ["o1"])
    assert cell is not None
    assert cell.position == 57

    tamper(store, "o1", cell.state, position=57)
    assert audited(store, history).problems == []

    tamper(store, "o1", cell.state, position=53)
    assert audited(store, history).counted_twice == 1


def test_what_the_log_has_forgotten_is_not_audited_and_says_so(store: MemoryStore) -> None:
    found = audited(store, GivenHistory([events(60), events(25)], oldest=5))

    assert (found.lost, found.counted_twice) == (0, 0)
    assert all("not audited: expected the log from 0 on, got it from 5 on" in line for line in found.problems)
    assert len(found.problems) == 4


def test_a_view_without_rows_is_a_problem(history: GivenHistory) -> None:
    found = audited(MemoryStore(), history)

    assert (found.lost, found.counted_twice) == (0, 0)
    assert len([line for line in found.problems if "expected a resume row, got none" in line]) == 2


def altered(store: MemoryStore, entity: str, *, add: bool) -> bytes:
    """Return the entity's state with one event more, or with another sum."""
    engine = Engine(VIEW.sources[0])
    [cell] = store.read_cells(KEY, [entity])
    assert cell is not None
    state = engine.codec.decode(cell.state)
    for series in engine.layout.series:
        opened = series.place + OPEN
        if add:
            state[opened + COUNTED] += 1
        else:
            state[opened + FIRST_COLUMN] += 0.5
    encoded = engine.codec.encode(state)
    assert encoded is not None
    return encoded


def store_count(history: GivenHistory, entity: str) -> int:
    """Return how many of the first fifty records count for an entity."""
    fresh = MemoryStore()
    fill(fresh, PARTITIONS[0], [record for batch in history.read(PARTITIONS[0], 0, 50) for record in batch.records])
    [cell] = fresh.read_cells(KEY, [entity])
    assert cell is not None
    engine = Engine(VIEW.sources[0])
    series = engine.layout.series[1]
    return sum(series.rows(engine.codec.decode(cell.state))[COUNTED :: series.width])
