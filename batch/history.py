"""What has been published, read again from its first offset: the contract, and its implementation on Kafka.

An archive of files, or a log in memory, stands behind the same three methods.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from batch.errors import HistoryUnavailable
from streams.records import Partition, Record, RecordBatch

_ANSWER_S = 5.0
_STALL_S = 30.0
_POLL_S = 0.2
_MOST_MESSAGES = 10_000
_READER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "fetch.queue.backoff.ms": 1,
    "queued.min.messages": 100_000,
    "queued.max.messages.kbytes": 16 * 1024,  # one reader per partition, merged by time: memory is their sum
    "log_level": 2,
}

logger = logging.getLogger(__name__)


class History(Protocol):
    """An ordered log as it is now, read by position. Synchronous: nothing else goes on beside."""

    def partitions(self, topic: str) -> Sequence[Partition]:
        """Return the topic's partitions in order, empty if there is no such topic."""
        ...

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return (first, end): the oldest offset there is, and the one that the next record will get."""
        ...

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        """Return the records of the half-open range ``[first, end)`` in batches whose ranges join without gaps.

        Raises:
            HistoryUnavailable: while it is iterated, if the log does not hand out a part of the range.
        """
        ...


class KafkaHistory:
    """The topics of a Kafka cluster, each partition read by a consumer of its own, in no group.

    Args:
        bootstrap: ``host:port``, several with commas.
        properties: librdkafka properties of the user, such as TLS and SASL.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, str] | None = None) -> None:
        self._bootstrap = bootstrap
        given = {name: value for name, value in (properties or {}).items() if name != "group.protocol"}
        self._common: dict[str, Any] = {**given, "bootstrap.servers": bootstrap, "error_cb": _say}
        self._admin = AdminClient({**self._common, "log_level": 2})

    def partitions(self, topic: str) -> tuple[Partition, ...]:
        """Return the topic's partitions in order, empty if there is no such topic."""
        asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_ANSWER_S)
        try:
            found = asked[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return ()
            raise self._unavailable(topic, error.args[0]) from error
        bits = (found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits())
        topic_id = "".join(f"{half & 0xFFFFFFFFFFFFFFFF:016x}" for half in bits)
        return tuple(Partition(topic, index, topic_id) for index in sorted(each.id for each in found.partitions))

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return (first, end) of the partition."""
        consumer = self._consumer()
        try:
            asked = TopicPartition(partition.topic, partition.index)
            first, end = consumer.get_watermark_offsets(asked, timeout=_ANSWER_S)
        except KafkaException as error:
            raise self._unavailable(partition.topic, error.args[0]) from error
        finally:
            consumer.close()
        return first, end

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        """Return the records of ``[first, end)``. Cost: about 1 us a record, read ahead by another thread."""
        if first >= end:
            return
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(partition.topic, partition.index, first)])
            yield from self._batches(consumer, partition, first, end)
        finally:
            consumer.close()

    def _batches(self, consumer: Consumer, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        until_s = time.monotonic() + _STALL_S
        while first < end:
            messages = consumer.consume(_MOST_MESSAGES, _POLL_S)
            records, ended = self._sorted_out(messages, partition, end)
            if records or ended:
                after = end if ended else records[-1].offset() + 1  # type: ignore[operator]  # a record has an offset
                yield RecordBatch(partition, 0, first, after, cast("Sequence[Record]", records))
                first, until_s = after, time.monotonic() + _STALL_S
            elif time.monotonic() >= until_s:
                raise HistoryUnavailable(
                    f"cannot read history: {partition.topic}[{partition.index}] at {first}: expected records up to "
                    f"{end}, got none for {_STALL_S:.0f} s; check the broker with `headrace doctor`"
                )

    def _sorted_out(self, messages: Sequence[Message], partition: Partition, end: int) -> tuple[list[Message], bool]:
        """Return the records below ``end``, and whether there are no more of them."""
        records: list[Message] = []
        for message in messages:
            error = message.error()
            offset = message.offset()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                raise self._unavailable(f"{partition.topic}[{partition.index}]", error)
            if offset is not None and offset >= end:
                return records, True
            if error is None:
                records.append(message)
        return records, bool(records) and (records[-1].offset() or 0) + 1 >= end

    def _consumer(self) -> Consumer:
        return Consumer({**self._common, **_READER, "group.id": f"headrace-history-{uuid.uuid4().hex}"})

    def _unavailable(self, what: str, error: KafkaError) -> HistoryUnavailable:
        return HistoryUnavailable(
            f"cannot read history: {what}: kafka at {self._bootstrap}: {error.name().lstrip('_').lower()}; "
            "start it with `headrace up` or set HEADRACE_KAFKA"
        )


def _say(error: KafkaError) -> None:
    logger.info("kafka: %s", error.str())
