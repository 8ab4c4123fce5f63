"""Groups of the log in memory: who reads which partition, and how partitions move one by one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agents.transport import Assigned, Listener, Subscription
from agents.transport.in_process_partitions import KeptPartition
from agents.transport.positions import PositionOutsideLog, inside_log
from streams.records import Partition, RecordBatch

_END_EVERY_MS = 1_000
_DRAIN_S = 8.0

logger = logging.getLogger(__name__)


class Group:
    """A consumer group: its members, who has which partition, and the committed positions."""

    def __init__(self, kept_of: Callable[[str], Sequence[KeptPartition]]) -> None:
        self.committed: dict[Partition, int] = {}
        self._kept_of = kept_of
        self._members: list[InProcessMember] = []
        self._assignment = 0
        self._moving = asyncio.Lock()

    def next_assignment(self) -> int:
        """Return a number greater than every one before it in this group."""
        self._assignment += 1
        return self._assignment

    async def join(self, member: InProcessMember) -> None:
        """Let a member in; returns when its partitions have moved to it."""
        self._members.append(member)
        await self.rebalance()

    async def leave(self, member: InProcessMember) -> None:
        """Give a member's partitions to the others."""
        if member in self._members:
            self._members.remove(member)
            await self.rebalance()

    async def rebalance(self) -> None:
        """Move as few partitions as make the shares even, one by one; all others go on undisturbed."""
        async with self._moving:
            for kept, owner, heir in list(self._moves()):
                if owner is not None:
                    await owner.give_up(kept.partition, _DRAIN_S)
                await heir.take_on(kept, self.next_assignment(), self.committed.get(kept.partition))

    def _moves(self) -> Iterator[tuple[KeptPartition, InProcessMember | None, InProcessMember]]:
        shares = {member: list(member.owned()) for member in self._members}
        owner_of = {kept.partition: member for member, share in shares.items() for kept in share}
        for topic in sorted({topic for member in self._members for topic in member.subscription.topics}):
            readers = [member for member in self._members if topic in member.subscription.topics]
            for kept in self._kept_of(topic):
                if kept.partition not in owner_of:
                    heir = min(readers, key=lambda reader: len(shares[reader]))
                    shares[heir].append(kept)
                    yield kept, None, heir
        yield from _evened(shares)


def _evened(
    shares: dict[InProcessMember, list[KeptPartition]],
) -> Iterator[tuple[KeptPartition, InProcessMember, InProcessMember]]:
    for poorest in sorted(shares, key=lambda member: len(shares[member])):
        while True:
            richer = [
                (len(share), member)
                for member, share in shares.items()
                if len(share) > len(shares[poorest]) + 1
                and any(kept.partition.topic in poorest.subscription.topics for kept in share)
            ]
            if not richer:
                break
            richest = max(richer, key=lambda pair: pair[0])[1]
            kept = next(k for k in reversed(shares[richest]) if k.partition.topic in poorest.subscription.topics)
            shares[richest].remove(kept)
            shares[poorest].append(kept)
            yield kept, richest, poorest


@dataclass(slots=True)
class _Reading:
    """Where a member stands in one of its partitions."""

    kept: KeptPartition
    assignment: int
    position: int
    stopped: bool = False
    outside: bool = False
    """Its position is not in the log, and the listener has not been told."""
    told_end: int = -1
    told_ms: int = 0


