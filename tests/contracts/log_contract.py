"""What every log promises. A subclass gives the ``log`` fixture; each test uses a topic and groups of its own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import cast

import pytest

from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Assigned, CommitPolicy, Listener, Log, Member, Producer, StartAt, Subscription
from agents.transport.in_process_groups import InProcessMember
from agents.transport.kafka_member import KafkaMember
from agents.transport.positions import hinted
from streams.errors import ChainBroken
from streams.partitioning import partition_of
from streams.records import LOG_APPEND_TIME, Partition, RecordBatch
from streams.topics import TopicConfig

DEADLINE_S = 60.0
PARTITIONS = 4


async def offset_of(sent: Awaitable[int]) -> int:
    """Return the offset that a record got."""
    return await sent


@dataclass
class Hearing(Listener):
    """A listener that resumes where it is told to, and remembers what it heard."""

    start: Callable[[Assigned], int | None] = lambda given: given.committed or given.first
    given: dict[Partition, Assigned] = field(default_factory=dict)
    taken_away: list[Partition] = field(default_factory=list)
    ends: list[tuple[Partition, int, int]] = field(default_factory=list)
    outside: list[tuple[Partition, int, int]] = field(default_factory=list)

    async def assigned(self, given: Assigned) -> int | None:
        self.given[given.partition] = given
        return self.start(given)

    async def revoked(self, partition: Partition) -> None:
        self.taken_away.append(partition)
        self.given.pop(partition, None)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        self.ends.append((partition, end, broker_ms))

    async def lost_place(self, partition: Partition, first: int, end: int) -> None:
        self.outside.append((partition, first, end))


@dataclass
class Keeping:
    """A role whose rows outlive its members, as a store's would; each row holds the numbers applied so far."""

    subscribed: Subscription
    rows: dict[Partition, list[int]] = field(default_factory=dict)
    name: str = "keeping"
    breaks: int = 0
    blocked: asyncio.Event | None = None
    applied: list[RecordBatch] = field(default_factory=list)
    opened: list[Assigned] = field(default_factory=list)

    def subscription(self) -> Subscription:
        return self.subscribed

    async def open(self, given: Assigned) -> int:
        self.opened.append(given)
        if self.subscribed.policy is CommitPolicy.ON_TAKE:
            return hinted(given, self.subscribed.start)
        return len(self.rows.setdefault(given.partition, []))

    async def apply(self, batch: RecordBatch) -> None:
        if self.blocked is not None:
            await self.blocked.wait()
        row = self.rows.setdefault(batch.partition, [])
        if self.breaks and row:
            self.breaks -= 1
            # A store that went back in time: half of what was written is gone.
            del row[len(row) // 2 :]
            raise ChainBroken("cannot write: row: expected another mark")
        row += [int(record.value() or b"") for record in batch.records]
        self.applied.append(batch)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        pass

    async def close(self, partition: Partition) -> None:
        pass

    def count(self) -> int:
        return sum(map(len, self.rows.values()))


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with a deadline."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, f"not in time: {what}"
        await asyncio.sleep(0.005)


async def read(members: Sequence[Member], condition: Callable[[list[RecordBatch]], bool]) -> list[RecordBatch]:
    """Poll the members in turn until what they gave fulfils the condition."""
    found: list[RecordBatch] = []
    end_s = time.monotonic() + DEADLINE_S
    while not condition(found):
        assert time.monotonic() < end_s, f"not in time: {len(found)} batches"
        for member in members:
            batch = await member.poll(0.01)
            if batch is not None:
                found.append(batch)
    return found


def records(batches: Sequence[RecordBatch]) -> int:
    return sum(len(batch.records) for batch in batches)


def assert_joined(batches: Sequence[RecordBatch], at: int = 0) -> None:
    """Check that each partition's ranges join without a gap from ``at`` on, and hold the records of their range."""
    nexts: dict[Partition, int] = {}
    for batch in batches:
        assert batch.first == nexts.get(batch.partition, at)
        assert [record.offset() for record in batch.records] == list(range(batch.first, batch.next))
        nexts[batch.partition] = batch.next


async def drive(member: Member, runner: Runner, stop: asyncio.Event) -> None:
    while not stop.is_set():
        batch = await member.poll(0.01)
        if batch is not None:
            await runner.take(batch)


class LogContract:
    """The promises. Collected in subclasses only."""

    @pytest.fixture
    async def topic(self, log: Log) -> str:
        name = f"t-{uuid.uuid4().hex[:12]}"
        await log.create_topics([TopicConfig(name, partitions=PARTITIONS)])
        return name

    @staticmethod
    def subscription(
        topic: str, policy: CommitPolicy = CommitPolicy.AFTER_DURABLE, start: StartAt = StartAt.FIRST
    ) -> Subscription:
        return Subscription(f"g-{topic}", (topic,), policy, start)

    @staticmethod
    async def fill(log: Log, topic: str, count: int, *, begin: int = 0) -> None:
        """Append numbers, in turn to each partition: partition p holds p, p + 4, p + 8 and so on."""
        sent = [
            log.producer().produce(topic, b"%d" % number, partition=number % PARTITIONS)
            for number in range(begin, begin + count)
        ]
        await asyncio.gather(*sent)

    async def test_records_come_in_order_in_whole_batches_whose_ranges_join(self, log: Log, topic: str) -> None:
        member = log.member(self.subscription(topic))
        hearing = Hearing()
        await member.start(hearing)
        await self.fill(log, topic, 2_000)
        batches = await read([member], lambda found: records(found) >= 1_000)
        await self.fill(log, topic, 2_000, begin=2_000)
        batches += await read([member], lambda found: records([*batches, *found]) == 4_000)

        assert_joined(batches)
        for batch in batches:
            assert batch.assignment == member.assignment(batch.partition) == hearing.given[batch.partition].assignment
            assert batch.next > batch.first
        await member.stop(1.0)

    async def test_after_a_rewind_old_batches_are_stale_and_new_ones_begin_there(self, log: Log, topic: str) -> None:
        member = log.member(self.subscription(topic))
        await member.start(Hearing())
        await self.fill(log, topic, 4_000)
        batches = await read([member], lambda found: records(found) >= 1_000)
        partition = batches[0].partition
        before = member.assignment(partition)
        member.seek(partition, 7)
        raised = member.assignment(partition)

        def rest(found: list[RecordBatch]) -> list[RecordBatch]:
            return [each for each in found if each.partition == partition and each.assignment == raised]

        found = await read([member], lambda found: records(rest(found)) == 993)
        assert raised is not None
        assert before is not None
        assert raised > before
        assert_joined(rest(found), at=7)
        assert {each.assignment for each in found if each.partition == partition} <= {before, raised}
        await member.stop(1.0)

    async def test_a_store_that_goes_back_in_time_loses_and_doubles_nothing(self, log: Log, topic: str) -> None:
        role = Keeping(self.subscription(topic), breaks=10)
        member = log.member(role.subscription())
        runner = Runner(member, role, Metrics("test"))
        await member.start(runner)
        stop = asyncio.Event()
        driven = asyncio.create_task(drive(member, runner, stop))
        for begin in range(0, 8_000, 400):
            await self.fill(log, topic, 400, begin=begin)
        await until(lambda: role.count() == 8_000 and not role.breaks, "8,000 applied")
        stop.set()
        await driven
        for partition, row in role.rows.items():
            assert row == list(range(partition.index, 8_000, PARTITIONS))
        await member.stop(1.0)

    @pytest.mark.parametrize(("policy", "expected"), [(CommitPolicy.AFTER_DURABLE, 0), (CommitPolicy.ON_TAKE, 10)])
    async def test_a_batch_counts_as_consumed_when_its_policy_says(
        self, log: Log, topic: str, policy: CommitPolicy, expected: int
    ) -> None:
        await self.fill(log, topic, 10 * PARTITIONS)
        role = Keeping(self.subscription(topic, policy), blocked=asyncio.Event())
        member = log.member(role.subscription())
        runner = Runner(member, role, Metrics("test"))
        await member.start(runner)
        batches = await read([member], lambda found: records(found) == 10 * PARTITIONS)
        assert batches[0].next == 10
        taken = asyncio.create_task(runner.take(batches[0]))
        await asyncio.sleep(0)
        # The batch is never applied, so the drain ends by its deadline.
        await member.stop(0.2)
        taken.cancel()

        heir, hearing = log.member(role.subscription()), Hearing()
        await heir.start(hearing)
        await until(lambda: len(hearing.given) == PARTITIONS, "all partitions assigned")
        assert (hearing.given[batches[0].partition].committed or 0) == expected
        await heir.stop(1.0)

    async def test_after_a_crash_the_heir_resumes_from_the_rows(self, log: Log, topic: str) -> None:
        role = Keeping(self.subscription(topic))
        member = log.member(role.subscription())
        runner = Runner(member, role, Metrics("test"))
        await member.start(runner)
        await self.fill(log, topic, 4_000)
        while role.count() < 1_000:
            batch = await member.poll(0.1)
            if batch is not None:
                await runner.take(batch)
        await cast("InProcessMember | KafkaMember", member).crash()

        heir = log.member(role.subscription())
        heirs_runner = Runner(heir, role, Metrics("test"))
        await heir.start(heirs_runner)
        stop = asyncio.Event()
        driven = asyncio.create_task(drive(heir, heirs_runner, stop))
        await until(lambda: role.count() == 4_000, "4,000 applied")
        stop.set()
        await driven
        for partition, row in role.rows.items():
            assert row == list(range(partition.index, 4_000, PARTITIONS))
        await heir.stop(1.0)

    async def test_a_queued_batch_survives_another_members_join_and_leave(self, log: Log, topic: str) -> None:
        member, hearing = log.member(self.subscription(topic)), Hearing()
        await member.start(hearing)
        await self.fill(log, topic, 4_000)
        batches = await read([member], lambda found: len({each.partition for each in found}) == PARTITIONS)
        numbers = {partition: given.assignment for partition, given in hearing.given.items()}
        nexts = {batch.partition: batch.next for batch in batches}

        # Nothing is polled while the other comes and goes, so what was read ahead stays queued.
        other, others_hearing = log.member(self.subscription(topic)), Hearing()
        await other.start(others_hearing)
        await until(lambda: len(others_hearing.given) == PARTITIONS // 2, "half the partitions moved")
        await other.stop(1.0)
        await until(lambda: len(hearing.given) == PARTITIONS, "the partitions moved back")
        stayed = set(numbers) - set(hearing.taken_away)

        assert len(stayed) == PARTITIONS // 2
        for partition in stayed:
            assert member.assignment(partition) == numbers[partition]

        def rest(found: list[RecordBatch]) -> list[RecordBatch]:
            return [each for each in found if each.partition in stayed]

        missing = sum(1_000 - nexts[partition] for partition in stayed)
        more = rest(await read([member], lambda found: records(rest(found)) == missing))
        assert_joined([*rest(batches), *more])
        assert all(each.assignment == numbers[each.partition] for each in more)
        await member.stop(1.0)

    async def test_a_stopped_members_partitions_move_with_its_commits(self, log: Log, topic: str) -> None:
        first, firsts = log.member(self.subscription(topic)), Hearing()
        second, seconds = log.member(self.subscription(topic)), Hearing()
        await first.start(firsts)
        await until(lambda: len(firsts.given) == PARTITIONS, "all partitions assigned")
        await second.start(seconds)
        await until(lambda: len(firsts.given) == len(seconds.given) == PARTITIONS // 2, "the partitions shared")
        assert not firsts.given.keys() & seconds.given.keys()

        await self.fill(log, topic, 400)
        moving = set(firsts.given)
        taken = await read([first], lambda found: records(found) == 200)
        for batch in taken:
            first.commit(batch.partition, batch.next)
        await first.stop(1.0)
        await until(lambda: len(seconds.given) == PARTITIONS, "all partitions moved")
        assert set(firsts.taken_away[-len(moving) :]) == moving
        assert {seconds.given[partition].committed for partition in moving} == {100}
        assert all(first.assignment(partition) is None for partition in moving)
        await second.stop(1.0)

    async def test_headers_keys_tombstones_and_append_times_are_kept(self, log: Log, topic: str) -> None:
        headers = [("a", b"1"), ("b", b"\xff\x00"), ("a", b"")]
        producer = log.producer()
        before_ms = log.now_ms()
        await producer.produce(topic, b"bytes \xff", key=b"k", headers=headers, partition=0)
        await producer.produce(topic, None, key=b"k", partition=0)
        await producer.produce(topic, b"", partition=0)
        after_ms = log.now_ms()

        member = log.member(self.subscription(topic))
        await member.start(Hearing())
        batches = await read([member], lambda found: records(found) == 3)
        full, tombstone, empty = (record for batch in batches for record in batch.records)
        assert (full.value(), full.key(), full.headers()) == (b"bytes \xff", b"k", headers)
        assert (tombstone.value(), tombstone.key(), tombstone.headers()) == (None, b"k", None)
        assert (empty.value(), empty.key()) == (b"", None)
        for record in (full, tombstone, empty):
            kind, appended_ms = record.timestamp()
            assert kind == LOG_APPEND_TIME
            assert before_ms <= appended_ms <= after_ms
        await member.stop(1.0)

    @pytest.mark.parametrize(("start", "expected"), [(StartAt.FIRST, 8), (StartAt.END, 4)])
    async def test_a_fresh_group_starts_where_its_subscription_says(
        self, log: Log, topic: str, start: StartAt, expected: int
    ) -> None:
        await self.fill(log, topic, 4)
        hearing = Hearing(start=lambda given: hinted(given, start))
        member = log.member(self.subscription(topic, start=start))
        await member.start(hearing)
        await until(lambda: len(hearing.given) == PARTITIONS, "all partitions assigned")
        assert {(given.first, given.end, given.committed) for given in hearing.given.values()} == {(0, 1, None)}
        # What comes after the assignment is read either way.
        await self.fill(log, topic, 4, begin=4)
        batches = await read([member], lambda found: records(found) == expected)
        assert sorted(int(record.value() or b"") for batch in batches for record in batch.records) == list(
            range(8 - expected, 8)
        )
        await member.stop(1.0)

    async def test_equal_keys_meet_where_java_puts_them(self, log: Log, topic: str) -> None:
        keys = [b"", b"k", "Zürich".encode(), *(b"flight-%d" % number for number in range(200))]
        await asyncio.gather(*(log.producer().produce(topic, b"1", key=key) for key in keys))
        tail = await log.tail([(partition, 0) for partition in await log.partitions(topic)])
        found: list[tuple[bytes | None, int]] = []
        while len(found) < len(keys):
            found += [(record.key(), partition.index) for partition, record in await tail.poll(1.0)]
        assert sorted(found) == sorted((key, partition_of(key, PARTITIONS)) for key in keys)
        await tail.stop()

    async def test_a_record_may_be_awaited_late_and_by_several(self, log: Log, topic: str) -> None:
        producer = log.producer()
        early, late = (producer.produce(topic, b"%d" % number, partition=0) for number in range(2))
        assert list(await asyncio.gather(offset_of(early), offset_of(early))) == [0, 0]
        assert await producer.flush(5.0) == 0
        assert [await offset_of(each) for each in (late, late, early)] == [1, 1, 0]

    async def test_who_gives_up_waiting_for_a_record_leaves_it_to_others(self, log: Log, topic: str) -> None:
        producer = log.producer()
        for number in range(3):
            sent = producer.produce(topic, b"x", partition=0)
            given_up = asyncio.ensure_future(offset_of(producer.produce(topic, b"y", partition=0)))
            await asyncio.sleep(0)
            given_up.cancel()
            assert await sent == 2 * number

    async def test_reaching_the_end_is_told_soon_and_with_a_time_that_holds(self, log: Log, topic: str) -> None:
        member, hearing = log.member(self.subscription(topic)), Hearing()
        await member.start(hearing)
        for round_ in range(1, 4):
            before_ms = log.now_ms()
            await self.fill(log, topic, 100, begin=100 * (round_ - 1))

            def told(end: int = 25 * round_) -> bool:
                return {partition.index for partition, at, _ in hearing.ends if at == end} == set(range(PARTITIONS))

            await read([member], lambda _, told=told: told())
            times = [broker_ms for _, end, broker_ms in hearing.ends if end == 25 * round_]
            assert before_ms <= min(times) <= max(times) <= log.now_ms()
        await member.stop(1.0)

    async def test_a_position_outside_the_log_stops_that_partition_alone(
        self, log: Log, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        hearing = Hearing(start=lambda given: 5 if given.partition.index == 0 else 0)
        member = log.member(self.subscription(topic))
        await member.start(hearing)
        await until(lambda: len(hearing.given) == PARTITIONS, "all partitions assigned")
        await self.fill(log, topic, 40)
        batches = await read([member], lambda found: records(found) == 30)
        assert {batch.partition.index for batch in batches} == {1, 2, 3}
        assert f"cannot resume: {topic}[0]: expected a position in 0..0, got 5; " in caplog.text
        assert f"run `headrace repair {topic}`" in caplog.text
        assert [(each.index, first) for each, first, _ in hearing.outside] == [(0, 0)]

        # A seek to where it can be read sets it going again.
        partition = next(each for each in hearing.given if each.index == 0)
        member.seek(partition, 2)
        assert_joined(await read([member], lambda found: records(found) == 8), at=2)
        await member.stop(1.0)

    async def test_a_partition_is_not_read_while_it_is_held_and_the_others_are(self, log: Log, topic: str) -> None:
        hearing = Hearing(start=lambda given: None if given.partition.index == 0 else 0)
        member = log.member(self.subscription(topic))
        await member.start(hearing)
        await until(lambda: len(hearing.given) == PARTITIONS, "all partitions assigned")
        zeroth, first = sorted(hearing.given, key=lambda each: each.index)[:2]
        await self.fill(log, topic, 40)
        batches = await read([member], lambda found: records(found) == 30)
        assert {batch.partition.index for batch in batches} == {1, 2, 3}

        member.seek(zeroth, 0)
        assert_joined(await read([member], lambda found: records(found) == 10))
        member.hold(first)
        await self.fill(log, topic, 40, begin=40)
        assert first not in {each.partition for each in await read([member], lambda found: records(found) == 30)}
        member.seek(first, 10)
        assert_joined(await read([member], lambda found: records(found) == 10), at=10)
        assert hearing.outside == []
        await member.stop(1.0)

    async def test_a_partition_that_was_held_when_it_was_taken_away_is_read_when_it_comes_back(
        self, log: Log, topic: str
    ) -> None:
        member, hearing = log.member(self.subscription(topic)), Hearing(start=lambda given: given.first)
        await member.start(hearing)
        await self.fill(log, topic, 40)
        await read([member], lambda found: records(found) == 40)
        for partition in hearing.given:
            member.hold(partition)
        # A seek is there when it is read again; only then is it certain that the others are held.
        sought = min(hearing.given, key=lambda each: each.index)
        member.seek(sought, 0)
        await read([member], lambda found: records(found) == 10)

        other, others_hearing = log.member(self.subscription(topic)), Hearing()
        await other.start(others_hearing)
        await until(lambda: len(others_hearing.given) == PARTITIONS // 2, "half the partitions moved")
        moved = set(others_hearing.given) - {sought}
        await other.stop(1.0)
        await until(lambda: len(hearing.given) == PARTITIONS, "the partitions moved back")

        def rest(found: list[RecordBatch]) -> list[RecordBatch]:
            return [each for each in found if each.partition in moved]

        assert moved
        assert_joined(rest(await read([member], lambda found: records(rest(found)) == 10 * len(moved))))
        await member.stop(1.0)

    async def test_a_compacted_topic_is_told_and_may_be_told_to_keep_everything(self, log: Log, topic: str) -> None:
        compacted = f"{topic}-compacted"
        await log.create_topics([TopicConfig(compacted, partitions=1, config={"cleanup.policy": "compact"})])
        assert (await log.cleanup_policy(topic), await log.cleanup_policy(compacted)) == ("delete", "compact")
        await log.stop_compacting(compacted)
        assert await log.cleanup_policy(compacted) == "delete"

    async def test_a_position_that_the_log_grew_to_while_the_partition_was_given_is_resumed_from(
        self, log: Log, topic: str
    ) -> None:
        class Growing(Hearing):
            async def assigned(self, given: Assigned) -> int | None:
                for number in range(5):
                    await log.producer().produce(topic, b"%d" % number, partition=given.partition.index)
                return await super().assigned(given)

        hearing = Growing(start=lambda given: given.end + 3)
        member = log.member(self.subscription(topic))
        await member.start(hearing)
        assert_joined(await read([member], lambda found: records(found) == 2 * PARTITIONS), at=3)
        await member.stop(1.0)

    async def test_topics_are_created_once_and_left_as_they_are(self, log: Log, topic: str) -> None:
        before = await log.partitions(topic)
        await log.create_topics([TopicConfig(topic, partitions=9), TopicConfig(f"{topic}-b", partitions=2)])
        assert await log.partitions(topic) == before
        assert [each.index for each in await log.partitions(f"{topic}-b")] == [0, 1]
        assert await log.partitions(f"{topic}-none") == ()
        ids = {each.topic_id for each in (*before, *await log.partitions(f"{topic}-b"))}
        assert len(ids) == 2
        assert all(len(bytes.fromhex(each)) == 16 for each in ids)

    async def test_a_tail_sees_what_is_appended_after_it_is_ready(self, log: Log, topic: str) -> None:
        await self.fill(log, topic, 40)
        partitions = await log.partitions(topic)
        assert await log.bounds(partitions) == [(0, 10)] * PARTITIONS
        assert await log.ends(partitions) == [10] * PARTITIONS
        end = await log.tail([(partition, 10) for partition in partitions])
        middle = await log.tail([(partitions[1], 8)])
        assert await end.poll(0.01) == ()
        await self.fill(log, topic, 4, begin=40)

        seen: list[int] = []
        while len(seen) < 4:
            seen += [int(record.value() or b"") for _, record in await end.poll(1.0)]
        assert sorted(seen) == [40, 41, 42, 43]
        ordered: list[int] = []
        while len(ordered) < 3:
            ordered += [record.offset() for _, record in await middle.poll(1.0)]
        assert ordered == [8, 9, 10]
        await end.stop()
        await middle.stop()

    @pytest.mark.parametrize(
        "of",
        [methodcaller("producer"), methodcaller("unhurried_producer", 20), methodcaller("reply_producer")],
        ids=["own", "unhurried", "reply"],
    )
    async def test_a_flushed_producer_has_nothing_under_way(
        self, log: Log, topic: str, of: Callable[[Log], Producer]
    ) -> None:
        producer = of(log)
        for number in range(1_000):
            producer.send(topic, b"%d" % number, key=b"%d" % number)
        assert await producer.flush(DEADLINE_S) == 0
        assert sum(end for _, end in await log.bounds(await log.partitions(topic))) == 1_000
