"""A version of a view built from history beside a live one: equal to it, whoever stops when."""

from __future__ import annotations

import json

import pytest

from batch.backfill_view import Backfill
from batch.compare_views import Comparison, compare_views
from batch.errors import BackfillRefused, ComparisonRefused
from definitions.declared import AppDefinition, ViewDefinition
from streams.chain import Chain
from streams.engine import Engine
from streams.errors import ChainBroken, SwitchRefused
from streams.intake import FOLD, Intake
from streams.records import Partition
from streams.store import Cell, Link, OnlineStore, Row, RowKey
from streams.store.memory import MemoryStore
from streams.switching import drop, standings, switch
from streams.versions import read_in_force
from tests.builders import aggregate, view_definition
from tests.unit.batch.memory_history import MemoryHistory

START_MS = 1_700_000_000_000
V1 = view_definition()
V2 = view_definition(version=2)
APP = AppDefinition("flights", (V1.sources[0].event,), (V1, V2), ())
TOPIC = V1.sources[0].event.topic


def departed(number: int) -> bytes:
    event = {
        "flight_id": f"F{number}", "origin": f"O{number % 5}", "dest": "LAX", "carrier": "UA", "tail": None,
        "delay_min": number / 7, "seats": None, "departed_at": START_MS + 60_000 * number,
    }  # fmt: skip
    return json.dumps(event).encode()


HISTORY = MemoryHistory({TOPIC: [[departed(number) for number in range(40)], [departed(7), b"{oops", departed(8)]]})
PARTITIONS = HISTORY.partitions(TOPIC)


def live(store: OnlineStore, view: ViewDefinition = V1) -> None:
    """Let a features role have applied everything to a view, the intake included."""
    engine, intake = Engine(view.sources[0]), Intake(view.sources[0].event)
    for partition in PARTITIONS:
        _, end = HISTORY.bounds(partition)
        taken = RowKey(FOLD, partition)
        if store.read_rows([taken]) == [None]:
            store.create_row(taken, Row(next=end, first=0))
        key = RowKey(view.key, partition)
        chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), engine.codec)
        for batch in HISTORY.read(partition, 0, end):
            applied = engine.apply(chain.row, chain.load, intake.read(batch))
            chain.commit(applied.row, applied.changed)


def compared(store: OnlineStore, new: ViewDefinition = V2, **given: int) -> Comparison:
    return compare_views(V1, new, store, pause=lambda _: None, **given)


def test_a_version_built_beside_a_live_one_is_equal_to_it() -> None:
    store = MemoryStore()
    live(store)

    backfill = Backfill(V2, HISTORY, store)
    places = backfill.run(close=0)

    assert (backfill.created, backfill.records) == (2, 43)
    assert [place.behind for place in places] == [0, 0]
    rows = store.read_rows([RowKey(view.key, each) for view in (V1, V2) for each in PARTITIONS])
    assert [stored and stored.row for stored in rows[:2]] == [stored and stored.row for stored in rows[2:]]
    found = compared(store)
    assert found.is_equal
    assert (found.entities, found.compared) == (5, 5)
    assert {each.compared for each in found.features.values()} == {5}


class Killed(Exception):  # noqa: N818
    """The process is no more."""


@pytest.mark.parametrize("after", [1, 5, 13])
def test_a_backfill_that_was_killed_goes_on_from_its_rows(after: int) -> None:
    store, told = MemoryStore(), 0
    live(store)

    def tell(_: str, __: int, ___: int) -> None:
        nonlocal told
        told += 1
        if told == after:
            raise Killed

    first = Backfill(V2, HISTORY, store)
    with pytest.raises(Killed):
        first.run(tell, close=0)
    second = Backfill(V2, HISTORY, store)
    second.run(close=0)

    assert second.created == 0
    assert first.records + second.records == 43
    assert compared(store).is_equal


def test_two_backfills_at_once_break_each_others_chain_and_count_nothing_twice() -> None:
    store = MemoryStore()
    live(store)
    one, other = Backfill(V2, HISTORY, store), Backfill(V2, HISTORY, store)
    interrupted = []

    def tell(_: str, done: int, __: int) -> None:
        if done == 6 and not interrupted:
            interrupted.append(done)
            other.run(close=0)

    one.run(tell, close=0)

    assert interrupted
    assert (one.records, other.records) == (6, 37)
    assert compared(store).is_equal


def test_a_view_is_followed_no_further_than_the_intake_has_come() -> None:
    store = MemoryStore()
    store.create_row(RowKey(FOLD, PARTITIONS[0]), Row(next=9, first=0))

    places = Backfill(V2, HISTORY, store).run(close=0)

    assert [place.stored.row.next for place in places] == [9, 0]