class InProcessMember:
    """A member of a group of the log in memory; a `agents.transport.Member`."""

    def __init__(self, group: Group, subscription: Subscription, now_ms: Callable[[], int], *, max_batch: int) -> None:
        self.subscription = subscription
        self._group = group
        self._now_ms = now_ms
        self._max_batch = max_batch
        self._listener: Listener | None = None
        self._readings: dict[Partition, _Reading] = {}
        self._taking_on: Partition | None = None
        self._news = asyncio.Event()
        self._failure: Exception | None = None

    async def start(self, listener: Listener) -> None:
        """Join the group; returns when the partitions have moved."""
        self._listener = listener
        await self._group.join(self)

    async def poll(self, timeout_s: float) -> RecordBatch | None:
        """Return the next batch, partitions in turn; None if there was none in time."""
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        await self._tell_outside()
        batch = self._next()
        if batch is None:
            await self._tell_ends()
            batch = self._next()
        if batch is None and timeout_s > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return None
            batch = self._next()
        return batch

    def assignment(self, partition: Partition) -> int | None:
        """Return the partition's current assignment number, None if it is not this member's."""
        reading = self._readings.get(partition)
        return None if reading is None else reading.assignment

    def seek(self, partition: Partition, position: int) -> None:
        """Rewind (or skip) the partition and raise its assignment number."""
        reading = self._readings.get(partition)
        if reading is not None:
            reading.assignment = self._group.next_assignment()
            self._stand(reading, position, committed=None)
            self._news.set()

    def hold(self, partition: Partition) -> None:
        """Read no more of the partition until the next seek."""
        reading = self._readings.get(partition)
        if reading is not None:
            reading.stopped = True

    def commit(self, partition: Partition, position: int) -> None:
        """Note the group's hint: at once, there is nothing to save here."""
        if partition in self._readings or partition == self._taking_on:
            self._group.committed[partition] = position

    async def stop(self, drain_s: float) -> None:
        """Drain within ``drain_s`` seconds, commit, leave the group."""
        for partition in list(self._readings):
            await self.give_up(partition, drain_s)
        await self._group.leave(self)

    async def crash(self) -> None:
        """Leave as a killed process would: nothing is drained, nobody is told. For tests."""
        for reading in self._readings.values():
            reading.kept.waiting.discard(self._news)
        self._readings.clear()
        await self._group.leave(self)

    def owned(self) -> Iterator[KeptPartition]:
        """Yield the partitions that this member has, oldest first."""
        return (reading.kept for reading in self._readings.values())

    async def give_up(self, partition: Partition, drain_s: float) -> None:
        """Let the listener finish with the partition, within ``drain_s`` seconds, and forget it."""
        reading = self._readings.get(partition)
        if reading is None or self._listener is None:
            return
        reading.stopped = True
        reading.kept.waiting.discard(self._news)
        try:
            async with asyncio.timeout(drain_s):
                await self._listener.revoked(partition)
        except TimeoutError:
            logger.warning("partition left undrained: %s[%d] after %s s", partition.topic, partition.index, drain_s)
        except Exception as error:  # noqa: BLE001  # belongs to this member's host, not to the one that rebalances
            self._fail(error)
        self._readings.pop(partition, None)

    async def take_on(self, kept: KeptPartition, assignment: int, committed: int | None) -> None:
        """Ask the listener where to resume the partition, and read it from there."""
        if self._listener is None:
            return
        given = Assigned(kept.partition, assignment, kept.first, kept.end, committed)
        self._taking_on = kept.partition
        try:
            position = await self._listener.assigned(given)
        except Exception as error:  # noqa: BLE001  # as above
            self._fail(error)
            return
        finally:
            self._taking_on = None
        reading = self._readings[kept.partition] = _Reading(kept, assignment, -1, stopped=True)
        if position is not None:
            self._stand(reading, position, committed=committed)
        kept.waiting.add(self._news)
        self._news.set()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._news.set()

    def _stand(self, reading: _Reading, position: int, *, committed: int | None) -> None:
        kept = reading.kept
        given = Assigned(kept.partition, reading.assignment, kept.first, kept.end, committed)
        reading.position, reading.told_end, reading.stopped, reading.outside = position, -1, False, False
        try:
            inside_log(given, position)
        except PositionOutsideLog as error:
            reading.stopped = reading.outside = True
            logger.error("%s", error)  # noqa: TRY400  # one line for people, no traceback

    def _next(self) -> RecordBatch | None:
        for partition, reading in self._readings.items():
            start = reading.position
            records = [] if reading.stopped else reading.kept.records[start : start + self._max_batch]
            if records:
                # Re-inserted at the end, so that the other partitions come first next time.
                del self._readings[partition]
                self._readings[partition] = reading
                reading.position = start + len(records)
                return RecordBatch(partition, reading.assignment, start, reading.position, records)
        return None

    async def _tell_outside(self) -> None:
        for partition, reading in list(self._readings.items()):
            if not reading.stopped and reading.position < reading.kept.first:
                reading.stopped = reading.outside = True
            if reading.outside and self._listener is not None:
                reading.outside = False
                await self._listener.lost_place(partition, reading.kept.first, reading.kept.end)

    async def _tell_ends(self) -> None:
        now_ms = self._now_ms()
        for partition, reading in list(self._readings.items()):
            end = reading.kept.end
            new = reading.told_end != end or now_ms - reading.told_ms >= _END_EVERY_MS
            if self._listener is not None and not reading.stopped and reading.position == end and new:
                reading.told_end, reading.told_ms = end, now_ms
                await self._listener.reached_end(partition, end, now_ms)
