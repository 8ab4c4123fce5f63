"""One request and one reply, through a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from agents.client import RequestRefused, ScoringClient
from agents.client.blocking import SyncScoringClient
from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.host import host
from agents.metrics import Metrics
from agents.score import ScoringRole
from agents.transport import Role
from agents.transport.kafka import KafkaLog
from definitions.encoder import Encoder
from headrace.command.load import ask_at_rate, made_up
from online_models.learners import Cut
from streams import topics
from streams.artefacts import ArtefactStore
from streams.messages import encode
from streams.store import Pointer, Question
from streams.store.redis import RedisStore
from tests.builders import app_definition, model_definition, river_learner, xgboost_learner
from tests.releases import deployment, linear, release, warm

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

AT_MS = 1_360_000_000_000
DEADLINE_S = 180.0
TIMEOUT_MS = 60_000
SCORED = {"ok", "degraded"}
"""On a busy machine, the store may be slower than the little that scoring waits for it."""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
QUESTION: dict[str, Any] = {
    "entities": {"origin": "JFK"},
    "inputs": {"distance": 2475.0, "carrier": "UA"},
    "label_key": "F1",
    "at": AT_MS,
}
LATE = model_definition(learners=[xgboost_learner(), river_learner(factory=linear)])
APP = app_definition(models=(LATE,), views=LATE.views)


@dataclass(frozen=True)
class World:
    """A namespace on real servers, with topics and nothing else."""

    kafka: str
    context: RoleContext

    @asynccontextmanager
    async def running(self, role: Role) -> AsyncIterator[None]:
        """Host a role for as long as the block lasts; its failure is the test's."""
        stop = asyncio.Event()
        hosted = asyncio.create_task(host(self.context.log, role, stop=stop, metrics=self.context.metrics))
        try:
            yield
        finally:
            stop.set()
            await hosted

    def scoring(self) -> ScoringRole:
        return ScoringRole(APP, self.context)

    async def served(self, role: str, partitions: int) -> None:
        """Wait until a role has all its partitions."""
        await until(lambda: self.value("assigned_partitions", role=role) == partitions)

    def value(self, name: str, **labels: str) -> float:
        given = {"namespace": self.context.namespace, **labels}
        return self.context.metrics.registry.get_sample_value(f"headrace_{name}", given) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def world(kafka: str, redis_url: str, unique: str, tmp_path: Path) -> AsyncIterator[World]:
    log, store = KafkaLog(kafka), RedisStore(redis_url, unique)
    context = RoleContext(unique, log, store, ArtefactStore(tmp_path), Metrics(unique))
    names = {LATE.views[0].sources[0].event.topic, topics.requests(unique, LATE), topics.outcomes(unique, LATE)}
    names |= {topics.replies(unique), topics.deployments(unique), *event_topics(unique)}
    await log.create_topics([each for each in topics.declared(APP, unique) if each.name in names])
    yield World(kafka, context)
    await log.close()
    store.close()


def event_topics(namespace: str) -> set[str]:
    topic = LATE.views[0].sources[0].event.topic
    return {topics.dead_letters(namespace, topic), topics.late_records(namespace, topic)}


async def deploy(world: World) -> None:
    digest = release(LATE, world.context.artefacts)
    name = topics.deployments(world.context.namespace)
    await world.context.log.producer().produce(name, encode(deployment(LATE, digest)))


async def test_features_become_a_score_and_a_prediction(world: World) -> None:
    await deploy(world)
    flights = [AT_MS - minutes * 60_000 for minutes in (5, 10, 90)]
    before = await ends(world, LATE.views[0].sources[0].event.topic)
    async with world.running(FeaturesRole(APP, world.context)), world.running(world.scoring()):
        await world.served("features", 4)
        await world.served("scoring", 4)
        origin = world.context.namespace  # the event topic is shared by all sessions of one Kafka, the origin is not
        for number, departed_ms in enumerate(flights):
            event = {
                "flight_id": f"F{number}", "origin": origin, "dest": "LAX", "carrier": "UA", "delay_min": 7.0,
                "departed_at": departed_ms,
            }  # fmt: skip
            await world.context.log.producer().produce(LATE.views[0].sources[0].event.topic, json.dumps(event).encode())
        await until(lambda: applied(world) >= sum(before) + len(flights))
        async with ScoringClient(world.context.namespace, log=world.context.log) as client:
            question = {**QUESTION, "entities": {"origin": origin}, "traceparent": TRACE}
            reply = await client.score("late", **question, timeout_ms=TIMEOUT_MS)

    assert (reply.status, reply.absent) == ("ok", [])
    assert list(reply.scores) == ["offline"]
    assert reply.features_as_of is not None
    [prediction] = await outcomes(world)
    values = dict(zip([each.name for each in LATE.inputs], prediction["vector"], strict=True))
    assert values["origin_traffic.flights_1h"] == 2
    assert values["origin_traffic.flights_24h"] == 3
    assert values["origin_traffic.delay_24h"] == 7.0
    assert (prediction["request_id"], prediction["traceparent"]) == (reply.request_id, TRACE)


