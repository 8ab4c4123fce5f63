"""`agents.transport.in_process`: what the contract leaves to the log in memory."""

from __future__ import annotations

import asyncio

import pytest

from agents.transport import Assigned, CommitPolicy, LogUnavailable, StartAt, Subscription
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from agents.transport.in_process_groups import InProcessMember
from streams.records import Partition
from streams.topics import TopicConfig


class Hearing:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.given: list[Partition] = []
        self.ends: list[tuple[int, int]] = []

    async def assigned(self, given: Assigned) -> int:
        self.given.append(given.partition)
        return given.first

    async def revoked(self, partition: Partition) -> None:
        self.given.remove(partition)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:  # noqa: ARG002  # a `Listener`
        self.ends.append((end, broker_ms))


def member_of(log: InProcessLog, *topics: str) -> InProcessMember:
    return log.member(Subscription("g", topics, CommitPolicy.AFTER_DURABLE, StartAt.FIRST))


async def test_append_times_follow_the_clock_and_never_go_back() -> None:
    times = iter([1_000, 2_000, 1_500])
    log = InProcessLog(lambda: next(times))
    await log.create_topics([TopicConfig("t", partitions=1)])
    for _ in range(3):
        log.producer().send("t", b"")
    tail = await log.tail([((await log.partitions("t"))[0], 0)])
    assert [record.timestamp()[1] for _, record in await tail.poll(0)] == [1_000, 2_000, 2_000]


async def test_an_end_is_told_again_after_a_second_of_the_logs_clock() -> None:
    clock, hearing = ManualClock(10_000), Hearing()
    log = InProcessLog(clock)
    await log.create_topics([TopicConfig("t", partitions=1)])
    member = member_of(log, "t")
    await member.start(hearing)
    for advance_ms in (0, 999, 1, 0, 1_000):
        clock.advance(advance_ms)
        await member.poll(0)
    assert hearing.ends == [(0, 10_000), (0, 11_000), (0, 12_000)]


async def test_unkeyed_records_take_the_partitions_in_turn() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig("t", partitions=4)])
    for _ in range(8):
        log.producer().send("t", b"")
    assert await log.bounds(await log.partitions("t")) == [(0, 2)] * 4


async def test_a_record_for_a_topic_that_is_not_there_is_refused_or_counted() -> None:
    log = InProcessLog()
    with pytest.raises(LogUnavailable, match="cannot send: none: expected a topic, got none; create it first"):
        await log.producer().produce("none", b"")
    log.producer().send("none", b"")
    assert log.producer().failed == 1


async def test_a_partition_that_is_not_there_is_refused() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig("t", partitions=2)])
    with pytest.raises(LogUnavailable, match="expected a partition below 2, got 2"):
        await log.producer().produce("t", b"", partition=2)
    with pytest.raises(LogUnavailable, match=r"cannot read: t\[0\]"):
        await log.bounds([Partition("t", 0, "another id")])


async def test_a_topic_created_later_is_assigned_to_members_that_wait_for_it() -> None:
    log, hearing = InProcessLog(), Hearing()
    member = member_of(log, "later")
    await member.start(hearing)
    assert hearing.given == []
    await log.create_topics([TopicConfig("later", partitions=2)])
    assert sorted(hearing.given) == sorted(await log.partitions("later"))


async def test_shares_are_even_and_only_what_must_moves() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig("a", partitions=5), TopicConfig("b", partitions=4)])
    hearings = [Hearing() for _ in range(4)]
    members = [member_of(log, "a", "b") for _ in range(4)]
    before: list[set[Partition]] = []
    for member, hearing in zip(members, hearings, strict=True):
        before = [set(each.given) for each in hearings]
        await member.start(hearing)
        sizes = sorted(len(each.given) for each in hearings if each.given)
        assert sum(sizes) == 9
        assert sizes[-1] - sizes[0] <= 1
        moved = sum(len(was - set(each.given)) for was, each in zip(before, hearings, strict=True))
        assert moved == (0 if member is members[0] else len(hearing.given))


async def test_a_member_gets_only_topics_it_subscribes_to() -> None:
    log, first, second = InProcessLog(), Hearing(), Hearing()
    await log.create_topics([TopicConfig("a", partitions=4), TopicConfig("b", partitions=4)])
    await member_of(log, "a").start(first)
    await member_of(log, "b").start(second)
    assert {partition.topic for partition in first.given} == {"a"}
    assert {partition.topic for partition in second.given} == {"b"}


async def test_a_listener_that_fails_fails_its_own_member_only() -> None:
    class Failing(Hearing):
        async def revoked(self, partition: Partition) -> None:  # noqa: ARG002  # a `Listener`
            raise ZeroDivisionError

    log = InProcessLog()
    await log.create_topics([TopicConfig("t", partitions=2)])
    failing, other, hearing = member_of(log, "t"), member_of(log, "t"), Hearing()
    await failing.start(Failing())
    await other.start(hearing)
    assert len(hearing.given) == 1
    with pytest.raises(ZeroDivisionError):
        await failing.poll(0)


async def test_poll_wakes_when_a_record_comes() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig("t", partitions=1)])
    member = member_of(log, "t")
    await member.start(Hearing())
    polled = asyncio.create_task(member.poll(30))
    await asyncio.sleep(0.01)
    log.producer().send("t", b"x")
    batch = await asyncio.wait_for(polled, 1)
    assert batch is not None
    assert [record.value() for record in batch.records] == [b"x"]


async def test_a_tail_that_is_stopped_reads_no_more() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig("t", partitions=1)])
    tail = await log.tail([((await log.partitions("t"))[0], 0)])
    await tail.stop()
    log.producer().send("t", b"x")
    assert await tail.poll(0) == []
