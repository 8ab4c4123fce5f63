"""`agents.runner`: only the batch that follows is applied, and what fails is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Assigned, CommitPolicy, LogUnavailable, StartAt, Subscription
from agents.transport.in_process import InProcessLog
from agents.transport.in_process_groups import InProcessMember
from streams.errors import ChainBroken, RegistryUnavailable, StoreUnavailable
from streams.records import Partition, RecordBatch
from streams.topics import TopicConfig


@dataclass
class Role:
    """Keeps a row for each partition, and fails where it is told to."""

    policy: CommitPolicy = CommitPolicy.AFTER_DURABLE
    name: str = "role"
    rows: dict[Partition, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    opening: list[Exception] = field(default_factory=list)
    applying: list[Exception] = field(default_factory=list)
    closing: list[Exception] = field(default_factory=list)
    ending: list[Exception] = field(default_factory=list)
    given: list[Assigned] = field(default_factory=list)
    gate: asyncio.Event | None = None

    def subscription(self) -> Subscription:
        return Subscription("g", ("t",), self.policy, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        self.calls.append("open")
        self.given.append(given)
        _fail(self.opening)
        return self.rows.get(given.partition, given.committed or 0)

    async def apply(self, batch: RecordBatch) -> None:
        self.calls.append(f"apply {batch.first}..{batch.next}")
        if self.gate is not None:
            await self.gate.wait()
        _fail(self.applying)
        self.rows[batch.partition] = batch.next

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:  # noqa: ARG002  # a `Role`
        self.calls.append(f"end {end} at {broker_ms}")
        _fail(self.ending)

    async def close(self, partition: Partition) -> None:  # noqa: ARG002
        self.calls.append("close")
        _fail(self.closing)


def _fail(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop(0)


@dataclass
class Stage:
    """A log of one partition, a member that has it, and a runner that never really sleeps."""

    log: InProcessLog
    role: Role
    member: InProcessMember
    runner: Runner
    metrics: Metrics
    pauses: list[float]
    partition: Partition

    async def fill(self, count: int) -> None:
        for _ in range(count):
            await self.log.producer().produce("t", b"1")

    async def step(self) -> bool:
        batch = await self.member.poll(0)
        if batch is not None:
            await self.runner.take(batch)
        return batch is not None

    async def run_dry(self) -> None:
        while await self.step():
            pass

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"headrace_{name}", {"namespace": "test", "role": "role"})


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until the condition holds."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never held")


async def staged(role: Role) -> Stage:
    log, pauses, metrics = InProcessLog(lambda: 5_000, max_batch=10), list[float](), Metrics("test")
    await log.create_topics([TopicConfig("t", partitions=1)])
    member = log.member(role.subscription())

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    runner = Runner(member, role, metrics, pause=pause)
    (partition,) = await log.partitions("t")
    stage = Stage(log, role, member, runner, metrics, pauses, partition)
    await member.start(runner)
    return stage


async def test_batches_are_applied_in_order_and_the_end_is_told_after_the_last() -> None:
    stage = await staged(Role())
    await stage.fill(25)
    await stage.run_dry()
    assert stage.role.calls == ["open", "apply 0..10", "apply 10..20", "apply 20..25", "end 25 at 5000"]
    assert stage.runner.positions() == {stage.partition: 25}


@pytest.mark.parametrize(
    ("refusal", "counted"),
    [
        (StoreUnavailable("no store"), "store_waits_total"),
        (ChainBroken("another mark"), "chain_breaks_total"),
        (LogUnavailable("no log"), "log_waits_total"),
        (RegistryUnavailable("no registry"), "registry_waits_total"),
    ],
)
async def test_a_refused_batch_is_read_again_from_the_rows(refusal: Exception, counted: str) -> None:
    stage = await staged(Role(applying=[refusal]))
    await stage.fill(25)
    await stage.run_dry()
    assert stage.role.calls[:4] == ["open", "apply 0..10", "close", "open"]
    assert stage.role.calls[4:] == ["apply 0..10", "apply 10..20", "apply 20..25", "end 25 at 5000"]
    assert stage.metric(counted) == 1
    assert stage.metric("rewinds_total") == 1


async def test_a_store_that_went_back_is_followed_back() -> None:
    stage = await staged(Role())
    await stage.fill(30)
    await stage.step()
    await stage.step()
    stage.role.rows[stage.partition] = 5
    stage.role.applying.append(ChainBroken("another mark"))
    await stage.run_dry()
    assert stage.role.calls[3:] == [
        "apply 20..30", "close", "open", "apply 5..15", "apply 15..25", "apply 25..30", "end 30 at 5000",
    ]  # fmt: skip


async def test_opening_waits_as_long_as_the_store_is_away_with_growing_pauses() -> None:
    stage = await staged(Role(opening=[StoreUnavailable("no store") for _ in range(20)]))
    await stage.fill(3)
    await stage.run_dry()
    assert stage.role.calls[-2:] == ["apply 0..3", "end 3 at 5000"]
    assert stage.metric("store_waits_total") == 20
    assert stage.pauses[0] <= 0.02 < stage.pauses[5] <= max(stage.pauses) <= 1.0
    assert min(stage.pauses[10:]) >= 0.5


async def test_a_batch_refused_again_and_again_waits_though_opening_succeeds() -> None:
    """A schema registry that is away refuses batches, not openings: without a pause the two would just take turns."""
    stage = await staged(Role(applying=[RegistryUnavailable("no registry") for _ in range(12)]))
    await stage.fill(13)
    await stage.run_dry()
    assert stage.role.calls.count("apply 0..10") == 13
    assert stage.runner.positions() == {stage.partition: 13}
    assert len(stage.pauses) == 11
    assert stage.pauses[0] <= 0.02 < stage.pauses[5] <= max(stage.pauses) <= 1.0
    stage.role.applying.append(StoreUnavailable("no store"))
    await stage.fill(1)
    await stage.run_dry()
    assert len(stage.pauses) == 11, "what was applied since begins anew"


async def test_a_reopened_partition_is_given_the_runners_own_position_as_hint() -> None:
    stage = await staged(Role(applying=[StoreUnavailable("no store")]))
    stage.role.applying.clear()
    await stage.fill(20)
    await stage.step()
    stage.role.applying.append(StoreUnavailable("no store"))
    await stage.step()
    assert [given.committed for given in stage.role.given] == [None, 10]
    assert [given.end for given in stage.role.given] == [0, 20]


async def test_a_close_that_cannot_flush_is_no_failure_of_its_own() -> None:
    stage = await staged(Role(applying=[StoreUnavailable("no store")], closing=[StoreUnavailable("no store")]))
    await stage.fill(3)
    await stage.run_dry()
    assert stage.runner.positions() == {stage.partition: 3}


async def test_a_batch_of_an_older_assignment_is_dropped() -> None:
    stage = await staged(Role())
    await stage.fill(20)
    stale = await stage.member.poll(0)
    assert stale is not None
    stage.member.seek(stage.partition, 0)
    await stage.runner.take(stale)
    assert stage.role.calls == ["open"]
    await stage.run_dry()
    assert stage.role.calls[1:3] == ["apply 0..10", "apply 10..20"]


async def test_a_gap_is_rewound() -> None:
    stage = await staged(Role())
    await stage.fill(30)
    lost = await stage.member.poll(0)
    assert lost is not None
    await stage.run_dry()
    assert stage.role.calls[1:] == ["apply 0..10", "apply 10..20", "apply 20..30", "end 30 at 5000"]
    assert stage.metric("rewinds_total") == 1


async def test_a_batch_of_a_partition_not_in_hand_is_dropped() -> None:
    stage = await staged(Role())
    await stage.fill(10)
    batch = await stage.member.poll(0)
    assert batch is not None
    await stage.runner.revoked(stage.partition)
    await stage.runner.take(batch)
    assert stage.role.calls == ["open", "close"]
    assert stage.metric("assigned_partitions") == 0


async def test_a_revoked_partition_is_closed_only_after_the_batch_in_flight() -> None:
    stage = await staged(Role(gate=asyncio.Event()))
    await stage.fill(10)
    taken = asyncio.create_task(stage.step())
    await eventually(lambda: len(stage.role.calls) == 2)
    revoked = asyncio.create_task(stage.runner.revoked(stage.partition))
    await asyncio.sleep(0)
    assert stage.role.calls == ["open", "apply 0..10"]
    assert stage.role.gate is not None
    stage.role.gate.set()
    await asyncio.gather(taken, revoked)
    assert stage.role.calls == ["open", "apply 0..10", "close"]
    assert stage.role.rows == {stage.partition: 10}


async def test_a_partition_taken_away_while_it_waits_is_let_go() -> None:
    stage = await staged(Role())
    await stage.fill(10)
    stage.role.applying.append(StoreUnavailable("no store"))
    stage.role.opening.extend(StoreUnavailable("no store") for _ in range(1_000))
    stepped = asyncio.create_task(stage.step())
    await eventually(lambda: len(stage.pauses) > 3)
    await stage.runner.revoked(stage.partition)
    await stepped
    assert stage.runner.positions() == {}
    assert stage.role.rows == {}


async def test_a_runner_that_ends_waits_no_longer() -> None:
    stage = await staged(Role())
    await stage.fill(10)
    stage.role.applying.append(StoreUnavailable("no store"))
    stage.role.opening.extend(StoreUnavailable("no store") for _ in range(1_000))
    stage.runner.end()
    await stage.step()
    assert stage.role.rows == {}


async def test_a_refused_end_is_followed_by_a_rewind() -> None:
    stage = await staged(Role(ending=[ChainBroken("another mark")]))
    await stage.fill(10)
    await stage.run_dry()
    await stage.run_dry()
    assert stage.role.calls == [
        "open", "apply 0..10", "end 10 at 5000", "close", "open", "end 10 at 5000",
    ]  # fmt: skip


async def test_on_take_commits_before_and_after_durable_after_the_batch() -> None:
    for policy, expected in ((CommitPolicy.ON_TAKE, 10), (CommitPolicy.AFTER_DURABLE, None)):
        stage = await staged(Role(policy=policy, gate=asyncio.Event()))
        await stage.fill(10)
        taken = asyncio.create_task(stage.step())
        await eventually(lambda role=stage.role: len(role.calls) == 2)
        committed = stage.member._group.committed
        assert committed.get(stage.partition) == expected
        assert stage.role.gate is not None
        stage.role.gate.set()
        await taken
        assert committed == {stage.partition: 10}


async def test_a_request_that_was_taken_is_not_taken_again_after_a_failure() -> None:
    stage = await staged(Role(policy=CommitPolicy.ON_TAKE, applying=[StoreUnavailable("no store")]))
    await stage.fill(20)
    await stage.run_dry()
    assert stage.role.calls == ["open", "apply 0..10", "close", "open", "apply 10..20", "end 20 at 5000"]


async def test_a_bug_in_the_role_is_not_caught() -> None:
    stage = await staged(Role(applying=[ZeroDivisionError("a bug")]))
    await stage.fill(1)
    with pytest.raises(ZeroDivisionError):
        await stage.step()


async def test_progress_is_measured() -> None:
    stage = await staged(Role())
    await stage.fill(20)
    await stage.run_dry()
    assert stage.metric("batch_seconds_count") == 2
    assert stage.metric("assigned_partitions") == 1
    assert (stage.metric("heartbeat_timestamp_seconds") or 0) > 1_700_000_000


async def test_a_group_that_starts_at_the_end_commits_where_it_started_before_there_is_a_record() -> None:
    stage = await staged(Role(policy=CommitPolicy.ON_TAKE))

    assert stage.member._group.committed == {stage.partition: 0}


async def test_when_the_end_has_come_no_partition_is_opened_and_no_end_is_told_any_more() -> None:
    stage = await staged(Role())
    await stage.fill(5)
    stage.runner.end()
    await stage.run_dry()
    assert stage.role.calls == ["open", "apply 0..5"]