def test_what_the_log_no_longer_holds_is_refused() -> None:
    class Shorter(MemoryHistory):
        def bounds(self, partition: Partition) -> tuple[int, int]:
            return 5, super().bounds(partition)[1]

    store = MemoryStore()
    store.create_row(RowKey(V2.key, PARTITIONS[0]), Row(next=2, first=0))

    with pytest.raises(BackfillRefused, match=r"expected the log from 2 on, got it from 5 on; drop the version"):
        Backfill(V2, Shorter(HISTORY.topics), store)
    with pytest.raises(BackfillRefused, match="expected a topic, got none"):
        Backfill(V2, MemoryHistory({}), store)


def test_a_difference_is_told_by_feature_with_its_size_and_an_example() -> None:
    counts = [aggregate("flights"), aggregate("delay", "max", "delay_min"), aggregate("seats", "sum", "seats")]
    other = view_definition(version=2, aggregates=counts)
    store = MemoryStore()
    live(store)
    live(store, other)

    found = compared(store, other)

    assert not found.is_equal
    assert found.features["flights_1h"].different == 0
    delay = found.features["delay_24h"]
    assert delay.different == 5
    assert delay.largest is not None
    entity, old, new = delay.examples[0]
    assert entity.startswith("O")
    assert isinstance(old, float)
    assert isinstance(new, float)
    assert old < new
    assert found.only_old == ["worsening"]
    assert found.only_new == ["seats_1h", "seats_24h"]


def test_versions_at_other_positions_are_not_compared() -> None:
    store = MemoryStore()
    live(store)
    for partition in PARTITIONS:
        store.create_row(RowKey(V2.key, partition), Row(next=0, first=0))

    found = compared(store)

    assert (found.compared, len(found.unsettled), found.is_equal) == (0, 5, False)


def test_an_entity_whose_cell_has_gone_further_than_its_row_is_read_again() -> None:
    store = MemoryStore()
    live(store)
    live(store, V2)
    key = RowKey(V2.key, PARTITIONS[0])
    [stored], [cell] = store.read_rows([key]), store.read_cells(key, ["O1"])
    assert stored is not None
    assert cell is not None
    store.write([Link(key, stored.mark, b"further!", {"O1": Cell(41, cell.state)})])

    assert compared(store).unsettled == ["O1"]


def test_a_version_without_rows_is_not_compared_and_a_sample_is_as_large_as_asked() -> None:
    store = MemoryStore()
    live(store)
    with pytest.raises(ComparisonRefused, match="run `headrace features backfill origin_traffic --version 2`"):
        compared(store)
    live(store, V2)

    assert compared(store, sample=3).compared == 3


def test_a_version_is_ready_when_it_contains_what_the_intake_does_and_is_kept() -> None:
    store = MemoryStore()
    live(store)
    Backfill(V2, HISTORY, store)
    behind = standings(store, V2, {TOPIC: PARTITIONS})
    Backfill(V2, HISTORY, store).run(close=0)
    ready = standings(store, V2, {TOPIC: PARTITIONS})
    key = RowKey(FOLD, PARTITIONS[1])
    [stored] = store.read_rows([key])
    assert stored is not None
    store.write([Link(key, stored.mark, b"at 9 ms!", {}, Row(next=3, first=0, applied_through_ms=9))])

    assert [(each.next, each.live, each.is_ready) for each in behind] == [(0, 40, False), (0, 3, False)]
    assert [each.is_ready for each in ready] == [True, True]
    assert [each.is_ready for each in standings(store, V2, {TOPIC: PARTITIONS})] == [True, False]


def test_only_a_version_that_nobody_reads_is_dropped_and_its_writer_lets_go() -> None:
    store = MemoryStore()
    live(store)
    live(store, V2)
    key = RowKey(V1.key, PARTITIONS[0])
    engine = Engine(V1.sources[0])
    [stored] = store.read_rows([key])
    assert stored is not None
    writer = Chain(store, key, stored, engine.codec)
    with pytest.raises(SwitchRefused, match="it is in force"):
        drop(store, APP, V1)
    switch(store, read_in_force(store, (V1, V2)), V2)

    assert drop(store, APP, V1) == 5

    assert store.read_rows([key]) == [None]
    assert store.entities(V1.key) == []
    assert len(store.entities(V2.key)) == 5
    with pytest.raises(ChainBroken):
        writer.commit(replace_next(writer.row), ())
    with pytest.raises(SwitchRefused):
        drop(store, APP, V2)


def replace_next(row: Row) -> Row:
    return Row(next=row.next + 1, first=row.first)


def test_of_two_switches_at_once_one_is_refused() -> None:
    store = MemoryStore()
    held = read_in_force(store, (V1, V2))
    now = switch(store, held, V2)

    with pytest.raises(SwitchRefused, match="somebody else has switched it"):
        switch(store, held, V2)
    back = switch(store, now, V1)

    assert (back.key, back.before, back.generation) == (V1.key, V2.key, 2)
    assert read_in_force(store, (V1, V2)) == back
