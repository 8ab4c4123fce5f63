"""How far a copy topic has been read, in the time of the broker that took the *source* records.

A copy's own LogAppendTime says when it was copied, not when its event could be known first. So the rows of a copy's
folds are applied through a time of the source: that of the slowest copier, once everything that it had sent by then is
applied. It is looked for once a second; health only, it never enters a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.context import RoleContext
from definitions.declared import EventDefinition
from streams.copies import copier_fold
from streams.records import Partition
from streams.sources import source_pointer
from streams.store import Pointer, Question, StoredRow

LOOK_EVERY_MS = 1_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the copiers' rows said, and how far the copy partition has to be read for it to be true of a reader."""

    through_ms: int | None
    end: int
    at_ms: int


class CopiedThrough:
    """The copiers of one copy topic, as a reader of it sees them."""

    def __init__(self, context: RoleContext, copy: EventDefinition) -> None:
        self._context = context
        self._copy = copy
        self._seen: dict[Partition, _Seen] = {}

    async def ms(self, partition: Partition, reached: int) -> int | None:
        """Return through which time of the source a reader at ``reached`` contains it, None if that is not known yet.

        Raises:
            LogUnavailable: the log did not say how far the copy goes.
            StoreUnavailable: the store did not answer.
        """
        now_ms, seen = self._context.log.now_ms(), self._seen.get(partition)
        if seen is None or (reached >= seen.end and now_ms - seen.at_ms >= LOOK_EVERY_MS):
            seen = self._seen[partition] = await self._look(partition, now_ms)
        return seen.through_ms if reached >= seen.end else None

    async def _look(self, partition: Partition, now_ms: int) -> _Seen:
        question = Question([copier_fold(self._copy.topic)], pointers=[source_pointer(self._copy.origin)])
        answer = self._context.store.read(question)
        # Read behind the rows: what a copier's row contains lies below this end.
        [end] = await self._context.log.ends([partition])
        return _Seen(_slowest(answer.rows[0], answer.pointers[0]), end, now_ms)


def _slowest(rows: Mapping[str, StoredRow], source: Pointer | None) -> int | None:
    """Return through which time every partition of the source was copied, None if one of them does not say."""
    partitions = [] if source is None else [f"{source.digest}/{index}" for index in range(source.position)]
    times = [rows[name].row.applied_through_ms if name in rows else None for name in partitions]
    known = [each for each in times if each is not None]
    return min(known) if known and len(known) == len(times) else None
