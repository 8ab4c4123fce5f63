"""`agents.transport.faust_transport`: what it relies on in Faust is there, and Faust does no more than it is asked."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faust.transport.consumer import Consumer
from faust.types import TP

from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from agents.transport.faust_host import drive_by_faust
from agents.transport.faust_transport import PRIVATE_NAMES, role_app
from agents.transport.in_process import InProcessLog
from streams.records import Partition, RecordBatch
from streams.topics import TopicConfig


class Role:
    """Adds up what it is given."""

    name = "role"

    def __init__(self, done_at: int, done: asyncio.Event) -> None:
        self.values: dict[Partition, list[int]] = {}
        self.assignments: set[int] = set()
        self.error: Exception | None = None
        self.opening: Exception | None = None
        self._done_at = done_at
        self._done = done

    def subscription(self) -> Subscription:
        return Subscription("g", ("t", "u"), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        if self.opening is not None:
            raise self.opening
        return len(self.values.setdefault(given.partition, []))

    async def apply(self, batch: RecordBatch) -> None:
        if self.error is not None:
            raise self.error
        self.assignments.add(batch.assignment)
        self.values[batch.partition] += [int(record.value() or b"") for record in batch.records]
        if sum(map(len, self.values.values())) == self._done_at:
            self._done.set()

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        pass

    async def close(self, partition: Partition) -> None:
        pass


@pytest.fixture
async def log() -> InProcessLog:
    log = InProcessLog(max_batch=10)
    await log.create_topics([TopicConfig("t", partitions=3), TopicConfig("u", partitions=2)])
    for number in range(300):
        log.producer().send("t", b"%d" % number, partition=number % 3)
        log.producer().send("u", b"%d" % number, partition=number % 2)
    return log


async def driven(log: InProcessLog, role: Role, stop: asyncio.Event) -> None:
    """Drive the role by Faust over a member of the log in memory."""
    member = log.member(role.subscription())
    runner = Runner(member, role, Metrics("test"))
    await member.start(runner)
    try:
        await asyncio.wait_for(drive_by_faust("role", ("t", "u"), member, runner, stop), 20)
    finally:
        await member.stop(1.0)


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE_NAMES.items() for name in names])
def test_a_private_name_that_we_rely_on_is_there(owner: type, name: str) -> None:
    assert hasattr(owner, name) or name in inspect.getsource(owner)


def test_the_fetch_loop_is_still_what_the_fetcher_calls() -> None:
    source = inspect.getsource(inspect.getmodule(Consumer))  # type: ignore[arg-type]
    assert "await consumer._drain_messages(self)" in source


async def test_a_faust_agent_takes_every_batch_of_every_partition_in_order(log: InProcessLog) -> None:
    stop = asyncio.Event()
    role = Role(600, stop)
    await driven(log, role, stop)
    assert len(role.values) == 5
    for partition, values in role.values.items():
        parts = 3 if partition.topic == "t" else 2
        assert values == list(range(partition.index, 300, parts))


async def test_a_rewound_partition_is_read_again_through_faust(log: InProcessLog) -> None:
    stop = asyncio.Event()
    role = Role(600, stop)
    member = log.member(role.subscription())
    runner = Runner(member, role, Metrics("test"))
    await member.start(runner)
    partition = next(iter(role.values))
    running = asyncio.create_task(drive_by_faust("role", ("t", "u"), member, runner, asyncio.Event()))
    await asyncio.wait_for(stop.wait(), 10)
    stop.clear()
    del role.values[partition][5:]
    # As a runner does after a refusal: open again, seek there.
    runner._held[partition].next = 5
    member.seek(partition, 5)
    await asyncio.wait_for(stop.wait(), 10)
    assert role.values[partition] == list(range(partition.index, 300, 3))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await member.stop(1.0)


async def test_what_the_role_raises_comes_out_of_the_host(log: InProcessLog) -> None:
    role = Role(600, asyncio.Event())
    role.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await driven(log, role, asyncio.Event())


async def test_what_the_member_raises_comes_out_of_the_host(log: InProcessLog) -> None:
    role = Role(600, asyncio.Event())
    role.opening = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await driven(log, role, asyncio.Event())


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder that has to be empty at the end."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("working_directory")
async def test_faust_takes_no_signals_and_leaves_no_folder(log: InProcessLog) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    stop = asyncio.Event()
    await driven(log, Role(600, stop), stop)
    assert {each: signal.getsignal(each) for each in before} == before


async def test_faust_starts_no_server_no_leader_and_no_replies(log: InProcessLog) -> None:
    member = log.member(Role(0, asyncio.Event()).subscription())
    app = role_app("role", member, asyncio.get_running_loop().create_future())
    started = {type(service).__name__ for service in app.boot_strategy.server()}
    assert started == {"NoProducer", "MemberConsumer", "AgentManager", "Conductor", "NoTables"}
    assert app.consumer.assignment() == set[TP]()
