"""The driver goes on only when every role has read its input to the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.transport.in_process import InProcessLog
from examples.flights import catch_up
from examples.flights.catch_up import CatchUp
from examples.flights.errors import DemoStuck
from examples.flights.stage import Stage
from headrace.loading import load_app
from headrace.servers.substrate import Substrate
from headrace.session import Session
from headrace.settings import Settings
from streams import topics
from streams.artefacts import ArtefactStore
from streams.records import Partition
from streams.store import Pointer, Row, RowKey
from streams.store.memory import MemoryStore
from streams.topics import declared

EVENT_FOLDS = {
    "flights.departed": ["intake", "origin_departures", "carrier_departures", "route_departures"],
    "flights.arrived": ["intake", "carrier_arrivals", "route_arrivals", "tail_arrivals", "router.late.v1"],
    "flights.weather": ["intake", "origin_weather"],
}


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    app = load_app("examples.flights.app")
    log = InProcessLog()
    await log.create_topics(declared(app, "ns", 1))
    session = Session(Settings(tmp_path), app, "ns", log, MemoryStore(), ArtefactStore(tmp_path / "artefacts"))
    running: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    return Stage(session, Substrate(None, None, "in-process"), tmp_path, running)


async def partition_of(stage: Stage, topic: str) -> Partition:
    [partition] = await stage.session.log.partitions(topic)
    return partition


async def rows(stage: Stage, *, next_offset: int = 0) -> None:
    """Let every fold stand at ``next_offset``."""
    app, names = stage.session.app, {view.name: view.key for view in stage.session.app.views}
    model = app.model("late")
    folds = [(topic, names.get(fold, fold)) for topic, each in EVENT_FOLDS.items() for fold in each]
    outcomes = topics.outcomes("ns", model)
    folds += [(outcomes, "join.late.v1"), (outcomes, "monitor.late.v1"), (topics.ticks("ns"), "evaluator")]
    for topic, fold in folds:
        key = RowKey(fold, await partition_of(stage, topic))
        stage.session.store.create_row(key, Row(next=next_offset, first=0))


async def is_done(waiting: asyncio.Future[None]) -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return waiting.done()


async def test_a_role_that_has_not_started_is_waited_for(stage: Stage) -> None:
    waiting = asyncio.ensure_future((await CatchUp.of(stage)).everything())
    assert not await is_done(waiting)
    await rows(stage)
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("topic", list(EVENT_FOLDS))
async def test_an_event_that_is_not_read_yet_is_waited_for(stage: Stage, topic: str) -> None:
    await rows(stage)
    await stage.session.log.producer().produce(topic, b"{}")
    waiting = asyncio.ensure_future((await CatchUp.of(stage)).events())
    assert not await is_done(waiting)
    waiting.cancel()


async def test_an_example_is_waited_for_until_a_snapshot_contains_it(stage: Stage) -> None:
    await rows(stage)
    await stage.session.log.producer().produce(topics.examples("ns", stage.session.app.model("late")), b"{}")
    waiting = asyncio.ensure_future((await CatchUp.of(stage)).everything())
    assert not await is_done(waiting)
    stage.session.store.advance_pointer("model.late.v1.online", Pointer(1, 1, "digest"))
    await asyncio.wait_for(waiting, 5)


async def test_roles_that_ended_are_noticed(stage: Stage) -> None:
    stage.running.set_exception(RuntimeError("a bug"))
    with pytest.raises(DemoStuck, match="the roles have ended: a bug"):
        await (await CatchUp.of(stage)).everything()


async def test_a_role_that_stands_still_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "PATIENCE_S", 0.05)
    await rows(stage)
    await stage.session.log.producer().produce("flights.weather", b"{}")
    with pytest.raises(DemoStuck, match=r"intake in flights.weather\[0\] at 0 of 1"):
        await (await CatchUp.of(stage)).everything()
