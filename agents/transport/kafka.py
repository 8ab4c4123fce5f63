"""The ordered log on Kafka, by librdkafka."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from agents.transport import LINGER_MS, Subscription
from agents.transport.clock import wall_ms
from agents.transport.kafka_admin import KafkaAdmin
from agents.transport.kafka_member import KafkaMember
from agents.transport.kafka_producer import KafkaProducer
from agents.transport.kafka_settings import KafkaSettings
from agents.transport.kafka_tail import KafkaTail
from streams.records import Partition
from streams.topics import TopicConfig

ANSWER_S = 5.0
"""How long a broker may take to answer before the log counts as unavailable."""

_FLUSH_S = 2.0


class KafkaLog:
    """An ordered log on Kafka; a `agents.transport.Log`. Connects when it is first asked.

    Args:
        bootstrap: ``host:port``, several with commas.
        properties: librdkafka properties such as TLS and SASL; ``group.protocol`` may also be ``auto``, the default.
        answer_s: how long a broker may take to answer, seconds.

    Raises:
        HeadraceError: a property is one that headrace sets itself.
    """

    def __init__(
        self, bootstrap: str, properties: Mapping[str, str] | None = None, *, answer_s: float = ANSWER_S
    ) -> None:
        self._settings = KafkaSettings(bootstrap, properties or {})
        self._answer_s = answer_s
        self._admin = KafkaAdmin(self._settings, answer_s)
        self._producers: dict[str, KafkaProducer] = {}

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Create the topics that are missing; leave the others as they are.

        Raises:
            LogUnavailable: no broker answered in time, or one refused.
        """
        await self._admin.create_topics(topics)

    async def partitions(self, topic: str) -> tuple[Partition, ...]:
        """Return the topic's partitions in order, empty if there is no such topic. Cost: one request."""
        return (await self._admin.topics([topic]))[topic]

    async def bounds(self, partitions: Sequence[Partition]) -> list[tuple[int, int]]:
        """Return (first, end) of each partition. Cost: two requests to each broker that leads some of them."""
        return await self._admin.bounds(partitions)

    async def ends(self, partitions: Sequence[Partition]) -> list[int]:
        """Return the end of each partition. Cost: one request to each broker that leads some of them."""
        return await self._admin.ends(partitions)

    async def cleanup_policy(self, topic: str) -> str:
        """Return the topic's cleanup policy. Cost: one request."""
        return await self._admin.cleanup_policy(topic)

    async def stop_compacting(self, topic: str) -> None:
        """Set the topic's cleanup policy to ``delete``.

        Raises:
            LogUnavailable: no broker answered in time, or one refused.
        """
        await self._admin.set_cleanup_policy(topic, "delete")

    def producer(self) -> KafkaProducer:
        """Return the process's producer; it is made the first time."""
        return self._made("producer", self._settings.of_producer())

    def unhurried_producer(self, linger_ms: int = LINGER_MS) -> KafkaProducer:
        """Return the process's producer whose records wait so long for company; it is made the first time.

        Each request to the broker costs it and the client about 0.1 ms of a processor, however little is in it; and
        each partition gets requests of its own.
        """
        return self._made(f"unhurried {linger_ms}", self._settings.of_producer(linger_ms))

    def reply_producer(self) -> KafkaProducer:
        """Return the process's producer of replies; it is made the first time. The leader alone acknowledges."""
        return self._made("reply", self._settings.of_replier())

    def member(self, subscription: Subscription) -> KafkaMember:
        """Return a new member of the subscription's group, not yet joined. Needs a running event loop."""
        return KafkaMember(self._settings, self._admin, subscription, self.now_ms)

    async def tail(self, positions: Sequence[tuple[Partition, int]]) -> KafkaTail:
        """Return a reader of the partitions from the given positions; every partition has answered by then.

        Raises:
            LogUnavailable: a partition did not answer in time.
        """
        tail = KafkaTail(self._settings, positions)
        await tail.ready(self._answer_s)
        return tail

    def now_ms(self) -> int:
        """Return this machine's time: the best estimate of what the broker gives to a record appended now."""
        return wall_ms()

    async def close(self) -> None:
        """Flush the producers, for 2 s at most, and end them."""
        made = tuple(self._producers.values())
        await asyncio.gather(*(each.flush(_FLUSH_S) for each in made))
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in made))
        self._producers.clear()

    def _made(self, kind: str, properties: Mapping[str, Any]) -> KafkaProducer:
        if kind not in self._producers:
            self._producers[kind] = KafkaProducer(self._settings.bootstrap, properties)
        return self._producers[kind]
