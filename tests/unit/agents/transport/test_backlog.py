"""What waits is handed out whole, in order, and never joined across a gap."""

from __future__ import annotations

from agents.transport.backlog import Backlog
from streams.records import Partition, RecordBatch
from tests.records import json_record

LEFT, RIGHT = Partition("sales", 0, "t"), Partition("sales", 1, "t")


def batch(first: int, end: int, *, partition: Partition = LEFT, assignment: int = 1) -> RecordBatch:
    """Return the batch of ``[first, end)``."""
    records = [json_record(offset, {"n": offset}) for offset in range(first, end)]
    return RecordBatch(partition, assignment, first, end, records)


def handed_out(backlog: Backlog) -> list[tuple[int, int, int, list[int]]]:
    """Return (partition, first, next, offsets) of every batch, in order."""
    found = []
    while (taken := backlog.next()) is not None:
        offsets = [record.offset() for record in taken.records]
        found.append((taken.partition.index, taken.first, taken.next, offsets))
    return found


def test_batches_that_follow_on_each_other_are_one() -> None:
    backlog = Backlog()
    for each in (batch(0, 2), batch(0, 1, partition=RIGHT), batch(2, 3), batch(1, 3, partition=RIGHT)):
        backlog.add(each)

    assert handed_out(backlog) == [(0, 0, 3, [0, 1, 2]), (1, 0, 3, [0, 1, 2])]
    assert not backlog


def test_neither_a_gap_nor_another_assignment_is_joined() -> None:
    backlog = Backlog()
    for each in (batch(0, 2), batch(3, 4), batch(4, 5, assignment=2), batch(2, 3, assignment=2)):
        backlog.add(each)

    assert [(first, end) for _, first, end, _ in handed_out(backlog)] == [(0, 2), (3, 4), (4, 5), (2, 3)]


def test_a_joined_batch_has_no_more_records_than_allowed_and_partitions_take_turns() -> None:
    backlog = Backlog(most_records=3)
    for each in (batch(0, 2), batch(2, 3), batch(3, 4), batch(0, 5, partition=RIGHT)):
        backlog.add(each)

    assert [(index, first, end) for index, first, end, _ in handed_out(backlog)] == [(0, 0, 3), (1, 0, 5), (0, 3, 4)]


def test_offsets_without_records_are_kept_in_the_range() -> None:
    backlog = Backlog()
    for each in (batch(0, 2), RecordBatch(LEFT, 1, 2, 7, ()), batch(7, 8)):
        backlog.add(each)

    assert handed_out(backlog) == [(0, 0, 8, [0, 1, 7])]
