"""A role lives on while its Redis dies, goes back in time, gives way to a replica, fills up, or forgets its functions.

Real Redis, the log in memory: what is stored in the end is what a replay of the whole log says, with nothing dead.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from definitions.declared import AppDefinition
from streams import topics
from streams.artefacts import ArtefactStore
from streams.errors import StoreError, StoreUnavailable
from streams.intake import FOLD
from streams.reading import FeatureReader
from streams.records import Partition
from streams.replay import PointInTime
from streams.store import Cell, Link, Row, RowKey
from streams.store.redis import RedisStore
from tests.builders import event_definition, view_definition
from tests.contracts.store_contract import FIRST, mark, started
from tests.redis_servers import RedisServer, running

pytestmark = pytest.mark.redis

NOW_MS = 1_700_000_000_000
EVENT = event_definition()
VIEW = view_definition(on=EVENT)
BY_TAIL = view_definition(on=EVENT, by=["tail"], name="tails")
APP = AppDefinition("flights", (EVENT,), (VIEW, BY_TAIL), ())
ORIGINS = ("JFK", "LGA", "EWR")
PART = 200
DEADLINE_S = 180.0


class Stage:
    """A log, a role that lives as long as the test, and the store that fails it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.clock = ManualClock(NOW_MS)
        self.log = InProcessLog(self.clock, max_batch=20)
        self.store = RedisStore(url, "failover", timeout_s=2.0)
        self.metrics = Metrics("failover")
        self._context = RoleContext("failover", self.log, self.store, ArtefactStore(folder / "artefacts"), self.metrics)
        self.partition = Partition("", 0, "")
        self._published = 0
        self._waits = asyncio.Event()

    async def begin(self) -> None:
        """Create the topics and start the role."""
        await self.log.create_topics([replace(each, partitions=1) for each in topics.declared(APP, "failover")])
        [self.partition] = await self.log.partitions(EVENT.topic)
        role = FeaturesRole(APP, self._context)
        self._member = self.log.member(role.subscription())
        self._runner = Runner(self._member, role, self.metrics, pause=self._pause)
        await self._member.start(self._runner)

    async def publish(self, count: int = PART) -> None:
        """Append departures, a minute apart."""
        for number in range(self._published, self._published + count):
            event = {
                "flight_id": f"F{number}", "origin": ORIGINS[number % 3], "dest": "LAX", "carrier": "UA", "seats": 100,
                "tail": f"N{number % 40}", "delay_min": number / 8, "departed_at": self.clock(),
            }  # fmt: skip
            self.clock.advance(60_000)
            await self.log.producer().produce(EVENT.topic, json.dumps(event).encode(), partition=0)
        self._published += count

    async def rest(self, times: int) -> None:
        """Stand at the end of the partition, some seconds long."""
        for _ in range(times):
            self.clock.advance(2_000)
            assert await self._member.poll(0) is None

    async def work(self) -> None:
        """Apply all that was published."""
        async with asyncio.timeout(DEADLINE_S):
            while self._runner.positions()[self.partition] < self._published:
                batch = await self._member.poll(0.01)
                if batch is not None:
                    await self._runner.take(batch)

    async def work_and(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Work, while somebody mends what is broken once the role waits for it."""
        self._waits.clear()
        await asyncio.gather(self.work(), self._when_waiting(meanwhile))

    async def _when_waiting(self, mend: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._waits.wait()
        await mend()

    async def _pause(self, pause_s: float) -> None:
        self._waits.set()
        await asyncio.sleep(pause_s)

    def count(self, name: str) -> float:
        """Return a counter of the features role."""
        labels = {"namespace": "failover", "role": "features"}
        return self.metrics.registry.get_sample_value(f"headrace_{name}", labels) or 0

    async def end(self) -> None:
        """Stop the role, and compare all that is stored with a replay of the log."""
        await self._member.stop(1.0)
        self.store.close()  # the reader's connection is as old as the server that was lost
        assert await self._answers() == await self._replayed()
        rows = self.store.read_rows([RowKey(name, self.partition) for name in (FOLD, VIEW.key, BY_TAIL.key)])
        applied = [(each.row.next, each.row.applied, each.row.dead) for each in rows if each is not None]
        assert applied == [(self._published, self._published, 0)] * 3
        self.store.close()

    async def _answers(self) -> list[Any]:
        reader = FeatureReader([VIEW, BY_TAIL])
        question = reader.question(self._asked())
        answer = self.store.read(question)
        served = [reader.serve(question, answer, number, self.clock()) for number in range(len(self._asked()))]
        return [(each.values, each.absent, each.unanswerable) for each in served]

    async def _replayed(self) -> list[Any]:
        history = PointInTime([VIEW, BY_TAIL])
        member = self.log.member(replace(FeaturesRole(APP, self._context).subscription(), group="again"))
        seen = _Seen(history)
        await member.start(seen)
        while (batch := await member.poll(0)) is not None:
            history.apply(batch)
        await member.stop(1.0)
        served = [history.serve(asked, self.clock()) for asked in self._asked()]
        return [(each.values, each.absent, each.unanswerable) for each in served]

    @staticmethod
    def _asked() -> list[dict[str, str | int | None]]:
        return [{"origin": ORIGINS[number % 3], "tail": f"N{number}"} for number in range(40)]


class _Seen:
    """A listener that reads everything from the first record on."""

    def __init__(self, history: PointInTime) -> None:
        self._history = history

    async def assigned(self, given: Any) -> int:
        """Begin at the first record."""
        first: int = given.first
        return first

    async def revoked(self, partition: Partition) -> None:
        """Mind nothing."""

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Mind nothing."""


async def begun(folder: Path, url: str) -> Stage:
    """Return a stage whose first part is stored."""
    stage = Stage(folder, url)
    await stage.begin()
    await stage.publish()
    await stage.work()
    return stage


def pair(folder: Path) -> tuple[RedisServer, RedisServer]:
    return RedisServer(folder / "a"), RedisServer(folder / "b")


@pytest.mark.parametrize(("loss", "lag"), [("killed", 0), ("killed", PART // 2), ("frozen", PART // 2)])
async def test_a_replica_that_is_promoted_is_gone_on_with_however_far_it_lagged(
    tmp_path: Path, loss: str, lag: int
) -> None:
    first, second = pair(tmp_path)
    with running(first, second):
        second.follow(first)
        stage = await begun(tmp_path, f"redis://{first.host},{second.host}/0")
        with first.client() as client:
            assert client.wait(1, 5_000) == 1
        if lag:
            with second.client() as client:
                client.replicaof("127.0.0.1", "1")  # hears no more of the primary, and stays a replica
            await stage.publish(lag)
            await stage.work()

        {"killed": first.kill, "frozen": first.freeze}[loss]()
        await stage.publish()
        await stage.work_and(lambda: promoted(second))

        assert stage.count("rewinds_total") >= 1
        await stage.end()


async def promoted(server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof("NO", "ONE")


async def test_a_primary_that_is_demoted_under_a_living_worker_is_left_for_the_new_one(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    with running(first, second):
        second.follow(first)
        stage = await begun(tmp_path, f"redis://{first.host},{second.host}/0")
        with first.client() as client:
            client.wait(1, 5_000)
        await promoted(second)
        await stage.publish()
        await stage.work()  # goes to the old primary, which does not know yet, and is lost with it
        first.follow(second)

        await stage.publish()
        await stage.work()

        assert stage.count("store_waits_total") >= 1
        await stage.end()


def test_a_worker_that_comes_later_finds_the_primary_wherever_it_is_named(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    with running(first, second):
        second.follow(first)
        store = RedisStore(f"redis://{second.host},{first.host}/0", "late")
        held = started(store)
        store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])
        assert store.read_cells(FIRST, ["ann"]) == [Cell(1, b"a")]
        store.close()


def test_where_all_are_replicas_nobody_is_written_to(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    with running(first, second):
        second.follow(first)
        with pytest.raises(
            StoreUnavailable, match=r"expected a primary, got a replica; .*name every server that may become it"
        ):
            RedisStore(second.url, "late")


async def test_a_redis_that_is_killed_and_comes_back_has_all_or_is_caught_up(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "a")
    with running(server):
        stage = await begun(tmp_path, server.url)
        server.kill()
        await stage.publish()

        await stage.work_and(lambda: asyncio.to_thread(server.start))

        await stage.end()


async def test_a_redis_that_comes_back_without_its_last_writes_is_noticed_and_caught_up(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "a")
    with running(server):
        stage = await begun(tmp_path, server.url)
        server.kill()
        server.keep(tmp_path / "older")
        server.start()
        for _ in range(2):
            await stage.publish()
            await stage.work()
            server.kill()
            server.restore(tmp_path / "older")
            server.start()
        await stage.publish(1)

        await stage.work()

        assert stage.count("rewinds_total") >= 1
        await stage.end()


async def test_a_full_redis_holds_the_partition_says_so_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path / "a")
    with running(server), server.client() as client:
        stage = await begun(tmp_path, server.url)
        client.config_set("maxmemory", 1)
        await stage.publish()

        async def give_space() -> None:
            client.config_set("maxmemory", 0)

        with caplog.at_level(logging.WARNING):
            await stage.work_and(give_space)

        assert "give Redis more memory" in caplog.text
        await stage.end()


async def test_functions_that_are_flushed_fail_no_event(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "a")
    with running(server), server.client() as client:
        stage = await begun(tmp_path, server.url)
        for _ in range(3):
            client.function_flush()
            await stage.publish(20)
            await stage.work()

        assert stage.count("chain_breaks_total") == 0
        await stage.end()


def test_a_redis_that_began_to_evict_is_refused_when_it_is_connected_to_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "a")
    with running(server), server.client() as client:
        store = RedisStore(server.url, "evicts")
        held = started(store)
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.client_kill_filter(skipme=True)
        with pytest.raises(StoreUnavailable):
            store.write([Link(FIRST, held, mark(1))])

        with pytest.raises(StoreError, match="expected noeviction, got allkeys-lru"):
            store.write([Link(FIRST, held, mark(1))])

        client.config_set("maxmemory-policy", "noeviction")
        store.write([Link(FIRST, held, mark(1))])
        store.close()


async def test_dead_cells_are_removed_from_redis_and_no_answer_shows_it(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "a")
    with running(server):
        stage = await begun(tmp_path, server.url)
        stage.clock.advance(3 * 24 * 3_600_000)
        await stage.publish(1)
        await stage.work()

        await stage.rest(4)

        assert len(stage.store.entities(VIEW.key)) == len(stage.store.entities(BY_TAIL.key)) == 1
        await stage.publish(3)  # two of the origins come back
        await stage.work()
        assert len(stage.store.entities(VIEW.key)) == 3
        await stage.end()
