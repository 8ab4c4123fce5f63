"""A member of a consumer group on Kafka: the event loop's side of its polling thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

from agents.transport import Assigned, Listener, LogUnavailable, Subscription
from agents.transport.backlog import Backlog
from agents.transport.hand_over import HandOver
from agents.transport.kafka_admin import KafkaAdmin
from agents.transport.kafka_moves import Committed
from agents.transport.kafka_reader import KafkaReader
from agents.transport.kafka_settings import KafkaSettings, pace_of
from streams.records import Partition, RecordBatch

MOST_QUEUED_BYTES = 32 * 1024 * 1024
"""How much may wait between the thread and the role, and again in its backlog, beside what the client library holds."""

_REVOKED_S = 8.0
_LEAVE_S = 0.5

logger = logging.getLogger(__name__)


class KafkaMember:
    """A member of a group; a `agents.transport.Member`. Belongs to the event loop that starts it."""

    def __init__(
        self, settings: KafkaSettings, admin: KafkaAdmin, subscription: Subscription, now_ms: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._subscription = subscription
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._out: HandOver[RecordBatch] = HandOver(self._loop, MOST_QUEUED_BYTES)
        self._backlog = Backlog()
        self._ended = asyncio.Event()
        self._listener: Listener | None = None
        self._reader: KafkaReader | None = None
        self._numbers: dict[Partition, int] = {}
        self._number = 0
        self._tasks: set[Future[None]] = set()

    async def start(self, listener: Listener) -> None:
        """Join the group. Partitions are assigned later, one rebalance after the other.

        Raises:
            LogUnavailable: no broker answered.
        """
        self._listener = listener
        await self._admin.topics(self._subscription.topics)
        protocol = self._settings.protocol
        if protocol == "auto":
            protocol = await self._admin.group_protocol()
        properties = self._settings.of_member(self._subscription, protocol)
        pace = pace_of(self._subscription)
        self._reader = KafkaReader(properties, self._subscription.topics, self._out, self, pace)
        self._reader.start()

    async def poll(self, timeout_s: float) -> RecordBatch | None:
        """Return the next batch, None if there was none in time. All that waits of a partition comes as one."""
        if not self._backlog:
            batch = await self._out.next(timeout_s)
            while batch is not None:
                # What the thread read before it heard of a seek, a hold or a revocation is of an older number.
                if batch.assignment == self._numbers.get(batch.partition):
                    self._backlog.add(batch)
                batch = self._out.take()
        return self._backlog.next()

    def assignment(self, partition: Partition) -> int | None:
        """Return the partition's current assignment number, None if it is not this member's."""
        return self._numbers.get(partition)

    def seek(self, partition: Partition, position: int) -> None:
        """Rewind (or skip) the partition and raise its assignment number."""
        if self._reader is not None and partition in self._numbers:
            self._numbers[partition] = number = self._next_number()
            self._reader.seek(partition, position, number)

    def hold(self, partition: Partition) -> None:
        """Read no more of the partition until the next seek."""
        if self._reader is not None and partition in self._numbers:
            self._numbers[partition] = number = self._next_number()
            self._reader.hold(partition, number)

    def commit(self, partition: Partition, position: int) -> None:
        """Note the group's hint."""
        if self._reader is not None:
            self._reader.commit(partition, position)

    async def stop(self, drain_s: float) -> None:
        """Drain within ``drain_s`` seconds, commit, leave the group."""
        await self._end(drain_s)

    async def crash(self) -> None:
        """Leave without draining or committing, as a killed process would. For tests."""
        self._numbers.clear()
        await self._end(None)

    async def _end(self, drain_s: float | None) -> None:
        reader = self._reader
        if reader is None:
            return
        reader.stop(drain_s)
        try:
            async with asyncio.timeout((drain_s or 0.0) + 2 * _LEAVE_S):
                await self._ended.wait()
            reader.join()
        except TimeoutError:
            logger.warning("left without the brokers' knowledge: %s", self._subscription.group)

    # -- called by the thread

    def given(self, committed: Committed) -> Future[Sequence[tuple[Assigned, int | None]]]:
        """Ask the listener where to resume each of these partitions."""
        return self._submit(self._give(committed))

    def revoked(self, partitions: Sequence[Partition], drain_s: float | None) -> None:
        """Stop handing the partitions out and let the listener finish with them."""
        for partition in partitions:
            self._numbers.pop(partition, None)
        left_s = _REVOKED_S if drain_s is None else drain_s
        asked = self._submit(self._revoke(partitions, left_s))
        try:
            asked.result(left_s + _LEAVE_S)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            logger.warning("partitions left undrained after %s s: %s", left_s, self._subscription.group)

    def ended(self, positions: Sequence[tuple[Partition, int]]) -> None:
        """Tell the listener of partitions that rest at their ends, if they still do."""
        self._follow(self._tell_ends(positions))

    def outside(self, partition: Partition, first: int, end: int) -> None:
        """Tell the listener that the partition's position is not in the log."""
        self._follow(self._tell_outside(partition, first, end))

    def left(self) -> None:
        """Let `stop` return."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    # -- run by the event loop

    async def _give(self, committed: Committed) -> list[tuple[Assigned, int | None]]:
        topics = await self._admin.topics(sorted({topic for topic, _ in committed}))
        by_key = {(each.topic, each.index): each for found in topics.values() for each in found}
        missing = sorted(topic for topic, index in committed if (topic, index) not in by_key)
        if missing:
            raise LogUnavailable(f"cannot resume: {', '.join(missing)}: expected the partitions assigned, got fewer")
        partitions = [by_key[key] for key in committed]
        answers = []
        for partition, (first, end) in zip(partitions, await self._admin.bounds(partitions), strict=True):
            number = self._numbers[partition] = self._next_number()
            given = Assigned(partition, number, first, end, committed[partition.topic, partition.index])
            answers.append((given, await self._heard(self._told.assigned(given))))
        return answers

    async def _revoke(self, partitions: Sequence[Partition], drain_s: float) -> None:
        try:
            async with asyncio.timeout(drain_s):
                for partition in partitions:
                    await self._heard(self._told.revoked(partition))
        except TimeoutError:
            logger.warning("partitions left undrained after %s s: %s", drain_s, self._subscription.group)

    async def _tell_ends(self, positions: Sequence[tuple[Partition, int]]) -> None:
        # Asked anew, so that the time is known at which the end was the end.
        before_ms = self._now_ms()
        try:
            ends = await self._admin.ends([partition for partition, _ in positions])
        except LogUnavailable:
            return
        for (partition, position), end in zip(positions, ends, strict=True):
            if position == end and partition in self._numbers:
                await self._heard(self._told.reached_end(partition, end, before_ms))

    async def _tell_outside(self, partition: Partition, first: int, end: int) -> None:
        if partition in self._numbers:
            await self._heard(self._told.lost_place(partition, first, end))

    async def _heard(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except Exception as error:
            # Raised again by `poll`, to whoever hosts the role.
            self._out.fail(error)
            raise

    @property
    def _told(self) -> Listener:
        assert self._listener is not None  # noqa: S101  # the thread only runs once there is one
        return self._listener

    def _submit(self, call: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _follow(self, call: Coroutine[Any, Any, None]) -> None:
        asked = self._submit(call)
        self._tasks.add(asked)
        asked.add_done_callback(self._tasks.discard)

    def _next_number(self) -> int:
        self._number += 1
        return self._number
