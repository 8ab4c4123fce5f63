"""How far a copy topic has been read, in the time of the broker that took the *source* records.

A copy's own LogAppendTime says when it was copied, not when its event could be known first. So the rows of a copy's
folds are applied through a time of the source: that of the slowest copier, once everything that it had sent by then is
applied. It is looked for once a second; health only, it never enters a value.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.context import RoleContext
from definitions.declared import EventDefinition
from streams.copies import copier_fold
from streams.records import Partition
from streams.store import Question

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
        sources = await self._context.log.partitions(self._copy.origin)
        [rows] = self._context.store.read(Question(folds=[copier_fold(self._copy.topic)])).rows
        times = [None if each.field not in rows else rows[each.field].row.applied_through_ms for each in sources]
        known = [each for each in times if each is not None]
        # Read behind the rows: what a copier's row contains lies below this end.
        [end] = await self._context.log.ends([partition])
        return _Seen(min(known) if known and len(known) == len(times) else None, end, now_ms)
