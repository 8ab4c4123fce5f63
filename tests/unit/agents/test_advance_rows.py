"""A fold's row says what became of every record, and nothing that was not committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.advance_rows import FoldWriter, NoCells
from agents.transport import Assigned
from streams.errors import ChainBroken
from streams.records import Partition
from tests.learning import World, small_model

GIVEN = Assigned(Partition("events", 2, "t"), 1, 5, 9, None)


def writer(world: World) -> FoldWriter[None]:
    """Return a writer as a role opens it."""
    return FoldWriter(world.context, "router.late.v1", GIVEN, NoCells())


def test_a_row_starts_at_the_first_record_and_adds_up(tmp_path: Path) -> None:
    world = World(tmp_path, small_model())
    rows = writer(world)
    for fate, count in (("applied", 2), ("dead", 1), ("applied", 1)):
        rows.note(fate, count)
    rows.saw(70)
    rows.saw(60)
    rows.commit(9)

    row = writer(world).row
    assert (row.first, row.next, row.applied, row.dead, row.read, row.newest_ms) == (5, 9, 3, 1, 4, 70)


def test_what_was_not_committed_is_forgotten_with_its_writer(tmp_path: Path) -> None:
    world = World(tmp_path, small_model())
    writer(world).note("applied")

    rows = writer(world)
    rows.commit(6)

    assert rows.row.read == 0


def test_two_writers_break_each_others_chain(tmp_path: Path) -> None:
    world = World(tmp_path, small_model())
    first, second = writer(world), writer(world)
    first.commit(6)

    with pytest.raises(ChainBroken):
        second.commit(7)


def test_the_end_raises_applied_through_at_most_once_a_second(tmp_path: Path) -> None:
    world = World(tmp_path, small_model())
    rows = writer(world)
    through = []
    for broker_ms in (10_000, 10_999, 11_000):
        rows.reached_end(broker_ms)
        through.append(writer(world).row.applied_through_ms)
        rows = writer(world)

    assert through == [10_000, 10_000, 11_000]


def test_the_row_is_exported_as_it_was_committed(tmp_path: Path) -> None:
    world = World(tmp_path, small_model())
    rows = writer(world)
    rows.note("dead", 4)
    rows.commit(9)

    labels = {"namespace": "demo", "fold": "router.late.v1", "topic": "events", "partition": "2"}
    registry = world.context.metrics.registry
    assert registry.get_sample_value("headrace_row_next_offset", labels) == 9
    assert registry.get_sample_value("headrace_row_records", {**labels, "tally": "dead"}) == 4
