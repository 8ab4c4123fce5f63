"""The features role and a view on two events: its sources are folds of their own, and are read as one view."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from agents.transport.in_process_groups import InProcessMember
from definitions.declared import AppDefinition
from streams import topics
from streams.artefacts import ArtefactStore
from streams.reading import FeatureReader, Served
from streams.records import Partition
from streams.store import Row, RowKey
from streams.store.memory import MemoryStore
from tests.builders import airport_day, view_definition

NOW_MS = 1_700_000_000_000
DAY = airport_day()
DEPARTED, ARRIVED = (source.event for source in DAY.sources)
APP = AppDefinition("flights", (DEPARTED, ARRIVED), (DAY,), ())


def departed(origin: str) -> bytes:
    """Return a departure."""
    event = {
        "flight_id": "UA1",
        "origin": origin,
        "dest": "SFO",
        "carrier": "UA",
        "delay_min": 8,
        "departed_at": NOW_MS,
    }
    return json.dumps(event).encode()


def arrived(dest: str) -> bytes:
    """Return an arrival."""
    return json.dumps({"flight_id": "UA1", "dest": dest, "delay_min": 3, "arrived_at": NOW_MS}).encode()


class World:
    """A log, a store, and the processes of one role between them."""

    def __init__(self, path: Path) -> None:
        self.log = InProcessLog(ManualClock(NOW_MS))
        self.store = MemoryStore()
        self.context = RoleContext("ns", self.log, self.store, ArtefactStore(path), Metrics("ns"))

    async def create(self, *names: str, partitions: int = 1) -> None:
        """Create topics."""
        configs = [config for config in topics.declared(APP, "ns") if config.name in names]
        await self.log.create_topics([replace(config, partitions=partitions) for config in configs])

    async def publish(self, topic: str, *values: bytes) -> None:
        """Append records to a topic."""
        for value in values:
            await self.log.producer().produce(topic, value, key=b"UA1", partition=0)

    async def processes(self, count: int = 1, app: AppDefinition = APP) -> list[InProcessMember]:
        """Run that many processes of the role until none has anything left to do; return them, stopped."""
        started = []
        for _ in range(count):
            role = FeaturesRole(app, self.context)
            member = self.log.member(role.subscription())
            runner = Runner(member, role, self.context.metrics)
            await member.start(runner)
            started.append((member, runner))
        for member, runner in started:
            while (batch := await member.poll(0)) is not None:
                await runner.take(batch)
        self.shares = [[each for each in await self.partitions() if member.assignment(each)] for member, _ in started]
        for member, _ in started:
            await member.stop(1.0)
        return [member for member, _ in started]

    async def partitions(self) -> Sequence[Partition]:
        """Return the partitions of both events' topics."""
        return [each for event in APP.events for each in await self.log.partitions(event.topic)]

    def serve(self, airport: str) -> Served:
        """Return what the view knows of an airport."""
        reader = FeatureReader([DAY])
        question = reader.question([{"airport": airport}])
        return reader.serve(question, self.store.read(question), 0, NOW_MS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_topics_read_by_different_processes_are_one_view(world: World) -> None:
    await world.create(DEPARTED.topic, ARRIVED.topic)
    await world.publish(DEPARTED.topic, departed("JFK"), departed("LGA"))
    await world.publish(ARRIVED.topic, arrived("JFK"), arrived("JFK"))

    await world.processes(2)

    assert sorted(each.topic for [each] in world.shares) == [ARRIVED.topic, DEPARTED.topic]
    served = world.serve("JFK")
    assert [served.values[f"airport_day.{name}"] for name in ("left_1h", "came_1h", "waiting")] == [1, 2, 1]
    assert (served.absent, served.unanswerable, served.as_of_ms) == ((), (), NOW_MS)
    [departures, arrivals] = await world.partitions()
    assert served.positions == {
        f"{DAY.key}.departed": {departures.field: 2},
        f"{DAY.key}.arrived": {arrivals.field: 2},
    }


async def test_an_entity_that_only_one_event_named_has_zeros_of_the_other_and_one_of_neither_is_absent(
    world: World,
) -> None:
    await world.create(DEPARTED.topic, ARRIVED.topic)
    await world.publish(DEPARTED.topic, departed("LGA"))
    await world.processes()

    known, unknown = world.serve("LGA"), world.serve("BOS")

    assert [known.values[f"airport_day.{name}"] for name in ("left_1h", "came_1h", "waiting")] == [1, 0, -1]
    assert known.values["airport_day.worst_1h"] is None
    assert (known.absent, known.unanswerable, known.as_of_ms) == ((), (), NOW_MS)
    assert (unknown.absent, set(unknown.values.values())) == (("airport_day",), {None})


async def test_without_the_topic_of_one_event_the_values_of_the_other_are_served_and_nothing_is_taken_for_zero(
    world: World,
) -> None:
    await world.create(DEPARTED.topic)
    await world.publish(DEPARTED.topic, departed("LGA"))
    await world.processes()
    served = world.serve("LGA")

    assert served.values["airport_day.left_1h"] == 1
    assert served.values["airport_day.came_1h"] is served.values["airport_day.waiting"] is None
    assert {"airport_day.came_1h", "airport_day.waiting"} <= set(served.unanswerable)
    assert "airport_day.left_1h" not in served.unanswerable
    assert served.as_of_ms is None

    await world.create(ARRIVED.topic)
    await world.processes()

    assert world.serve("LGA").values["airport_day.waiting"] == -1
    assert (world.serve("LGA").unanswerable, world.serve("LGA").as_of_ms) == ((), NOW_MS)


async def test_a_source_whose_events_were_read_before_the_view_was_declared_waits_and_the_other_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.create(ARRIVED.topic)
    await world.create(DEPARTED.topic, partitions=2)
    await world.publish(DEPARTED.topic, departed("LGA"))
    await world.processes(app=replace(APP, events=(DEPARTED,), views=(view_definition(),)))
    await world.publish(ARRIVED.topic, arrived("LGA"))

    with caplog.at_level(logging.WARNING):
        await world.processes()

    assert "headrace features backfill airport_day --version 1" in caplog.text
    served = world.serve("LGA")
    assert served.values["airport_day.came_1h"] == 1
    assert served.values["airport_day.left_1h"] is None
    assert "airport_day.left_1h" in served.unanswerable

    keys = [RowKey(DAY.sources[0].key, each) for each in (await world.partitions())[:2]]
    assert world.store.read_rows(keys) == [None, None]  # in the empty partition too
    for key in keys:
        world.store.create_row(key, Row(next=0, first=0))  # as the command does
    await world.processes()

    assert world.serve("LGA").values["airport_day.waiting"] == 0
