"""Between a member and a role: only the batch that follows is applied, and what fails is read again, never skipped."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from agents.garbage import collect_after_batch, collect_when_idle
from agents.metrics import Metrics
from agents.transport import Assigned, CommitPolicy, LogUnavailable, Member, PartitionPaused, Role
from agents.transport.positions import outside_log
from streams.errors import ChainBroken, RegistryUnavailable, StoreUnavailable
from streams.records import Partition, RecordBatch

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_FIRST_LOOK_S = 0.25
_LONGEST_LOOK_S = 5.0
"""How long a partition that is paused may stand after the command that lets it go on."""

_Refusal = StoreUnavailable | ChainBroken | LogUnavailable | RegistryUnavailable
_REFUSALS = (StoreUnavailable, ChainBroken, LogUnavailable, RegistryUnavailable)
_WAITS = {
    StoreUnavailable: "store_waits_total",
    LogUnavailable: "log_waits_total",
    RegistryUnavailable: "registry_waits_total",
    ChainBroken: "chain_breaks_total",
}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A partition in hand: what was known when it was given, and the offset that is applied next."""

    given: Assigned
    next: int
    known_end: int
    """The furthest end of the log that was seen: a row may be there already, when nobody could say so."""
    open: bool = False
    refused: int = 0
    """How many times in a row its batch was refused: opening may succeed all the while."""
    end: tuple[int, int] | None = None
    """(end, broker ms) that the log told and the role has not reached yet."""
    paused: PartitionPaused | None = None
    """Why nothing of it is read; kept until something of it has been applied again."""
    looks: int = 0
    """How often it was looked at since it was paused."""


