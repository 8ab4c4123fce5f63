"""What is asked of a Kafka cluster beside its records: topics, their ids and bounds, and how its groups are set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from agents.transport import LogUnavailable
from agents.transport.kafka_settings import SESSION_TARGET_MS, KafkaSettings
from streams.records import Partition
from streams.topics import TopicConfig

_ATTEMPT_S = 2.0
_CREATE_S = 3.0
_LOST_S = 4.0
"""How long one attempt may take in all: should the library never settle an answer, another is asked for."""

_RETRY_S = 0.05
_SPREAD_S = 30.0
"""How long a busy broker may take to learn of the topics that it was asked to make."""

_FIRST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_END = OffsetSpec.latest()  # type: ignore[no-untyped-call]
# A topic just created, or a leader just moved: the next metadata mends it.
_PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._NOENT,  # noqa: SLF001  # not in this client's metadata yet
        KafkaError._TRANSPORT,  # noqa: SLF001  # the library's own name for "connection lost"
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.REQUEST_TIMED_OUT,
    }
)

Result = TypeVar("Result")


class KafkaAdmin:
    """Asks a Kafka cluster, each question within ``timeout_s`` seconds; new topics may take 30."""

    def __init__(self, settings: KafkaSettings, timeout_s: float) -> None:
        self._bootstrap = settings.bootstrap
        self._timeout_s = timeout_s
        self._spread_s = max(timeout_s, _SPREAD_S)
        self._client = AdminClient(settings.of_admin())

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Create the topics that are missing, and wait until they can be read; leave the others as they are."""
        known = await self.topics([topic.name for topic in topics])
        missing = [topic for topic in topics if not known[topic.name]]
        if not missing:
            return
        wanted = [NewTopic(topic.name, topic.partitions, config=topic.properties()) for topic in missing]

        async def attempt() -> None:
            asked = self._client.create_topics(wanted, operation_timeout=_ATTEMPT_S, request_timeout=_CREATE_S)
            for future in asked.values():
                await _made(future)

        await self._tried(f"create {_named([each.name for each in missing])}", attempt, self._spread_s)
        await self._readable([Partition(each.name, index, "") for each in missing for index in range(each.partitions)])

    async def _readable(self, created: Sequence[Partition]) -> None:
        """Wait until every broker knows the new topics: a busy one learns of them seconds after they were made."""

        async def attempt() -> None:
            # Having asked for topics of which some were there, the library keeps the others as unknown for long.
            await asyncio.to_thread(self._client.list_topics, timeout=_ATTEMPT_S)
            await self._listed(created, _END)

        await self._tried(f"read {_topics_of(created)}", attempt, self._spread_s)

    async def topics(self, names: Sequence[str]) -> dict[str, tuple[Partition, ...]]:
        """Return each topic's partitions in order, none where there is no such topic."""
        if not names:
            return {}

        async def attempt() -> dict[str, tuple[Partition, ...]]:
            asked = self._client.describe_topics(TopicCollection(list(names)), request_timeout=_ATTEMPT_S)
            return {name: await _described(name, future) for name, future in asked.items()}

        return await self._tried(f"describe {_named(names)}", attempt)

    async def bounds(self, partitions: Sequence[Partition]) -> list[tuple[int, int]]:
        """Return (first, end) of each partition. Cost: two requests to each broker that leads some of them."""
        first, end = await asyncio.gather(self._offsets(partitions, _FIRST), self._offsets(partitions, _END))
        return list(zip(first, end, strict=True))

    async def ends(self, partitions: Sequence[Partition]) -> list[int]:
        """Return the end of each partition. Cost: one request to each broker that leads some of them."""
        return await self._offsets(partitions, _END)

    async def cleanup_policy(self, topic: str) -> str:
        """Return a topic's ``cleanup.policy``."""
        resource = ConfigResource(ResourceType.TOPIC, topic)

        async def attempt() -> str:
            asked = self._client.describe_configs([resource], request_timeout=_ATTEMPT_S)
            entries = await asyncio.wrap_future(asked[resource])
            return str(entries["cleanup.policy"].value)

        return await self._tried(f"read the configuration of {topic}", attempt)

    async def set_cleanup_policy(self, topic: str, policy: str) -> None:
        """Set a topic's ``cleanup.policy``, and nothing else of its configuration."""
        entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])

        async def attempt() -> None:
            asked = self._client.incremental_alter_configs([resource], request_timeout=_ATTEMPT_S)
            await asyncio.wrap_future(asked[resource])

        await self._tried(f"set the cleanup policy of {topic}", attempt)

    async def group_protocol(self) -> str:
        """Return ``consumer`` where the brokers let a dead member's partitions go in time, else ``classic``."""
        try:
            values = await self._tried("describe the broker", self._broker_configuration)
        except LogUnavailable:
            return "classic"
        offered = values.get("group.coordinator.rebalance.protocols", "classic,consumer")
        session_ms = values.get("group.consumer.session.timeout.ms")
        short = session_ms is not None and int(session_ms) <= SESSION_TARGET_MS
        return "consumer" if short and "consumer" in offered else "classic"

    async def _broker_configuration(self) -> dict[str, str]:
        cluster = await asyncio.wrap_future(self._client.describe_cluster(request_timeout=_ATTEMPT_S))
        resource = ConfigResource(ResourceType.BROKER, str(cluster.nodes[0].id))
        asked = self._client.describe_configs([resource], request_timeout=_ATTEMPT_S)
        entries = await asyncio.wrap_future(asked[resource])
        return {name: entry.value for name, entry in entries.items()}

    async def _offsets(self, partitions: Sequence[Partition], spec: OffsetSpec) -> list[int]:
        if not partitions:
            return []

        return await self._tried(f"read the bounds of {_topics_of(partitions)}", lambda: self._listed(partitions, spec))

    async def _listed(self, partitions: Sequence[Partition], spec: OffsetSpec) -> list[int]:
        """Return one offset of each partition, asked for once."""
        question = {TopicPartition(each.topic, each.index): spec for each in partitions}
        asked = self._client.list_offsets(question, request_timeout=_ATTEMPT_S)
        found = {
            (asked_of.topic, asked_of.partition): (await asyncio.wrap_future(future)).offset
            for asked_of, future in asked.items()
        }
        return [found[each.topic, each.index] for each in partitions]

    async def _tried(
        self, what: str, attempt: Callable[[], Awaitable[Result]], within_s: float | None = None
    ) -> Result:
        within_s = self._timeout_s if within_s is None else within_s
        until_s = time.monotonic() + within_s
        while True:
            try:
                async with asyncio.timeout(_LOST_S):
                    return await attempt()
            except (KafkaException, TimeoutError) as error:
                if not _is_passing(error) or time.monotonic() >= until_s:
                    raise self._unavailable(what, within_s, error) from error
            await asyncio.sleep(_RETRY_S)

    def _unavailable(self, what: str, within_s: float, error: KafkaException | TimeoutError) -> LogUnavailable:
        got = error.args[0].name().lstrip("_").lower() if isinstance(error, KafkaException) else "none"
        return LogUnavailable(
            f"cannot {what}: kafka at {self._bootstrap}: expected an answer in {within_s:.0f} s, "
            f"got {got}; start it with `headrace up` or set HEADRACE_KAFKA"
        )


def _is_passing(error: KafkaException | TimeoutError) -> bool:
    if isinstance(error, TimeoutError):
        return True
    return bool(error.args[0].retriable()) or error.args[0].code() in _PASSING


def _named(topics: Sequence[str]) -> str:
    return f"{topics[0]} and {len(topics) - 1} more topics" if len(topics) > 1 else topics[0]


def _topics_of(partitions: Sequence[Partition]) -> str:
    return _named(sorted({each.topic for each in partitions}))


async def _made(future: Future[None]) -> None:
    try:
        await asyncio.wrap_future(future)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


async def _described(name: str, future: Future[Any]) -> tuple[Partition, ...]:
    try:
        found = await asyncio.wrap_future(future)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return ()
        raise
    bits = (found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits())
    topic_id = "".join(f"{half & 0xFFFFFFFFFFFFFFFF:016x}" for half in bits)
    return tuple(Partition(name, index, topic_id) for index in sorted(each.id for each in found.partitions))
