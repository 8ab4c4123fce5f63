"""History of a real Kafka: every record once, in order, to the end and no further."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from batch.errors import HistoryUnavailable
from batch.history import KafkaHistory
from streams.records import Partition, RecordBatch

pytestmark = pytest.mark.kafka

TIMEOUT_S = 120


@pytest.fixture
def topic(kafka: str, unique: str) -> str:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(unique, 2, 1)])[unique].result(TIMEOUT_S)
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(25_000):
        producer.produce(unique, str(number).encode(), partition=number % 2)
    assert producer.flush(TIMEOUT_S) == 0
    return unique


def values(batches: Sequence[RecordBatch]) -> list[int]:
    return [int(record.value() or b"") for batch in batches for record in batch.records]


def test_a_partition_is_read_once_in_order_and_its_ranges_join(kafka: str, topic: str) -> None:
    history = KafkaHistory(kafka)
    [even, odd] = history.partitions(topic)

    batches = list(history.read(odd, *history.bounds(odd)))

    assert (history.bounds(even), even.topic_id == odd.topic_id) == ((0, 12_500), True)
    assert values(batches) == list(range(1, 25_000, 2))
    assert [each.first for each in batches] == [0, *(each.next for each in batches[:-1])]
    assert batches[-1].next == 12_500


def test_a_range_is_read_and_nothing_beside_it(kafka: str, topic: str) -> None:
    history = KafkaHistory(kafka)
    [even, _] = history.partitions(topic)

    assert values(list(history.read(even, 10, 13))) == [20, 22, 24]
    assert list(history.read(even, 12_500, 12_500)) == []


def test_a_reader_may_stop_early(kafka: str, topic: str) -> None:
    history = KafkaHistory(kafka)
    reading = history.read(history.partitions(topic)[0], 0, 12_500)

    first = next(reading)
    reading.close()  # type: ignore[attr-defined]  # a generator

    assert first.records[0].offset() == 0


def test_a_topic_that_is_not_there_has_no_partitions(kafka: str, unique: str) -> None:
    assert KafkaHistory(kafka).partitions(unique) == ()


def test_a_range_that_the_log_no_longer_holds_is_refused(kafka: str, topic: str) -> None:
    history = KafkaHistory(kafka)
    missing = Partition(topic, 0, "")

    with pytest.raises(HistoryUnavailable, match=topic):
        list(history.read(missing, 20_000, 20_001))
