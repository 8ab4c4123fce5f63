"""Copies events under the key of an entity: what a rekeyed view reads. Runs beside the features role, in its process.

Per source partition and copy topic there is a row, as of any fold. Copies are sent in order, step by step; the row is
advanced to the end of a step when all up to there are acknowledged: at least once, and `streams.copies` makes readers
take each source record once. Copied is what lives and names an entity, and never more than the topic's intake has taken
in: what is dead, and when a partition stands still for it, is decided there alone. A copier without a row begins at the
oldest record of the log, so a rekeyed view that is declared later needs no backfill.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from agents.advance_rows import NoCells, export_row
from agents.context import RoleContext
from agents.transport import Assigned, CommitPolicy, Headers, LogUnavailable, PartitionPaused, StartAt, Subscription
from definitions.declared import AppDefinition, EventDefinition
from streams import sources, topics
from streams.chain import Advance, Chain, commit_together
from streams.copies import advance_copier, copier_fold
from streams.derived import CopyHeaders
from streams.entities import keys_of
from streams.intake import FOLD, Intake
from streams.partitioning import partition_of
from streams.records import Partition, Record, RecordBatch, headers_of
from streams.repairs import fault_of
from streams.store import Row, RowKey, StoredRow

STEP_RECORDS = 1_000
"""How many records are sent before other roles have their turn."""
STEPS_UNDER_WAY = 10
"""How many steps are sent while the first of them is not acknowledged: all are copied again after a crash."""
PATIENCE_S = 2.0
"""How long the intake is waited for, before the partition is put aside and looked at again later."""

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05
_HEADER_BYTES = 10  # what a header's lengths take, at most
_PLACES = 2**16  # entities, 200 bytes each


@dataclass(slots=True)
class _Copier:
    """The copier of one source partition into one copy topic."""

    topic: str
    keys_of: Callable[[Sequence[Any]], list[str | None]]
    place_of: Callable[[str], tuple[bytes, int]]
    """Entity to its key and partition."""
    headers: CopyHeaders
    chain: Chain[None]
    sent: Row
    """The row as it will be when all that was sent has arrived."""
    behind: dict[int, int] = field(default_factory=dict)
    """Partition of the copies to the offset behind the record copied there last, if that is not acknowledged."""


@dataclass(frozen=True, slots=True)
class _Step:
    """Copies that were sent together."""

    partition: Partition
    next: int
    sent: deque[Awaitable[int]] = field(default_factory=deque)
    rows: list[tuple[_Copier, Row]] = field(default_factory=list)
    """What the copiers' rows are when all of it has arrived."""