class Runner:
    """Drives one role with what one member reads; a `agents.transport.Listener`.

    A batch is applied only if it begins where the last one ended. One of an older assignment is dropped; a gap is
    rewound. Where the store or the log refuses, the partition is closed, opened anew when they answer, and read again
    from the position that the role then gives: the state waits, nothing is skipped.

    A partition that the role pauses is read no more. It is opened again after growing pauses of up to 5 s, in a task
    of its own, and sought when the role lets it be read: the others go on meanwhile.

    The role is called one call at a time. While one partition waits, the role is free for the calls of the others.
    """

    def __init__(
        self,
        member: Member,
        role: Role,
        metrics: Metrics,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._member = member
        self._role = role
        self.metrics = metrics
        self._pause = pause
        self._on_take = role.subscription().policy is CommitPolicy.ON_TAKE
        self._held: dict[Partition, _Held] = {}
        self._turn = asyncio.Lock()
        self._ending = False
        self._looking: set[asyncio.Task[None]] = set()
        self._failed = asyncio.Event()
        self._failure: Exception | None = None

    def end(self) -> None:
        """Wait no longer for a store or a log that refuses: the process is about to end."""
        self._ending = True
        for task in self._looking:
            task.cancel()

    async def failed(self) -> None:
        """Return never.

        Raises:
            Exception: what ended the looking after a paused partition, and should end the process.
        """
        await self._failed.wait()
        if self._failure is not None:
            raise self._failure

    def positions(self) -> Mapping[Partition, int]:
        """Return the offset that is applied next, of each partition in hand."""
        return {partition: held.next for partition, held in self._held.items()}

    async def assigned(self, given: Assigned) -> int | None:
        """Open the partition; wait as long as that takes. Return the position to resume from, None if it is paused."""
        held = _Held(given, -1, given.end)
        self._held[given.partition] = held
        position = await self._opened(held)
        if position is not None and given.committed is None and self._on_take and held.open:
            # A position at the end would be another one for whoever has the partition next.
            self._member.commit(given.partition, position)
        self.metrics.set("assigned_partitions", len(self._held), role=self._role.name)
        return position

    async def revoked(self, partition: Partition) -> None:
        """Take no more of the partition, let what is in flight end, close it."""
        held = self._held.pop(partition, None)
        if held is None:
            return
        self.metrics.set("assigned_partitions", len(self._held), role=self._role.name)
        self._unpaused(held)
        async with self._turn:
            if held.open:
                await self._closed(partition)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Tell the role, as soon as it has applied everything below ``end``."""
        held = self._held.get(partition)
        if held is not None and not self._ending:
            held.end, held.known_end = (end, broker_ms), max(held.known_end, end)
            await self._guarded(held, self._tell_end)
            collect_when_idle()

    async def lost_place(self, partition: Partition, first: int, end: int) -> None:
        """Pause the partition until the role says a position that the log has."""
        held = self._held.get(partition)
        if held is None or self._ending:
            return
        held.given, held.known_end = replace(held.given, first=first, end=end), end
        async with self._turn:
            if held.open:
                held.open = False
                await self._closed(partition)
        self._paused(held, PartitionPaused("outside_log", str(outside_log(held.given, held.next))))

    async def take(self, batch: RecordBatch) -> None:
        """Apply the batch if it is the one that follows; else drop it or rewind."""
        held = self._held.get(batch.partition)
        if held is None or not held.open or batch.assignment != self._member.assignment(batch.partition):
            return
        if batch.first != held.next:
            self._seek(held, held.next)
            return
        held.known_end = max(held.known_end, batch.next)
        await self._guarded(held, lambda held: self._apply(held, batch))
        collect_after_batch()

    async def _guarded(self, held: _Held, call: Callable[[_Held], Awaitable[None]]) -> None:
        async with self._turn:
            if not held.open or self._held.get(held.given.partition) is not held:
                return
            try:
                await call(held)
            except _REFUSALS as refusal:
                held.open = False
                self._count(refusal)
                await self._closed(held.given.partition)
            except PartitionPaused as pause:
                held.open = False
                await self._closed(held.given.partition)
                self._paused(held, pause)
                return
            else:
                self._unpaused(held)
                self.metrics.set("heartbeat_timestamp_seconds", time.time(), role=self._role.name)
                return
        held.refused += 1
        if held.refused > 1:
            await self._pause(_pause_s(held.refused - 2))
        position = await self._opened(held)
        if position is not None:
            self._seek(held, position)

    async def _apply(self, held: _Held, batch: RecordBatch) -> None:
        if self._on_take:
            self._advance(held, batch.next)
        started_s = time.perf_counter()
        await self._role.apply(batch)
        held.refused = 0
        self.metrics.observe("batch_seconds", time.perf_counter() - started_s, role=self._role.name)
        if not self._on_take:
            self._advance(held, batch.next)
        await self._tell_end(held)

    def _advance(self, held: _Held, position: int) -> None:
        held.next = position
        self._member.commit(held.given.partition, position)

    async def _tell_end(self, held: _Held) -> None:
        if held.end is not None and held.end[0] <= held.next:
            (end, broker_ms), held.end = held.end, None
            if end == held.next:
                await self._role.reached_end(held.given.partition, end, broker_ms)

    async def _opened(self, held: _Held) -> int | None:
        """Open until it succeeds; return the position, or the last known one if it was taken away or all ends.

        None if the role paused the partition: somebody looks after it.
        """
        partition, attempt = held.given.partition, 0
        while not self._ending:
            # The newest hint is the runner's own position, once it has one.
            given = held.given if held.next < 0 else replace(held.given, committed=held.next, end=held.known_end)
            async with self._turn:
                # A store that hangs costs seconds a call: the end may have come while others had their turn.
                if self._ending or self._held.get(partition) is not held:
                    break
                try:
                    held.next = await self._role.open(given)
                except _REFUSALS as refusal:
                    self._count(refusal)
                    await self._closed(partition)
                except PartitionPaused as pause:
                    self._paused(held, pause)
                    return None
                else:
                    held.open = True
                    return held.next
            await self._pause(_pause_s(attempt))
            attempt += 1
        return max(held.next, held.given.first)

    def _paused(self, held: _Held, why: PartitionPaused) -> None:
        """Read no more of the partition, say so once, and look at it again later."""
        if self._held.get(held.given.partition) is not held:
            return
        self._member.hold(held.given.partition)
        if held.paused is None or str(held.paused) != str(why):
            logger.error("%s pauses: %s", self._role.name, why)
            self._unpaused(held, looks=held.looks)
            held.paused = why
            self._show(held, why, 1)
        task = asyncio.ensure_future(self._look(held))
        self._looking.add(task)
        task.add_done_callback(self._looked)

    async def _look(self, held: _Held) -> None:
        longest_s = min(_LONGEST_LOOK_S, _FIRST_LOOK_S * 2 ** min(held.looks, 10))
        held.looks += 1
        await self._pause(random.uniform(0.5, 1.0) * longest_s)  # noqa: S311  # spreads looks, keeps no secret
        position = await self._opened(held)
        if position is not None:
            self._seek(held, position)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failure = error
            self._failed.set()

    def _unpaused(self, held: _Held, *, looks: int = 0) -> None:
        held.looks = looks
        if held.paused is not None:
            self._show(held, held.paused, 0)
            held.paused = None

    def _show(self, held: _Held, why: PartitionPaused, value: int) -> None:
        partition = held.given.partition
        labels = {"topic": partition.topic, "partition": str(partition.index), "reason": why.reason}
        self.metrics.set("partition_paused", value, role=self._role.name, **labels)

    async def _closed(self, partition: Partition) -> None:
        try:
            await self._role.close(partition)
        except _REFUSALS as refusal:
            # What could not be flushed is read again by whoever opens the partition next.
            logger.warning("closed unflushed: %s[%d]: %s", partition.topic, partition.index, refusal)

    def _seek(self, held: _Held, position: int) -> None:
        if self._held.get(held.given.partition) is held:
            held.end = None
            self.metrics.count("rewinds_total", role=self._role.name)
            self._member.seek(held.given.partition, position)

    def _count(self, refusal: _Refusal) -> None:
        name = next(name for kind, name in _WAITS.items() if isinstance(refusal, kind))
        self.metrics.count(name, role=self._role.name)
        logger.warning("%s waits: %s", self._role.name, refusal)


def _pause_s(attempt: int) -> float:
    """Return a jittered pause that doubles up to a second."""
    longest_s: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt, 10))
    return random.uniform(0.5, 1.0) * longest_s  # noqa: S311  # spreads retries, keeps no secret
