"""Labels become weights, and scores become verdicts, through a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from agents.context import RoleContext
from agents.host import host
from agents.join_labels import read_tally
from agents.learn import LearningRole
from agents.metrics import Metrics
from agents.raise_alerts import FOLD, read_verdicts
from agents.read_progress import fold, read_progress
from agents.transport import Role
from agents.transport.kafka import KafkaLog
from agents.watch import MonitoringRole
from definitions.declared import AppDefinition, ModelDefinition
from streams import joins, topics
from streams.artefacts import ArtefactStore
from streams.counts import fold as monitor_fold
from streams.counts import read_served
from streams.messages import Alert, Example, encode
from streams.pointers import learner_pointer
from streams.store import Pointer, Question
from streams.store.redis import RedisStore
from tests.builders import app_definition, label_definition, label_event_definition
from tests.learning import HOUR_MS, START_MS, prediction, small_model
from tests.releases import release

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

DEADLINE_S = 180.0
FLIGHTS = 600
DAY_MS = 24 * HOUR_MS


class World:
    """A namespace on real servers, with topics of its own."""

    def __init__(self, kafka: str, redis_url: str, namespace: str, directory: Path) -> None:
        label = label_definition(event=label_event_definition(topic=f"{namespace}.arrived"))
        self.model: ModelDefinition = small_model(label=label)
        self.app: AppDefinition = app_definition(models=(self.model,), views=(), events=(label.event,))
        self.log = KafkaLog(kafka)
        self.store = RedisStore(redis_url, namespace)
        self.context = RoleContext(namespace, self.log, self.store, ArtefactStore(directory), Metrics(namespace))

    @asynccontextmanager
    async def running(self, role: Role) -> AsyncIterator[None]:
        """Host a role for as long as the block lasts; its failure is the test's."""
        stop = asyncio.Event()
        hosted = asyncio.create_task(host(self.log, role, stop=stop, metrics=self.context.metrics))
        try:
            yield
        finally:
            stop.set()
            await hosted

    async def ask_and_arrive(self, digest: str = "") -> None:
        """Log predictions over three days, the second of them stormy, and labels for all but every tenth."""
        producer, outcomes = self.log.producer(), topics.outcomes(self.context.namespace, self.model)
        sent = []
        for number in range(FLIGHTS):
            at_ms = START_MS + number * 3 * DAY_MS // FLIGHTS
            score = 0.97 if DAY_MS <= at_ms - START_MS < 2 * DAY_MS else number * 0.618 % 1
            asked = prediction(self.model, number, f"F{number}", at_ms, release=digest, scores={"online": score})
            sent.append(producer.produce(outcomes, encode(asked), key=f"F{number}".encode()))
            if number % 10:
                body = {"flight_id": f"F{number}", "delay_min": float(number % 30), "arrived_at": at_ms + HOUR_MS}
                sent.append(producer.produce(f"{self.context.namespace}.arrived", json.dumps(body).encode()))
        await asyncio.gather(*sent)

    async def pass_time(self, days: int) -> None:
        """Publish arrivals of nobody, until every label partition is so many days on."""
        topic = f"{self.context.namespace}.arrived"
        for partition in await self.log.partitions(topic):
            body = {"flight_id": f"N{partition.index}", "delay_min": 0.0, "arrived_at": START_MS + days * DAY_MS}
            await self.log.producer().produce(topic, json.dumps(body).encode(), partition=partition.index)

    async def is_contained(self, name: str, topic: str) -> bool:
        """Return whether a fold's rows have reached the end of a topic."""
        partitions = await self.log.partitions(topic)
        ends = [end for _, end in await self.log.bounds(partitions)]
        [rows] = self.store.read(Question(folds=[name])).rows
        return [rows[each.field].row.next if each.field in rows else 0 for each in partitions] == ends

    async def caught_up(self, *folds: tuple[str, str]) -> None:
        """Wait until each fold in turn has reached the end of its topic."""
        async with asyncio.timeout(DEADLINE_S):
            for name, topic in folds:
                while not await self.is_contained(name, topic):  # noqa: ASYNC110  # the store sets no event
                    await asyncio.sleep(0.02)

    async def learned(self) -> None:
        """Wait until everything published is routed, joined and learned."""
        space, model = self.context.namespace, self.model
        await self.caught_up(
            (f"router.{model.key}", f"{space}.arrived"),
            (joins.fold(model.key), topics.outcomes(space, model)),
            (fold(model.key, "online"), topics.examples(space, model)),
        )
        await self.published()

    async def published(self) -> None:
        """Wait until the newest snapshot contains every example there is: the pointer moves after the row."""
        partitions = await self.log.partitions(topics.examples(self.context.namespace, self.model))
        [(_, end)] = await self.log.bounds(partitions)
        await until(lambda: (found := self.pointer()) is not None and found.position == end)

    def pointer(self) -> Pointer | None:
        """Return the pointer to the newest snapshot."""
        return self.store.read(Question(pointers=[learner_pointer(self.model.key, "online")])).pointers[0]

    async def read(self, topic: str, kind: type[msgspec.Struct]) -> list[msgspec.Struct]:
        """Return every record of a topic of one partition."""
        partitions = await self.log.partitions(topic)
        [(first, end)] = await self.log.bounds(partitions)
        tail = await self.log.tail([(partitions[0], first)])
        values: list[msgspec.Struct] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(values) < end - first:
                values += [msgspec.json.decode(each.value() or b"", type=kind) for _, each in await tail.poll(1.0)]
        await tail.stop()
        return values


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.02)


