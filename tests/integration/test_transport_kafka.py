"""The transport on a real Kafka: what the contract cannot ask of a log in memory."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from agents.host import host
from agents.metrics import Metrics
from agents.transport import Assigned, CommitPolicy, LogUnavailable, StartAt, Subscription
from agents.transport.kafka import KafkaLog
from agents.transport.positions import hinted
from streams.records import Partition, RecordBatch
from streams.topics import TopicConfig

pytestmark = pytest.mark.kafka

DEADLINE_S = 120.0
PARTITIONS = 4
NOBODY = "127.0.0.1:1"


class Role:
    """Resumes from the group's hints and remembers every number it applied; prints them, where a test asks it to."""

    name = "role"

    def __init__(self, topic: str, *, slow_s: float = 0.0, say: bool = False) -> None:
        self.topic = topic
        self.slow_s = slow_s
        self.say = say
        self.seen: dict[Partition, list[int]] = {}
        self.opened: dict[Partition, int] = {}
        self.error: Exception | None = None
        self.ends: list[tuple[int, int]] = []

    def subscription(self) -> Subscription:
        return Subscription(f"{self.topic}-g", (self.topic,), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        self.opened[given.partition] = hinted(given, StartAt.FIRST)
        return self.opened[given.partition]

    async def apply(self, batch: RecordBatch) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.sleep(self.slow_s)
        self.seen.setdefault(batch.partition, []).extend(int(record.value() or b"") for record in batch.records)
        if self.say:
            sys.stdout.write(f"{batch.partition.index} {batch.next}\n")
            sys.stdout.flush()

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:  # noqa: ARG002  # a `Role`
        self.ends.append((partition.index, end))

    async def close(self, partition: Partition) -> None:
        pass

    def count(self) -> int:
        return sum(map(len, self.seen.values()))


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka)
    yield log
    await log.close()


@pytest.fixture
async def topic(log: KafkaLog, unique: str) -> str:
    await log.create_topics([TopicConfig(unique, partitions=PARTITIONS)])
    return unique


async def fill(log: KafkaLog, topic: str, numbers: Sequence[int], size: int = 0) -> None:
    """Append numbers, in turn to each partition, as values of at least ``size`` bytes."""
    sent = [log.producer().produce(topic, b"%0*d" % (size, each), partition=each % PARTITIONS) for each in numbers]
    await asyncio.gather(*sent)


