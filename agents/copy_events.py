"""Copies events under the key of an entity: what a rekeyed view reads. Runs beside the features role, in its process.

Per source partition and copy topic there is a row, as of any fold. A step sends the copies of some records in order,
waits until all are acknowledged, and then advances the row: at least once, and `streams.copies` makes readers take each
source record once. Copied is what lives and names an entity, and never more than the topic's intake has taken in: what
is dead, and when a partition stands still for it, is decided there alone. A copier without a row begins at the oldest
record of the log, so a rekeyed view that is declared later needs no backfill.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from agents.advance_rows import NoCells, export_row
from agents.context import RoleContext
from agents.transport import Assigned, CommitPolicy, Headers, PartitionPaused, StartAt, Subscription
from definitions.declared import AppDefinition, EventDefinition
from streams import sources, topics
from streams.chain import Advance, Chain, commit_together
from streams.copies import advance_copier, copier_fold
from streams.derived import copy_headers
from streams.entities import keys_of
from streams.intake import FOLD, DecodedBatch, Intake
from streams.partitioning import partition_of
from streams.records import Partition, Record, RecordBatch, headers_of
from streams.repairs import fault_of
from streams.store import Row, RowKey, StoredRow

STEP_RECORDS = 1_000
"""How many records are copied before their acknowledgements are waited for: the process has other roles, too."""
PATIENCE_S = 2.0
"""How long the intake is waited for, before the partition is put aside and looked at again later."""

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05
_HEADER_BYTES = 10  # what a header's lengths take, at most


@dataclass(frozen=True, slots=True)
class _Copier:
    """The copier of one source partition into one copy topic."""

    topic: str
    partitions: int
    keys_of: Callable[[Sequence[Any]], list[str | None]]
    chain: Chain[None]


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
            copiers.append(_Copier(copy.topic, count, keys_of(copy.rekeyed.by), chain))
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

        Raises:
            PartitionPaused: the intake does not come further.
            LogUnavailable: a copy was not acknowledged.
        """
        done = batch.first
        while done < batch.next:
            reach = min(await self._taken_in(batch.partition, done), batch.next)
            while done < reach:
                step = _step(batch, done, reach)
                await self._copy(step)
                done = step.next

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

    async def _copy(self, step: RecordBatch) -> None:
        decoded = self._intakes[step.partition.topic].read(step)
        advances = []
        for copier in self._open[step.partition]:
            row = copier.chain.row
            if row.next < step.next:
                new = decoded.between(row.next, step.next)
                entities = copier.keys_of(new.events)
                await self._send(copier, step, new, entities)
                advances.append(Advance(copier.chain, advance_copier(row, new, entities)))
        commit_together(self._context.store, advances)
        for advance in advances:
            export_row(self._context.metrics, advance.chain)

    async def _send(
        self, copier: _Copier, step: RecordBatch, new: DecodedBatch, entities: Sequence[str | None]
    ) -> None:
        records = {record.offset(): record for record in step.records}
        behind: dict[int, int] = {}
        sent = []
        for offset, entity in zip(new.offsets, entities, strict=True):
            if entity is None:
                continue
            record, key = records[offset], entity.encode()
            index, after = partition_of(key, copier.partitions), offset + 1
            ours = copy_headers(step.partition, after, behind.get(index, 0), record.timestamp())
            headers = [*_own_headers(record), *ours]
            sent.append(
                self._context.log.producer().produce(
                    copier.topic, record.value(), key=key, headers=headers, partition=index
                )
            )
            behind[index] = after
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

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


def _step(batch: RecordBatch, first: int, end: int) -> RecordBatch:
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


def _own_headers(record: Record) -> Headers:
    """Return the record's own headers, none where they are more than a copy has room for."""
    headers = headers_of(record)
    size = sum(len(name) + len(content or b"") + _HEADER_BYTES for name, content in headers)
    return headers if size <= topics.BESIDE_ROOM_BYTES else ()


def _raised(row: Row, broker_ms: int) -> Row:
    return replace(row, applied_through_ms=max(broker_ms, row.applied_through_ms or 0))