@pytest.fixture
async def world(kafka: str, redis_url: str, unique: str, tmp_path: Path) -> AsyncIterator[World]:
    """Return a namespace of this test's own."""
    made = World(kafka, redis_url, unique, tmp_path)
    await made.log.create_topics(topics.declared(made.app, unique))
    yield made
    await made.log.close()
    made.store.close()


async def test_labels_become_weights_and_a_restart_learns_nothing_twice(world: World) -> None:
    """Stopped half way and started again: every matched prediction is one example, learned once."""
    await world.ask_and_arrive()
    async with world.running(LearningRole(world.app, world.context)):
        await until(lambda: read_tally(world.store, world.model.key).matched > 0)
    async with world.running(LearningRole(world.app, world.context)):
        await world.learned()
        first = world.pointer()
        await world.pass_time(10)
        await until(lambda: read_tally(world.store, world.model.key).timed_out == FLIGHTS // 10)
        await world.learned()

    tally, progress = read_tally(world.store, world.model.key), read_progress(world.store, world.model.key, "online")
    examples = await world.read(topics.examples(world.context.namespace, world.model), Example)
    positions = {(each.outcomes, each.next, each.index) for each in examples if isinstance(each, Example)}
    assert (tally.matched, tally.timed_out) == (FLIGHTS * 9 // 10, FLIGHTS // 10)
    assert len(positions) == tally.matched == progress.n
    assert first is not None
    assert world.pointer() == first


async def test_a_stormy_day_opens_an_incident_that_the_next_day_resolves(world: World) -> None:
    """Two members share the partitions; one leaves half way."""
    digest = release(world.model, world.context.artefacts)
    await world.ask_and_arrive(digest)
    space, model = world.context.namespace, world.model
    async with world.running(LearningRole(world.app, world.context)):
        async with (
            world.running(MonitoringRole(world.app, world.context)),
            world.running(MonitoringRole(world.app, replace(world.context))),
        ):
            await until(lambda: bool(read_served(world.store, model.key)))
        async with world.running(MonitoringRole(world.app, world.context)):
            await world.pass_time(4)
            await world.learned()
            await world.caught_up((monitor_fold(model.key), topics.outcomes(space, model)), (FOLD, topics.ticks(space)))
            await until(lambda: read_verdicts(world.store)[model.key].health.day == "2013-02-03")

    alerts = [each for each in await world.read(topics.alerts(space), Alert) if isinstance(each, Alert)]
    assert list(dict.fromkeys((each.state, each.day, each.n) for each in alerts)) == [
        ("firing", "2013-02-02", FLIGHTS // 3),
        ("resolved", "2013-02-03", FLIGHTS // 3),
    ]
    assert read_served(world.store, model.key)["distance"].n == FLIGHTS