async def until(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, f"not in time: {what}"
        await asyncio.sleep(0.01)


def child(kafka: str, topic: str, slow_s: float) -> subprocess.Popen[str]:
    """Host the role in a process of its own until SIGTERM."""
    command = [sys.executable, "-m", "tests.integration.transport_child", kafka, topic, str(slow_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def lines(process: subprocess.Popen[str], count: int) -> list[tuple[int, int]]:
    """Return (partition, next) of the next applied batches of a child."""
    assert process.stdout is not None
    found = [await asyncio.to_thread(process.stdout.readline) for _ in range(count)]
    return [(int(line.split()[0]), int(line.split()[1])) for line in found]


@pytest.mark.alone
async def test_a_killed_process_is_replaced_in_time_and_nothing_is_lost(kafka: str, log: KafkaLog, topic: str) -> None:
    await fill(log, topic, range(4_000))
    process = child(kafka, topic, 0.01)

    try:
        applied = dict(await lines(process, 4))
    finally:
        process.kill()
        process.communicate(timeout=60)
    killed_s = time.monotonic()

    role, stop = Role(topic), asyncio.Event()
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test")))
    await until(lambda: len(role.opened) == PARTITIONS, "partitions moved")
    assert time.monotonic() - killed_s < 12
    # At least once: the heir begins where the hint says, which is never past what was applied.
    for partition, position in role.opened.items():
        assert position <= max(applied.get(partition.index, 0), 1_000)
    await until(lambda: all(each[-1] >= 3_996 for each in role.seen.values()) and bool(role.seen), "the rest applied")
    for partition, values in role.seen.items():
        begin = role.opened[partition]
        assert values == list(range(begin * PARTITIONS + partition.index, 4_000, PARTITIONS))
    stop.set()
    await running


@pytest.mark.alone
async def test_sigterm_drains_commits_and_ends_with_0(kafka: str, log: KafkaLog, topic: str) -> None:
    await fill(log, topic, range(4_000))
    process = child(kafka, topic, 0.3)
    try:
        applied = dict(await lines(process, 1))
        process.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        said, _ = await asyncio.to_thread(process.communicate, timeout=60)
        assert time.monotonic() - began_s < 10
        assert process.returncode == 0
    finally:
        process.kill()
    applied.update((int(line.split()[0]), int(line.split()[1])) for line in said.splitlines())

    role, stop = Role(topic), asyncio.Event()
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test")))
    await until(lambda: len(role.opened) == PARTITIONS, "partitions moved")
    assert {partition.index: at for partition, at in role.opened.items()} == {
        index: applied.get(index, 0) for index in range(PARTITIONS)
    }
    stop.set()
    await running


async def test_two_hosts_share_the_work_and_one_that_stops_gives_it_back(log: KafkaLog, topic: str) -> None:
    first, second, metrics = Role(topic), Role(topic), Metrics("test")
    stops = [asyncio.Event(), asyncio.Event()]
    running = [asyncio.create_task(host(log, first, stop=stops[0], metrics=metrics))]
    await until(lambda: len(first.opened) == PARTITIONS, "partitions assigned")
    running.append(asyncio.create_task(host(log, second, stop=stops[1], metrics=metrics)))
    await until(lambda: len(second.opened) == PARTITIONS // 2, "half of them moved")
    await fill(log, topic, range(4_000))
    await until(lambda: first.count() + second.count() == 4_000, "4,000 applied")
    assert second.count() == 2_000
    stops[0].set()
    await running[0]
    await until(lambda: len(second.opened) == PARTITIONS, "the rest moved")
    await fill(log, topic, range(4_000, 8_000))
    await until(lambda: second.count() == 6_000, "4,000 more applied")
    stops[1].set()
    await running[1]


async def test_a_slow_role_holds_the_reading_back_and_misses_nothing(
    log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.transport.kafka_member.MOST_QUEUED_BYTES", 100_000)
    await fill(log, topic, range(2_000), size=1_000)
    member = log.member(Role(topic).subscription())

    class Listening:
        async def assigned(self, given: Assigned) -> int:
            return given.first

        async def revoked(self, partition: Partition) -> None: ...

        async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None: ...

    await member.start(Listening())
    # Longer than the thread waits before it pauses the partitions.
    reader = member._reader
    assert reader is not None
    await until(lambda: reader._paused, "the partitions paused")
    nexts: dict[Partition, int] = {}
    count = 0
    while count < 2_000:
        batch = await member.poll(5)
        assert batch is not None
        assert batch.first == nexts.get(batch.partition, 0)
        nexts[batch.partition] = batch.next
        count += len(batch.records)
    assert [record.offset() for record in batch.records][-1] == batch.next - 1
    assert set(nexts.values()) == {500}
    await until(lambda: not reader._paused, "the partitions read on")
    await member.stop(1.0)


async def test_seeks_under_load_never_skip(log: KafkaLog, topic: str) -> None:
    await fill(log, topic, range(20_000), size=100)
    member = log.member(Role(topic).subscription())

    class Listening:
        async def assigned(self, given: Assigned) -> int:
            return given.first

        async def revoked(self, partition: Partition) -> None: ...

        async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None: ...

    await member.start(Listening())
    nexts: dict[Partition, int] = {}
    seeks, batches = 0, 0
    end_s = time.monotonic() + DEADLINE_S
    while seeks < 100 or len(nexts) < PARTITIONS or set(nexts.values()) != {5_000}:
        assert time.monotonic() < end_s
        batch = await member.poll(1)
        if batch is None or batch.assignment != member.assignment(batch.partition):
            continue
        batches += 1
        assert batch.first == nexts.get(batch.partition, 0)
        assert [record.offset() for record in batch.records] == list(range(batch.first, batch.next))
        nexts[batch.partition] = batch.next
        if seeks < 100:
            seeks += 1
            nexts[batch.partition] = (seeks * 7919) % batch.next
            member.seek(batch.partition, nexts[batch.partition])
    await member.stop(1.0)


async def test_records_deleted_below_the_position_stop_the_partition_and_it_says_what_to_do(
    kafka: str, log: KafkaLog, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(log, topic, range(400))
    admin = AdminClient({"bootstrap.servers": kafka})
    deleted = admin.delete_records([TopicPartition(topic, 0, 50)])
    await asyncio.gather(*(asyncio.wrap_future(each) for each in deleted.values()))
    partitions = await log.partitions(topic)
    assert await log.bounds(partitions[:2]) == [(50, 100), (0, 100)]

    role, stop = Role(topic), asyncio.Event()
    role.open = _at_zero  # type: ignore[method-assign]
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test")))
    await until(lambda: role.count() == 300, "the other partitions applied")
    assert f"cannot resume: {topic}[0]: expected a position in 50..100, got 0; " in caplog.text
    assert f"run `headrace repair {topic}`" in caplog.text
    stop.set()
    await running


async def _at_zero(given: Assigned) -> int:  # noqa: ARG001  # `Role.open`
    return 0


async def test_a_bug_in_the_role_ends_the_host(log: KafkaLog, topic: str) -> None:
    role = Role(topic)
    role.error = ZeroDivisionError("a bug")
    await fill(log, topic, range(4))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await asyncio.wait_for(host(log, role, stop=asyncio.Event(), metrics=Metrics("test")), DEADLINE_S)


async def test_the_end_is_told_once_a_second_while_it_stays_so(log: KafkaLog, topic: str) -> None:
    await fill(log, topic, range(400))
    role, stop = Role(topic), asyncio.Event()
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test")))
    await until(lambda: role.ends.count((0, 100)) >= 3, "the end told three times")
    assert role.count() == 400
    assert all(end == 100 for _, end in role.ends)
    stop.set()
    await running


async def test_without_a_broker_there_is_one_clear_line_in_time() -> None:
    log = KafkaLog(NOBODY, answer_s=1.0)
    began_s = time.monotonic()
    for asked in (
        log.partitions("t"),
        log.create_topics([TopicConfig("t")]),
        log.bounds([Partition("t", 0, "x")]),
        host(log, Role("t"), stop=asyncio.Event(), metrics=Metrics("test")),
    ):
        with pytest.raises(
            LogUnavailable, match=rf"^cannot .*: kafka at {NOBODY}: expected an answer in 1 s, got "
        ) as it:
            await asked
        assert "\n" not in str(it.value)
    with pytest.raises(LogUnavailable, match=r"^cannot read: kafka at 127"):
        await log.tail([(Partition("t", 0, "x"), 0)])
    assert time.monotonic() - began_s < 30


async def test_the_group_protocol_follows_the_brokers_session_timeout(log: KafkaLog) -> None:
    # The local server's session timeout is 6 s, so the incremental protocol is good enough.
    assert await log._admin.group_protocol() == "consumer"
