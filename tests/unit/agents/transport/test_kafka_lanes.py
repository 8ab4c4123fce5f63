"""`agents.transport.kafka_lanes`: messages become batches whose ranges join."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from confluent_kafka import Message, TopicPartition

from agents.transport.kafka_lanes import Lane, by_partition, ends_to_tell
from streams.records import Partition, RecordBatch

PARTITION = Partition("t", 2, "id")


def messages(*offsets: int, topic: str = "t", partition: int = 2) -> list[Message]:
    return [Message(topic=topic, partition=partition, offset=offset, value=b"") for offset in offsets]


def lane(position: int) -> Lane:
    return Lane(PARTITION, 1, position)


def ranges(batches: Sequence[RecordBatch | None]) -> list[tuple[int, int, int] | None]:
    return [batch and (batch.first, batch.next, len(batch.records)) for batch in batches]


def test_ranges_join() -> None:
    at = lane(5)
    assert ranges([at.batch(messages(5, 6), 0.0), at.batch(messages(7), 0.0)]) == [(5, 7, 2), (7, 8, 1)]


def test_a_gap_in_the_log_belongs_to_the_batch_after_it() -> None:
    at = lane(5)
    assert ranges([at.batch(messages(5), 0.0), at.batch(messages(8, 9, 12), 0.0)]) == [(5, 6, 1), (6, 13, 3)]


def test_a_first_gap_is_asked_for_once_more_and_then_believed() -> None:
    at = lane(5)
    assert at.batch(messages(8), 0.0) is None
    assert ranges([at.batch(messages(8), 0.0)]) == [(5, 9, 1)]


@pytest.mark.parametrize("confirmed", [False, True])
def test_records_from_before_the_position_are_asked_for_anew(*, confirmed: bool) -> None:
    at = lane(5)
    at.confirmed = confirmed
    assert at.batch(messages(3, 4, 5), 0.0) is None
    assert at.next == 5


def test_after_a_seek_a_gap_is_doubted_again() -> None:
    at = lane(5)
    at.batch(messages(5), 0.0)
    at.place(2, 9)
    assert at.batch(messages(6, 7), 0.0) is None
    batch = at.batch(messages(2, 3), 0.0)
    assert batch is not None
    assert (batch.first, batch.assignment) == (2, 9)


def test_the_end_is_known_until_more_comes() -> None:
    at = lane(5)
    assert at.reach(5, 0.0) is None
    assert at.end == 5
    at.batch(messages(5), 0.0)
    assert at.end is None


def test_ends_are_told_as_far_apart_as_the_member_wants() -> None:
    at, told = lane(5), []
    for number in range(20):
        at.batch(messages(5 + number), number / 10)
        at.reach(6 + number, number / 10)
        told += [(end, number) for _, end in ends_to_tell([at], number / 10 + 0.05, 1.0)]

    assert told == [(6, 0), (16, 10)]


def test_offsets_without_records_before_the_end_make_an_empty_batch() -> None:
    at = lane(5)
    assert ranges([at.reach(7, 0.0)]) == [(5, 7, 0)]
    assert (at.next, at.end) == (7, 7)


def test_a_position_is_named_as_the_client_library_does() -> None:
    found = lane(0).at(9)
    assert (found.topic, found.partition, found.offset) == ("t", 2, 9)
    assert isinstance(found, TopicPartition)


def test_messages_are_parted_by_partition_in_order() -> None:
    mixed = [
        *messages(1, 2, partition=0),
        *messages(7, partition=1),
        *messages(3, partition=0),
        *messages(1, topic="u", partition=0),
    ]
    found = {key: [message.offset() for message in run] for key, run in by_partition(mixed)}
    assert found == {("t", 0): [1, 2, 3], ("t", 1): [7], ("u", 0): [1]}
    assert [[message.offset() for message in run] for _, run in by_partition(messages(4, 5))] == [[4, 5]]
