"""The ordered log in memory: topics, partitions, groups with rebalances, and a clock that may be moved by hand.

For tests, for simulation, and for a demo where no Kafka can be started. It lives in one event loop and is gone with
the process: never a broker for production.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agents.transport import LINGER_MS, Headers, LogUnavailable, Subscription
from agents.transport.clock import wall_ms
from agents.transport.in_process_groups import Group, InProcessMember
from agents.transport.in_process_partitions import KeptPartition
from streams.partitioning import partition_of
from streams.records import Partition, Record
from streams.topics import TopicConfig

_TAIL_RECORDS = 10_000


class InProcessLog:
    """An ordered log in memory; a `agents.transport.Log`.

    Example:
        >>> async def first_offset() -> int:
        ...     log = InProcessLog()
        ...     await log.create_topics([TopicConfig("events", partitions=1)])
        ...     return await log.producer().produce("events", b"{}", key=b"k")
        >>> asyncio.run(first_offset())
        0
    """

    def __init__(self, now_ms: Callable[[], int] = wall_ms, *, max_batch: int = 1_000) -> None:
        self._now_ms = now_ms
        self._max_batch = max_batch
        self._topics: dict[str, list[KeptPartition]] = {}
        self._policies: dict[str, str] = {}
        self._groups: dict[str, Group] = {}
        self._producer = InProcessProducer(self._topics, now_ms)

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Create the topics that are missing; leave the others as they are."""
        missing = [topic for topic in topics if topic.name not in self._topics]
        for topic in missing:
            topic_id = uuid.uuid4().hex
            self._policies[topic.name] = topic.properties().get("cleanup.policy", "delete")
            self._topics[topic.name] = [
                KeptPartition(Partition(topic.name, index, topic_id)) for index in range(topic.partitions)
            ]
        if missing:
            for group in self._groups.values():
                await group.rebalance()

    async def partitions(self, topic: str) -> tuple[Partition, ...]:
        """Return the topic's partitions in order, empty if there is no such topic."""
        return tuple(kept.partition for kept in self._topics.get(topic, ()))

    async def bounds(self, partitions: Sequence[Partition]) -> list[tuple[int, int]]:
        """Return (first, end) of each partition. Nothing is forgotten by itself, see `forget`."""
        return [(kept.first, kept.end) for kept in map(self.kept, partitions)]

    async def ends(self, partitions: Sequence[Partition]) -> list[int]:
        """Return the end of each partition."""
        return [self.kept(partition).end for partition in partitions]

    async def cleanup_policy(self, topic: str) -> str:
        """Return the topic's cleanup policy, as it was created with."""
        return self._policies.get(topic, "delete")

    async def stop_compacting(self, topic: str) -> None:
        """Let the topic keep every record."""
        self._policies[topic] = "delete"

    def forget(self, partition: Partition, before: int) -> None:
        """Let nobody read below ``before`` any more, as retention does. For tests."""
        self.kept(partition).first = before

    def delete_topic(self, topic: str) -> None:
        """Delete a topic that no member reads, and what groups committed of it. For tests."""
        for kept in self._topics.pop(topic, ()):
            for group in self._groups.values():
                group.committed.pop(kept.partition, None)

    def producer(self) -> InProcessProducer:
        """Return the log's one producer."""
        return self._producer

    def unhurried_producer(self, linger_ms: int = LINGER_MS) -> InProcessProducer:  # noqa: ARG002  # nobody travels
        """Return the same: nothing waits here."""
        return self.producer()

    def reply_producer(self) -> InProcessProducer:
        """Return the same."""
        return self.producer()

    def member(self, subscription: Subscription) -> InProcessMember:
        """Return a new member of the subscription's group, not yet joined."""
        group = self._groups.setdefault(subscription.group, Group(self._kept_of))
        return InProcessMember(group, subscription, self._now_ms, max_batch=self._max_batch)

    async def tail(self, positions: Sequence[tuple[Partition, int]]) -> InProcessTail:
        """Return a reader of the partitions from the given positions."""
        return InProcessTail([(self.kept(partition), position) for partition, position in positions])

    def now_ms(self) -> int:
        """Return the time that a record appended now gets."""
        return self._now_ms()

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def kept(self, partition: Partition) -> KeptPartition:
        """Return the records of one partition.

        Raises:
            LogUnavailable: there is no such partition, or its topic is another one by now.
        """
        for kept in self._topics.get(partition.topic, ()):
            if kept.partition == partition:
                return kept
        raise LogUnavailable(f"cannot read: {partition.topic}[{partition.index}]: expected a partition, got none")

    def _kept_of(self, topic: str) -> Sequence[KeptPartition]:
        return self._topics.get(topic, ())


class InProcessProducer:
    """Appends at once; a `agents.transport.Producer`. Unkeyed records take the partitions in turn."""

    def __init__(self, topics: Mapping[str, list[KeptPartition]], now_ms: Callable[[], int]) -> None:
        self._topics = topics
        self._now_ms = now_ms
        self._turn = random.randrange(1 << 16)  # noqa: S311  # spreads records, keeps no secret
        self.failed = 0
        """How many records sent without waiting could not be delivered."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[int]:
        """Append one record; the awaitable is already done and holds the offset."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            done.set_result(self._choose(topic, key, partition).append(value, key, headers, self._now_ms()))
        except LogUnavailable as error:
            done.set_exception(error)
        return done

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Append one record; count it if that cannot be done."""
        try:
            self._choose(topic, key, partition).append(value, key, headers, self._now_ms())
        except LogUnavailable:
            self.failed += 1

    async def flush(self, timeout_s: float) -> int:  # noqa: ARG002  # nothing is ever under way
        """Return 0: every record is appended when it is sent."""
        return 0

    def _choose(self, topic: str, key: bytes | None, partition: int | None) -> KeptPartition:
        kept = self._topics.get(topic)
        if not kept:
            raise LogUnavailable(f"cannot send: {topic}: expected a topic, got none; create it first")
        if partition is None:
            self._turn += key is None
            partition = self._turn % len(kept) if key is None else partition_of(key, len(kept))
        if not 0 <= partition < len(kept):
            raise LogUnavailable(f"cannot send: {topic}: expected a partition below {len(kept)}, got {partition}")
        return kept[partition]


class InProcessTail:
    """Reads partitions by position; a `agents.transport.Tail`."""

    def __init__(self, positions: Sequence[tuple[KeptPartition, int]]) -> None:
        self._positions = [(kept, position) for kept, position in positions]
        self._news = asyncio.Event()
        for kept, _ in positions:
            kept.waiting.add(self._news)

    async def poll(self, timeout_s: float) -> Sequence[tuple[Partition, Record]]:
        """Return what has come, in order within each partition; empty if nothing came in time."""
        await asyncio.sleep(0)
        found = self._read()
        if not found and timeout_s > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return ()
            found = self._read()
        return found

    async def stop(self) -> None:
        """Stop reading."""
        for kept, _ in self._positions:
            kept.waiting.discard(self._news)
        self._positions = []

    def _read(self) -> list[tuple[Partition, Record]]:
        found: list[tuple[Partition, Record]] = []
        for index, (kept, position) in enumerate(self._positions):
            records = kept.records[position : position + _TAIL_RECORDS]
            self._positions[index] = (kept, position + len(records))
            found += [(kept.partition, record) for record in records]
        return found
