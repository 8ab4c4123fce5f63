"""Batches that wait for a role, joined: who is behind takes long steps, who keeps up takes short ones."""

from __future__ import annotations

from collections import deque
from itertools import chain

from streams.records import Partition, RecordBatch

MOST_RECORDS = 20_000
"""How many records a joined batch may have: a step that long writes a cell once where short ones write it ten times."""


class Backlog:
    """What one member has read and its role has not taken, per partition. Belongs to the event loop."""

    def __init__(self, most_records: int = MOST_RECORDS) -> None:
        self._most_records = most_records
        self._waiting: dict[Partition, deque[RecordBatch]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, batch: RecordBatch) -> None:
        """Let a batch wait behind the others of its partition."""
        self._waiting.setdefault(batch.partition, deque()).append(batch)

    def next(self) -> RecordBatch | None:
        """Return what follows on each other in the partition whose turn it is, as one batch; None if nothing waits."""
        if not self._waiting:
            return None
        partition = next(iter(self._waiting))
        waiting = self._waiting.pop(partition)
        run = [waiting.popleft()]
        records = len(run[0].records)
        while waiting and _follows(run[-1], waiting[0]):
            records += len(waiting[0].records)
            if records > self._most_records:
                break
            run.append(waiting.popleft())
        if waiting:
            self._waiting[partition] = waiting
        return joined(run)


def joined(run: list[RecordBatch]) -> RecordBatch:
    """Return batches that follow on each other as one. Cost: 10 ns a record."""
    first = run[0]
    if len(run) == 1:
        return first
    records = list(chain.from_iterable(each.records for each in run))
    return RecordBatch(first.partition, first.assignment, first.first, run[-1].next, records)


def _follows(before: RecordBatch, after: RecordBatch) -> bool:
    return (before.assignment, before.next) == (after.assignment, after.first)