async def test_every_caller_gets_one_outcome_and_a_new_snapshot_serves_at_once(world: World) -> None:
    await deploy(world)
    async with world.running(world.scoring()):
        await world.served("scoring", 4)
        async with ScoringClient(world.context.namespace, log=world.context.log) as client:
            before = await client.score("late", **QUESTION, timeout_ms=TIMEOUT_MS)
            learner = warm(LATE, Encoder(LATE.inputs), examples=30)
            digest = world.context.artefacts.put(learner.snapshot(Cut(1, 9)))
            world.context.store.advance_pointer("model.late.v1.online", Pointer(1, 9, digest))
            after = await client.score("late", **QUESTION, timeout_ms=TIMEOUT_MS)
            many = await client.score_many("late", islice(made_up(LATE, {}, {}), 100), timeout_ms=TIMEOUT_MS)
            result = await ask_at_rate(
                client, "late", made_up(LATE, {}, {}), rate=500, seconds=1, timeout_ms=TIMEOUT_MS
            )

            assert [each.digest for each in after.versions if each.learner == "online"] == [digest[:12]]
            assert before.versions != after.versions
            assert {each.status for each in many} <= SCORED
            assert len({each.request_id for each in many}) == 100
            assert (result.replies.keys() <= SCORED, result.replies.total()) == (True, 500)
            assert (result.unanswered, client.late_replies) == (0, 0)


async def test_what_a_caller_does_wrong_is_said(world: World) -> None:
    async with world.running(world.scoring()):
        await world.served("scoring", 4)
        async with ScoringClient(world.context.namespace, log=world.context.log) as client:
            unreleased = await client.score("late", **QUESTION, timeout_ms=TIMEOUT_MS)
            invalid = await client.score("late", **{**QUESTION, "inputs": {}}, timeout_ms=TIMEOUT_MS)
            with pytest.raises(RequestRefused, match="punctual"):
                await client.score("punctual", **QUESTION, timeout_ms=TIMEOUT_MS)
            name = topics.requests(world.context.namespace, LATE)
            await world.context.log.producer().produce(name, b"{}", headers=[("kafka_correlationId", b"1")])
            await until(lambda: world.value("requests_unroutable_total", reason="no_reply_topic") == 1)

    assert (unreleased.status, unreleased.reason) == ("error", "model_unavailable")
    assert (invalid.status, invalid.reason) == ("rejected", "invalid")
    assert "$.inputs.distance" in (invalid.message or "")


async def test_without_a_scoring_role_a_request_expires_by_its_deadline(world: World) -> None:
    async with ScoringClient(world.context.namespace, log=world.context.log) as client:
        reply = await client.score("late", **QUESTION, timeout_ms=200)

    assert (reply.status, reply.reason) == ("expired", "deadline")


async def test_code_without_an_event_loop_is_answered_too(world: World) -> None:
    await deploy(world)

    def ask() -> str:
        with SyncScoringClient(world.context.namespace, kafka=world.kafka) as client:
            return client.score("late", **QUESTION, timeout_ms=TIMEOUT_MS).status

    async with world.running(world.scoring()):
        await world.served("scoring", 4)
        assert await asyncio.to_thread(ask) == "ok"


def applied(world: World) -> int:
    [rows] = world.context.store.read(Question(folds=[LATE.views[0].key])).rows
    return sum(stored.row.next for stored in rows.values())


async def ends(world: World, topic: str) -> list[int]:
    return [end for _, end in await world.context.log.bounds(await world.context.log.partitions(topic))]


async def outcomes(world: World) -> list[dict[str, Any]]:
    partitions = await world.context.log.partitions(topics.outcomes(world.context.namespace, LATE))
    tail = await world.context.log.tail([(partition, 0) for partition in partitions])
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE_S):
        while not found:
            found += [json.loads(record.value() or b"") for _, record in await tail.poll(1.0)]
    await tail.stop()
    return found
