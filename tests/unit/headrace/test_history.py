"""The past of a log in memory is read as that of any other."""

from __future__ import annotations

from agents.transport.in_process import InProcessLog
from headrace.history import InProcessHistory
from streams.topics import TopicConfig


async def test_every_record_of_a_partition_is_read_once_in_order_and_what_comes_later_is_seen() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig("events", partitions=2)])
    for number in range(5):
        await log.producer().produce("events", str(number).encode(), partition=number % 2)
    history = await InProcessHistory.of(log, ["events", "unknown"])
    [even, odd] = history.partitions("events")
    await log.producer().produce("events", b"5", partition=1)

    assert [history.bounds(each) for each in (even, odd)] == [(0, 3), (0, 3)]
    [batch] = history.read(odd, 1, 3)
    assert (batch.first, batch.next, [record.value() for record in batch.records]) == (1, 3, [b"3", b"5"])
    assert list(history.read(odd, 3, 3)) == []
    assert history.partitions("unknown") == ()
