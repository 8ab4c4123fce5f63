"""`agents.host` on the log in memory: runs a role until told to stop, drains it, and leaves."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

import pytest

from agents.host import host
from agents.metrics import Metrics
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from agents.transport.in_process import InProcessLog
from streams.errors import StoreUnavailable
from streams.records import Partition, RecordBatch
from streams.topics import TopicConfig


class Role:
    """Counts, slowly or wrongly where a test wants it so."""

    name = "role"

    def __init__(self) -> None:
        self.applied = 0
        self.closed: list[Partition] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.store_is_away = False
        self.collector_was_on = False

    def subscription(self) -> Subscription:
        return Subscription("g", ("t",), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        if self.store_is_away:
            raise StoreUnavailable("no store")
        return given.committed or given.first

    async def apply(self, batch: RecordBatch) -> None:
        self.collector_was_on |= gc.isenabled()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.applied += len(batch.records)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        pass

    async def close(self, partition: Partition) -> None:
        self.closed.append(partition)


async def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.005)


@pytest.fixture
async def log() -> InProcessLog:
    log = InProcessLog()
    await log.create_topics([TopicConfig("t", partitions=2)])
    for number in range(100):
        log.producer().send("t", b"%d" % number)
    return log


async def test_a_role_runs_until_it_is_stopped_and_its_lag_is_measured(log: InProcessLog) -> None:
    role, stop, metrics = Role(), asyncio.Event(), Metrics("test")
    running = asyncio.create_task(host(log, role, stop=stop, metrics=metrics))
    await until(lambda: role.applied == 100)

    def lag() -> float | None:
        labels = {"namespace": "test", "role": "role", "topic": "t", "partition": "0"}
        return metrics.registry.get_sample_value("headrace_lag_records", labels)

    await until(lambda: lag() == 0)
    stop.set()
    await running
    assert sorted(role.closed) == sorted(await log.partitions("t"))
    assert not role.collector_was_on
    assert gc.isenabled()


async def test_the_batch_in_hand_is_finished_before_the_role_leaves(log: InProcessLog) -> None:
    role, stop = Role(), asyncio.Event()
    role.gate.clear()
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test")))
    await asyncio.sleep(0.02)
    stop.set()
    await asyncio.sleep(0.02)
    assert not running.done()
    role.gate.set()
    await running
    assert role.applied > 0

    heir, heirs_stop = Role(), asyncio.Event()
    running = asyncio.create_task(host(log, heir, stop=heirs_stop, metrics=Metrics("test")))
    await until(lambda: heir.applied == 100 - role.applied)
    heirs_stop.set()
    await running


async def test_a_role_that_does_not_end_is_left_at_the_deadline(log: InProcessLog) -> None:
    role, stop = Role(), asyncio.Event()
    role.gate.clear()
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test"), drain_s=0.1))
    await asyncio.sleep(0.02)
    stop.set()
    began_s = time.monotonic()
    await running
    assert time.monotonic() - began_s < 2.0
    assert role.applied == 0


async def test_a_bug_in_the_role_ends_the_host(log: InProcessLog) -> None:
    role = Role()
    role.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await asyncio.wait_for(host(log, role, stop=asyncio.Event(), metrics=Metrics("test")), 5)
    assert gc.isenabled()
    assert sorted(role.closed) == sorted(await log.partitions("t"))


async def test_a_role_whose_store_is_away_stops_soon(log: InProcessLog) -> None:
    role, stop = Role(), asyncio.Event()
    role.store_is_away = True
    running = asyncio.create_task(host(log, role, stop=stop, metrics=Metrics("test")))
    await asyncio.sleep(0.05)
    stop.set()
    began_s = time.monotonic()
    await running
    assert time.monotonic() - began_s < 2.0