class CopyRole:
    """Keeps the copies of one app's rekeyed views. Driven by `agents.runner.Runner`.

    Args:
        app: with its rekeyed views placed (`streams.placement`).
        context: the world.
        pause: waits until the intake may have come further.
    """

    name = "copies"

    def __init__(
        self, app: AppDefinition, context: RoleContext, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._context = context
        self._pause = pause
        self._produce = context.log.unhurried_producer().produce
        self._copies: dict[str, list[EventDefinition]] = {}
        for copy in app.copies:
            self._copies.setdefault(copy.origin, []).append(copy)
        self._intakes = {each.topic: Intake(each, context.schemas) for each in app.events if each.topic in self._copies}
        self._open: dict[Partition, Sequence[_Copier]] = {}

    def subscription(self) -> Subscription:
        """Return every event topic that is copied, from its first record on."""
        group = f"{self._context.namespace}.features.{self.name}"
        return Subscription(group, tuple(self._copies), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        """Read the copiers' rows, created where they are missing; return the least of their positions.

        Raises:
            PartitionPaused: a copy topic is missing or not as it was, or the log no longer has what was not copied.
        """
        partition, begin = given.partition, Row(next=given.first, first=given.first)
        copiers, found = [], []
        for copy in self._copies[partition.topic]:
            count = await self._partitions(copy.topic)
            key = RowKey(copier_fold(copy.topic), partition)
            assert copy.rekeyed is not None  # noqa: S101  # it is what makes it a copy
            stored = self._context.store.create_row(key, begin)
            chain = Chain(self._context.store, key, stored, NoCells())
            headers = CopyHeaders(partition)
            copiers.append(_Copier(copy.topic, keys_of(copy.rekeyed.by), _places(count), headers, chain, stored.row))
            found.append(stored)
        await self._refuse_a_hole(partition, found)
        self._open[partition] = copiers
        return min(each.row.next for each in found)

    async def _partitions(self, copy: str) -> int:
        """Return how many partitions a copy topic has, if that is what its rows were begun with."""
        partitions = await self._context.log.partitions(copy)
        if not partitions:
            raise PartitionPaused("copies", f"cannot copy: {copy}: expected a topic, got none; run `headrace run`")
        store, topic_id = self._context.store, partitions[0].topic_id
        pinned = sources.source_of(store, copy) or sources.pin(store, topic_id, copy, len(partitions))
        if (pinned.digest, pinned.position) != (topic_id, len(partitions)):
            raise PartitionPaused(
                "copies",
                f"cannot copy: {copy}: expected the topic {pinned.digest} with {pinned.position} partitions, got "
                f"{topic_id} with {len(partitions)}; run `headrace repair {copy}`",
            )
        return len(partitions)

    async def _refuse_a_hole(self, partition: Partition, found: Sequence[StoredRow]) -> None:
        [bounds] = await self._context.log.bounds([partition])
        fault = fault_of(partition, found, bounds, source=None, policy="", was_read=False)
        if fault is not None:
            raise PartitionPaused(fault.reason, fault.message)

    async def apply(self, batch: RecordBatch) -> None:
        """Copy the batch, step by step, as far and as soon as the intake has taken it in.

        Steps are under way together; each is in the rows when it, and so every one before it, has arrived.

        Raises:
            PartitionPaused: the intake does not come further.
            LogUnavailable: a copy was not acknowledged.
        """
        done, steps = batch.first, deque[_Step]()
        for copier in self._open[batch.partition]:
            copier.sent = copier.chain.row
        try:
            while done < batch.next:
                reach = min(await self._taken_in(batch.partition, done), batch.next)
                while done < reach:
                    part = _part(batch, done, reach)
                    steps.append(self._send(part))
                    done = part.next
                    if len(steps) > STEPS_UNDER_WAY:
                        await self._arrived(steps.popleft())
                    # The process has other roles, too.
                    await asyncio.sleep(0)
                while steps:
                    await self._arrived(steps.popleft())
        except Exception:
            # What is still under way must not come behind what is sent again.
            await asyncio.gather(*(each for step in steps for each in step.sent), return_exceptions=True)
            raise

    async def _taken_in(self, partition: Partition, beyond: int) -> int:
        """Return how far the intake has come, which is further than ``beyond``."""
        waited_s, pause_s = 0.0, _FIRST_PAUSE_S
        while True:
            [stored] = self._context.store.read_rows([RowKey(FOLD, partition)])
            if stored is not None and stored.row.next > beyond:
                return stored.row.next
            if waited_s >= PATIENCE_S:
                raise PartitionPaused(
                    "intake",
                    f"cannot copy: {partition.topic}[{partition.index}]: expected the features role to take its "
                    "records in first, got none taken in for 2 s; is it paused, or busy with a backlog?",
                )
            await self._pause(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _send(self, part: RecordBatch) -> _Step:
        """Send what is to be copied of a part of a batch."""
        decoded = self._intakes[part.partition.topic].read(part)
        step = _Step(part.partition, part.next)
        for copier in self._open[part.partition]:
            row = copier.sent
            if row.next < part.next:
                new = decoded.between(row.next, part.next)
                entities = copier.keys_of(new.events)
                step.sent.extend(self._sent(copier, part.records, new.offsets, entities))
                copier.sent = advance_copier(row, new, entities)
                step.rows.append((copier, copier.sent))
        return step

    def _sent(
        self, copier: _Copier, records: Sequence[Record], offsets: Sequence[int], entities: Sequence[str | None]
    ) -> Iterator[Awaitable[int]]:
        """Send what names an entity of the living among ``records``. Cost: 18 us each, 12 of them the producer's."""
        produce, topic, place_of, headers_for = self._produce, copier.topic, copier.place_of, copier.headers
        behind = copier.behind
        for record, offset, entity in zip(_at(records, offsets), offsets, entities, strict=True):
            if entity is not None:
                key, index = place_of(entity)
                after = offset + 1
                ours = headers_for(after, behind.get(index, 0), record.timestamp())
                own = headers_of(record)
                headers = [*own, *ours] if own and _have_room(own) else ours
                behind[index] = after
                yield produce(topic, record.value(), key=key, headers=headers, partition=index)

    async def _arrived(self, step: _Step) -> None:
        """Wait until all copies of a step are acknowledged, and put them into the rows."""
        refused: LogUnavailable | None = None
        while step.sent:
            try:
                await step.sent.popleft()
            except LogUnavailable as error:
                refused = refused or error
        if refused is not None:
            raise refused
        commit_together(self._context.store, [Advance(copier.chain, row) for copier, row in step.rows])
        for copier, _ in step.rows:
            copier.behind = {index: after for index, after in copier.behind.items() if after > step.next}
            export_row(self._context.metrics, copier.chain)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Raise what the rows at the end are applied through: a link, so a store gone back is noticed."""
        copiers = self._open.get(partition, ())
        commit_together(
            self._context.store,
            [Advance(each.chain, _raised(each.chain.row, broker_ms)) for each in copiers if each.chain.row.next == end],
        )

    async def close(self, partition: Partition) -> None:
        """Forget the partition. Every effect is durable already."""
        self._open.pop(partition, None)


def _places(partitions: int) -> Callable[[str], tuple[bytes, int]]:
    """Return what tells an entity's key and partition; those seen lately it knows."""

    @lru_cache(maxsize=_PLACES)
    def place_of(entity: str) -> tuple[bytes, int]:
        key = entity.encode()
        return key, partition_of(key, partitions)

    return place_of


def _at(records: Sequence[Record], offsets: Sequence[int]) -> Sequence[Record]:
    """Return the records at offsets, all of which are there, in order."""
    if len(records) == len(offsets):
        return records
    wanted = frozenset(offsets)
    return [record for record in records if record.offset() in wanted]


def _part(batch: RecordBatch, first: int, end: int) -> RecordBatch:
    """Return the next records of the batch from offset ``first`` on, `STEP_RECORDS` at most, below offset ``end``."""
    low = bisect_left(batch.records, first, key=_offset_of)
    high = min(bisect_left(batch.records, end, lo=low, key=_offset_of), low + STEP_RECORDS)
    is_last = high == len(batch.records) or batch.records[high].offset() >= end
    return RecordBatch(
        batch.partition,
        batch.assignment,
        first,
        end if is_last else batch.records[high].offset(),
        batch.records[low:high],
    )


def _offset_of(record: Record) -> int:
    return record.offset()


def _have_room(headers: Headers) -> bool:
    """Say whether a record's own headers are no more than a copy has room for."""
    return sum(len(name) + len(content or b"") + _HEADER_BYTES for name, content in headers) <= topics.BESIDE_ROOM_BYTES


def _raised(row: Row, broker_ms: int) -> Row:
    return replace(row, applied_through_ms=max(broker_ms, row.applied_through_ms or 0))
