"""Every way in which a request can end, and what never happens to the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.learn import LearningRole
from agents.metrics import Metrics
from agents.runner import Runner
from agents.score import ScoringRole
from agents.serve_model import monotonic_ms
from agents.transport import Role
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from definitions.declared import AppDefinition, GraphDefinition, ModelDefinition
from definitions.encoder import Encoder
from online_models.learners import Cut
from streams import topics
from streams.artefacts import ArtefactStore
from streams.errors import StoreUnavailable
from streams.messages import Prediction, ScoreReply, encode
from streams.records import Record
from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS, TRACEPARENT, partition_bytes
from streams.request_reply.admission import MICRO_BATCH
from streams.store import Answer, Cell, Link, Pointer, Question, Row, RowKey, fresh_mark
from streams.store.memory import MemoryStore
from tests.builders import app_definition, model_definition, river_learner, xgboost_learner
from tests.releases import UNLUCKY, Touchy, deployment, linear, release, warm

NOW_MS = 1_360_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TILE_MS = 60_000
DEADLINE_S = 30.0
BODY: dict[str, Any] = {
    "model": "late",
    "entities": {"origin": "JFK"},
    "inputs": {"distance": 2475.0, "carrier": "UA"},
    "label_key": "F1",
}
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LATE = model_definition(learners=[xgboost_learner(), river_learner(factory=linear)])
VIEW = LATE.views[0]


class FailingStore(MemoryStore):
    """A store that can be made not to answer, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.fails_at = 0
        """The number of a question that it does not answer, from 1 on."""
        self.timeouts_ms: list[float | None] = []

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:
        self.timeouts_ms.append(timeout_ms)
        if self.is_down or len(self.timeouts_ms) == self.fails_at:
            raise StoreUnavailable("cannot read: the test took the store away")
        return super().read(question, timeout_ms=timeout_ms)


class Scoring:
    """The role on a log in memory, one step at a time, and a caller beside it."""

    def __init__(self, model: ModelDefinition, directory: Path, graphs: tuple[GraphDefinition, ...] = ()) -> None:
        self.model = model
        self.clock = ManualClock(NOW_MS)
        self.log = InProcessLog(self.clock)
        self.store = FailingStore()
        self.artefacts = ArtefactStore(directory)
        self.metrics = Metrics("demo")
        labelled = () if model.label is None else (model.label.event,)
        events = {
            each.name: each
            for each in (*(source.event for view in model.all_views for source in view.sources), *labelled)
        }
        self.app: AppDefinition = app_definition(
            models=(model,),
            views=tuple(
                {
                    view.key: view for each in (model.all_views, *(graph.views for graph in graphs)) for view in each
                }.values()
            ),
            events=tuple(events.values()),
            graphs=graphs,
        )
        self.context = RoleContext("demo", self.log, self.store, self.artefacts, self.metrics)
        self.role = ScoringRole(self.app, self.context)
        self.member = self.log.member(self.role.subscription())
        self.runner = Runner(self.member, self.role, self.metrics)
        self._read: dict[str, int] = {}

    async def start(self) -> None:
        await self.log.create_topics(topics.declared(self.app, "demo"))
        await self.member.start(self.runner)

    async def ask(
        self,
        body: object = BODY,
        *,
        headers: Mapping[str, bytes | None] | None = None,
        topic: str = "demo.late.requests",
    ) -> None:
        """Send a request whose correlation id is its number; a header of None is left out."""
        number = b"%d" % self._read.setdefault("asked", 0)
        self._read["asked"] += 1
        given: dict[str, bytes | None] = {
            CORRELATION_ID: number,
            REPLY_TOPIC: b"demo.replies",
            REPLY_PARTITION: partition_bytes(3),
            **(headers or {}),
        }
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        present = [(name, header) for name, header in given.items() if header is not None]
        await self.log.producer().produce(topic, value, headers=present, partition=0)

    async def step(self) -> None:
        """Let the role take all that is there, and answer it or have servers asked."""
        while (batch := await self.member.poll(0)) is not None:
            await self.runner.take(batch)
        while any(each.waiting for each in self.role._endpoints.values()):  # noqa: ASYNC110  # each turn serves some
            await asyncio.sleep(0)

    async def records(self, topic: str) -> list[Record]:
        """Return what came on a topic since the last call."""
        found: list[Record] = []
        for partition in await self.log.partitions(topic):
            name = f"{topic}/{partition.index}"
            tail = await self.log.tail([(partition, self._read.get(name, 0))])
            new = [record for _, record in await tail.poll(0)]
            await tail.stop()
            self._read[name] = self._read.get(name, 0) + len(new)
            found += new
        return found

    async def replies(self) -> list[ScoreReply]:
        await self.step()
        return [
            msgspec.json.decode(each.value() or b"", type=ScoreReply) for each in await self.records("demo.replies")
        ]

    async def answer(self, body: object = BODY, **given: Any) -> ScoreReply:
        """Ask once, and return the one reply."""
        await self.ask(body, **given)
        [reply] = await self.replies()
        return reply

    async def predictions(self) -> list[Prediction]:
        records = await self.records(topics.outcomes("demo", self.model))
        return [msgspec.json.decode(each.value() or b"", type=Prediction) for each in records]

    async def deploy(self, digest: str, *, result: str = "loaded", model: ModelDefinition | None = None) -> None:
        """Put a release in force, and wait until the role has loaded or refused it."""
        labels = {"model": "late", "learner": "release", "result": result}
        before = self.count("model_loads", **labels)
        await self.log.producer().produce("demo.deployments", encode(deployment(model or self.model, digest)))
        await until(lambda: self.count("model_loads", **labels) > before)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"headrace_{name}_total", {"namespace": "demo", **labels}) or 0.0

    def outcomes(self, status: str, reason: str = "") -> float:
        return self.count("requests", model="late", status=status, reason=reason)

    def point(self, generation: int, position: int, *, examples: int) -> str:
        """Publish a snapshot of an online learner, and return its digest."""
        learner = warm(self.model, Encoder(self.model.inputs), examples=examples)
        digest = self.artefacts.put(learner.snapshot(Cut(generation, position)))
        self.store.advance_pointer(f"model.{self.model.key}.online", Pointer(generation, position, digest))
        return digest


async def learn(scoring: Scoring) -> None:
    """Let the labels of what was asked arrive, and the learning role do its work."""
    await worked_off(scoring, LearningRole(scoring.app, scoring.context))


async def worked_off(scoring: Scoring, role: Role) -> None:
    """Let a role take all that was published."""
    member = scoring.log.member(role.subscription())
    runner = Runner(member, role, scoring.metrics)
    await member.start(runner)
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)
    await member.stop(1.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder of artefacts, named by their content and so harmless to share, and the release in it."""
    directory = tmp_path_factory.mktemp("artefacts")
    return directory, release(LATE, ArtefactStore(directory))


@pytest.fixture
async def unreleased(trained: tuple[Path, str]) -> AsyncIterator[Scoring]:
    scoring = Scoring(LATE, trained[0])
    await scoring.start()
    yield scoring
    await scoring.member.stop(1.0)


@pytest.fixture
async def scoring(unreleased: Scoring, trained: tuple[Path, str]) -> Scoring:
    await unreleased.deploy(trained[1])
    return unreleased


def version(reply: ScoreReply, learner: str) -> str:
    [found] = [each.digest for each in reply.versions if each.learner == learner]
    return found


# ok


async def test_a_request_is_answered_by_the_champion(scoring: Scoring) -> None:
    reply = await scoring.answer()

    assert (reply.status, reply.reason, reply.degraded) == ("ok", None, [])
    assert list(reply.scores) == ["offline"]
    assert 0.0 < reply.scores["offline"] < 1.0
    assert [(each.learner, each.role) for each in reply.versions] == [("offline", "champion"), ("online", "shadow")]
    assert all(len(each.digest) == 12 for each in reply.versions)
    assert reply.request_id == "demo.late.requests/0@0"
    assert scoring.outcomes("ok") == 1


async def test_a_reply_tells_where_its_time_went(scoring: Scoring) -> None:
    await scoring.ask()
    scoring.clock.advance(7)
    started_ms = monotonic_ms()
    [reply] = await scoring.replies()
    told, whole_ms = reply.timings, monotonic_ms() - started_ms

    assert told.queue_ms == 7
    assert min(told.read_ms, told.assemble_ms, told.predict_ms) > 0
    assert told.read_ms + told.assemble_ms + told.predict_ms < whole_ms
    assert told.queue_ms + told.read_ms + told.predict_ms < told.total_ms < told.queue_ms + whole_ms


async def test_a_reply_goes_where_the_request_says(scoring: Scoring) -> None:
    await scoring.ask(headers={CORRELATION_ID: b"\x00\xff", REPLY_PARTITION: partition_bytes(9), TRACEPARENT: TRACE})
    await scoring.step()
    ninth = (await scoring.log.partitions("demo.replies"))[9]
    tail = await scoring.log.tail([(ninth, 0)])
    [(_, record)] = await tail.poll(0)

    assert dict(record.headers() or ()) == {CORRELATION_ID: b"\x00\xff", TRACEPARENT: TRACE}


async def test_a_topic_of_its_own_under_the_prefix_may_be_replied_to(scoring: Scoring) -> None:
    await scoring.log.create_topics([topics.TopicConfig("demo.replies.billing", partitions=1)])
    await scoring.ask(headers={REPLY_TOPIC: b"demo.replies.billing", REPLY_PARTITION: None})
    await scoring.step()

    assert len(await scoring.records("demo.replies.billing")) == 1


async def test_features_are_served_as_of_the_time_asked_about(scoring: Scoring) -> None:
    await flown(scoring, NOW_MS - 2 * HOUR_MS, NOW_MS - 60_000, NOW_MS)
    times = (None, NOW_MS - HOUR_MS // 6, "2013-02-04T17:46:40Z")
    now, then, again = [await scoring.answer({**BODY, "at": at}) for at in times]
    place = [each.name for each in LATE.inputs].index("origin_traffic.flights_1h")
    predictions = await scoring.predictions()

    assert [reply.status for reply in (now, then, again)] == ["ok", "ok", "ok"]
    assert [each.vector[place] for each in predictions] == [2, 0, 2]
    assert now.features_as_of == NOW_MS
    assert now.absent == []
    assert sum(predictions[0].positions[VIEW.key].values()) == 3
    newest_tile_ms = NOW_MS // TILE_MS * TILE_MS
    assert [each.ages_ms[place] for each in predictions] == [NOW_MS - newest_tile_ms, None, NOW_MS - newest_tile_ms]
    assert predictions[0].ages_ms[-2:] == [None, None], "what the request brings has no age"


async def test_a_time_older_than_the_disorder_cannot_be_answered_and_the_answer_says_so(scoring: Scoring) -> None:
    await flown(scoring, NOW_MS - 2 * HOUR_MS, NOW_MS)

    reply = await scoring.answer({**BODY, "at": NOW_MS - HOUR_MS})

    assert (reply.status, reply.absent) == ("degraded", [])
    assert "origin_traffic.flights_1h" in reply.degraded


async def test_an_entity_never_seen_is_absent_and_the_answer_ok(scoring: Scoring) -> None:
    reply = await scoring.answer()

    assert (reply.status, reply.absent, reply.features_as_of) == ("ok", ["origin_traffic"], None)


async def test_a_prediction_is_logged_as_it_was_served(scoring: Scoring) -> None:
    reply = await scoring.answer({**BODY, "at": 1_357_000_000_000}, headers={TRACEPARENT: TRACE})
    [record] = await scoring.records("demo.late.v1.outcomes")
    prediction = msgspec.json.decode(record.value() or b"", type=Prediction)

    assert record.key() == b"F1"
    assert (prediction.request_id, prediction.model, prediction.label_key) == (reply.request_id, "late.v1", "F1")
    assert prediction.at_ms == 1_357_000_000_000
    assert len(prediction.vector) == len(LATE.inputs)
    assert prediction.vector[-2:] == [2475.0, "UA"]
    assert prediction.champion == "offline"
    assert prediction.scores["offline"] == reply.scores["offline"]
    assert set(prediction.scores) == {"offline", "online"}
    assert prediction.versions == reply.versions
    assert set(prediction.positions) == {VIEW.key}
    assert len(prediction.release) == 64
    assert prediction.traceparent == TRACE.decode()
    assert scoring.count("predictions_logged", model="late") == 1


async def test_a_model_without_label_logs_only_what_has_a_key(tmp_path: Path) -> None:
    scoring = Scoring(replace(LATE, label=None), tmp_path)
    await scoring.start()
    await scoring.deploy(release(scoring.model, scoring.artefacts))
    keyless = {key: value for key, value in BODY.items() if key != "label_key"}

    assert (await scoring.answer(keyless)).status == "ok"
    assert await scoring.predictions() == []
    assert (await scoring.answer(BODY)).status == "ok"
    assert len(await scoring.predictions()) == 1
    await scoring.member.stop(1.0)


async def test_a_whole_batch_is_one_question_to_the_store(scoring: Scoring) -> None:
    for _ in range(20):
        await scoring.ask()

    assert [reply.status for reply in await scoring.replies()] == ["ok"] * 20
    assert len(scoring.store.timeouts_ms) == 1


async def test_of_more_requests_than_a_micro_batch_the_newest_come_first(scoring: Scoring) -> None:
    for _ in range(MICRO_BATCH + 2):
        await scoring.ask()
    order = [int(reply.request_id.rpartition("@")[2]) for reply in await scoring.replies()]

    assert order == [*range(2, MICRO_BATCH + 2), 0, 1]


# rejected


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", "$"),
        (b"\xff\xfe", "$"),
        (json.dumps({**BODY, "inputs": {"distance": float("nan"), "carrier": "UA"}}).encode(), "$"),
        ({**BODY, "model": "punctual"}, "$.model"),
        ({**BODY, "entities": {}}, "$.entities.origin"),
        ({**BODY, "entities": {"origin": 7}}, "$.entities.origin"),
        ({**BODY, "inputs": {"distance": "far", "carrier": "UA"}}, "$.inputs.distance"),
        ({**BODY, "inputs": {"distance": 1e39, "carrier": "UA"}}, "$.inputs.distance"),
        ({**BODY, "inputs": {"distance": 1.0, "carrier": "x" * 1_000_000}}, "$.inputs.carrier"),
        ({**BODY, "label_key": None}, "$.label_key"),
    ],
)
async def test_what_is_wrong_is_rejected_with_its_path(scoring: Scoring, body: object, path: str) -> None:
    reply = await scoring.answer(body)

    assert (reply.status, reply.reason) == ("rejected", "invalid")
    assert (reply.message or "").startswith(f"cannot read request: {path}: ")
    assert scoring.outcomes("rejected", "invalid") == 1
    assert await scoring.predictions() == []
    assert scoring.store.timeouts_ms == []


async def test_more_than_a_mebibyte_is_too_large(scoring: Scoring) -> None:
    reply = await scoring.answer(b"[" + b"1" * 1024 * 1024 + b"]")

    assert (reply.status, reply.reason) == ("rejected", "too_large")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({CORRELATION_ID: None}, "no_correlation_id"),
        ({CORRELATION_ID: b"x" * 65}, "bad_correlation_id"),
        ({REPLY_TOPIC: None}, "no_reply_topic"),
        ({REPLY_TOPIC: b"demo.late.v1.outcomes"}, "reply_topic_not_allowed"),
        ({REPLY_TOPIC: b"flights.departed"}, "reply_topic_not_allowed"),
    ],
)
async def test_what_cannot_be_routed_is_counted_and_nothing_is_written(
    scoring: Scoring, headers: dict[str, bytes | None], reason: str
) -> None:
    await scoring.ask(headers=headers)

    assert await scoring.replies() == []
    assert await scoring.predictions() == []
    assert await scoring.records("flights.departed") == []
    assert scoring.count("requests_unroutable", reason=reason) == 1


async def test_a_reply_partition_that_is_not_there_costs_nobody_else_an_answer(scoring: Scoring) -> None:
    await scoring.ask(headers={REPLY_PARTITION: partition_bytes(4_000)})
    await scoring.ask()

    assert [reply.request_id for reply in await scoring.replies()] == ["demo.late.requests/0@1"]


# expired


async def test_what_is_past_its_budget_is_expired_before_any_feature_is_read(scoring: Scoring) -> None:
    await scoring.ask(headers={TIMEOUT_MS: b"50"})
    scoring.clock.advance(50)
    [reply] = await scoring.replies()

    assert (reply.status, reply.reason) == ("expired", "deadline")
    assert scoring.store.timeouts_ms == []
    assert await scoring.predictions() == []


async def test_a_request_without_a_budget_has_the_models(scoring: Scoring) -> None:
    await scoring.ask()
    scoring.clock.advance(LATE.timeout_ms - 1)
    await scoring.ask()
    [first, second] = await scoring.replies()
    await scoring.ask()
    scoring.clock.advance(LATE.timeout_ms)
    [third] = await scoring.replies()

    assert [first.status, second.status, third.status] == ["ok", "ok", "expired"]


async def test_a_redelivered_request_past_its_budget_is_counted_not_answered(scoring: Scoring) -> None:
    await scoring.answer()
    await scoring.member.stop(1.0)
    for budget in (b"50", b"5000"):
        await scoring.ask(headers={TIMEOUT_MS: budget})
    scoring.clock.advance(100)
    scoring.role = ScoringRole(scoring.app, scoring.context)
    scoring.member = scoring.log.member(scoring.role.subscription())
    scoring.runner = Runner(scoring.member, scoring.role, scoring.metrics)
    await scoring.member.start(scoring.runner)

    assert [reply.request_id for reply in await scoring.replies()] == ["demo.late.requests/0@2"]
    assert scoring.outcomes("expired", "redelivered") == 1


async def test_the_store_is_waited_for_no_longer_than_there_is_budget(scoring: Scoring) -> None:
    await scoring.answer(headers={TIMEOUT_MS: b"1"})
    await scoring.answer(headers={TIMEOUT_MS: b"1000"})

    assert scoring.store.timeouts_ms == [5, 20]


async def test_who_has_less_time_than_an_answer_takes_is_told_before_any_feature_is_read(scoring: Scoring) -> None:
    endpoint = scoring.role._endpoints[topics.requests("demo", scoring.model)]
    for _ in range(200):
        endpoint.service.note(1, 40.0)

    short = await scoring.answer(headers={TIMEOUT_MS: b"30"})
    long = await scoring.answer(headers={TIMEOUT_MS: b"1000"})

    assert (short.status, short.reason, long.status) == ("expired", "deadline", "ok")
    assert len(scoring.store.timeouts_ms) == 1


async def test_under_overload_the_newest_are_answered_and_the_oldest_are_told(scoring: Scoring) -> None:
    endpoint = scoring.role._endpoints[topics.requests("demo", scoring.model)]
    for requests in (1, MICRO_BATCH) * 500:
        endpoint.service.note(requests, 2.0 * requests)
    for _ in range(600):
        await scoring.ask(headers={TIMEOUT_MS: b"1000"})
    replies = sorted(await scoring.replies(), key=lambda each: int(each.request_id.rpartition("@")[2]))

    outcomes = [(reply.status, reply.reason) for reply in replies]
    assert len(outcomes) == 600
    assert set(outcomes[:90]) == {("rejected", "overloaded")}
    assert set(outcomes[-MICRO_BATCH:]) == {("ok", None)}


# degraded


async def test_a_store_that_does_not_answer_degrades_the_answer(scoring: Scoring) -> None:
    scoring.store.is_down = True
    reply = await scoring.answer()
    [prediction] = await scoring.predictions()

    assert (reply.status, reply.reason) == ("degraded", "features_unavailable")
    assert reply.degraded == ["origin_traffic"]
    assert (reply.absent, reply.features_as_of) == ([], None)
    assert list(reply.scores) == ["offline"]
    assert prediction.vector == [None] * (len(LATE.inputs) - 2) + [2475.0, "UA"]
    assert (prediction.status, prediction.positions) == ("degraded", {})


async def test_after_a_failed_read_the_store_is_left_alone_for_a_while(scoring: Scoring) -> None:
    scoring.store.is_down = True
    await scoring.answer()
    scoring.store.is_down = False
    scoring.clock.advance(99)
    still = await scoring.answer()
    scoring.clock.advance(1)
    again = await scoring.answer()

    assert (still.status, again.status) == ("degraded", "ok")
    assert len(scoring.store.timeouts_ms) == 2


async def test_features_further_behind_than_the_author_allows_are_stale_and_scored(tmp_path: Path) -> None:
    scoring = Scoring(replace(LATE, fresh_within_ms=60_000), tmp_path)
    await scoring.start()
    await scoring.deploy(release(scoring.model, scoring.artefacts))
    unstarted = await scoring.answer()
    await flown(scoring, NOW_MS)
    fresh = await scoring.answer()
    scoring.clock.advance(60_001)
    stale = await scoring.answer()
    scoring.store.is_down = True
    unread = await scoring.answer()
    await scoring.member.stop(1.0)

    assert [(each.status, each.reason) for each in (unstarted, fresh, stale, unread)] == [
        ("degraded", "features_stale"),
        ("ok", None),
        ("degraded", "features_stale"),
        ("degraded", "features_unavailable"),
    ]
    assert (list(stale.scores), stale.features_as_of) == (["offline"], NOW_MS)


async def test_a_question_older_than_what_is_retained_is_degraded_and_named(scoring: Scoring) -> None:
    await flown(scoring, NOW_MS - 60 * DAY_MS, NOW_MS)
    reply = await scoring.answer({**BODY, "at": NOW_MS - 60 * DAY_MS})

    assert (reply.status, reply.reason) == ("degraded", "features_unavailable")
    assert "origin_traffic.flights_1h" in reply.degraded


async def test_a_champion_that_fails_is_replaced_and_said(tmp_path: Path) -> None:
    scoring = await touchy(tmp_path, shadows=True)
    reply = await scoring.answer({**BODY, "inputs": {"distance": UNLUCKY, "carrier": "UA"}})

    assert (reply.status, reply.reason, reply.degraded) == ("degraded", "model_unavailable", ["online"])
    assert list(reply.scores) == ["offline"]
    assert scoring.count("learner_failures", model="late", learner="online") == 1
    await scoring.member.stop(1.0)


# error


async def test_without_a_release_the_model_is_unavailable(unreleased: Scoring) -> None:
    reply = await unreleased.answer()

    assert (reply.status, reply.reason, reply.scores) == ("error", "model_unavailable", {})
    assert unreleased.store.timeouts_ms == []


async def test_a_poisoned_request_is_its_own_error(tmp_path: Path) -> None:
    scoring = await touchy(tmp_path, shadows=False)
    await scoring.ask({**BODY, "inputs": {"distance": UNLUCKY, "carrier": "UA"}})
    await scoring.ask()
    first, second = await scoring.replies()

    assert (first.status, first.reason, first.scores) == ("error", "internal", {})
    assert second.status == "ok"
    assert len(await scoring.predictions()) == 1
    await scoring.member.stop(1.0)


async def test_a_cell_that_cannot_be_read_is_the_error_of_who_asked_for_it(scoring: Scoring) -> None:
    await spoiled_cell(scoring)
    await scoring.ask()
    await scoring.ask({**BODY, "entities": {"origin": "LGA"}})
    first, second = await scoring.replies()

    assert (first.status, first.reason) == ("error", "internal")
    assert second.status == "ok"


# releases and snapshots


async def test_releases_deployed_before_the_start_are_in_force(tmp_path: Path) -> None:
    scoring = Scoring(LATE, tmp_path)
    await scoring.log.create_topics(topics.declared(scoring.app, "demo"))
    older, newer = (release(LATE, scoring.artefacts, seed=seed) for seed in (1, 2))
    for digest in (older, newer):
        await scoring.log.producer().produce("demo.deployments", encode(deployment(LATE, digest)))
    await scoring.start()
    await scoring.answer()
    [prediction] = await scoring.predictions()

    assert prediction.release == newer
    await scoring.member.stop(1.0)


async def test_a_new_release_replaces_the_old_one_as_a_whole(scoring: Scoring) -> None:
    before = await scoring.answer()
    await scoring.deploy(release(LATE, scoring.artefacts, seed=2))
    after = await scoring.answer()

    assert version(before, "offline") != version(after, "offline")
    assert version(before, "online") != version(after, "online")


@pytest.mark.parametrize("spoiled", [{"definition": "0" * 12}, {"baseline": "0" * 64}, {"format": 99}])
async def test_a_release_that_cannot_be_verified_leaves_the_old_one(scoring: Scoring, spoiled: dict[str, Any]) -> None:
    before = await scoring.answer()
    await scoring.deploy(release(LATE, scoring.artefacts, seed=2, **spoiled), result="refused")

    assert (await scoring.answer()).versions == before.versions


async def test_a_deployment_of_learners_that_were_not_released_is_refused(scoring: Scoring) -> None:
    digest = release(LATE, scoring.artefacts, seed=2)
    await scoring.log.producer().produce(
        "demo.deployments", encode(msgspec.structs.replace(deployment(LATE, digest), champion="personal"))
    )
    await until(lambda: scoring.count("model_loads", model="late", learner="release", result="refused") == 1)

    assert (await scoring.answer()).status == "ok"


async def test_an_unreadable_deployment_is_counted_and_passed_over(scoring: Scoring) -> None:
    await scoring.log.producer().produce("demo.deployments", b"\xff")
    await scoring.deploy(release(LATE, scoring.artefacts, seed=2))

    assert scoring.count("model_loads", model="", learner="release", result="unreadable") == 1


async def test_a_greater_pointer_serves_at_once(scoring: Scoring) -> None:
    before = await scoring.answer()
    digest = scoring.point(1, 5, examples=30)
    after = await scoring.answer()

    assert version(before, "online") != version(after, "online") == digest[:12]
    assert version(before, "offline") == version(after, "offline")
    assert scoring.count("model_loads", model="late", learner="online", result="loaded") == 1


async def test_a_pointer_that_did_not_grow_is_not_followed(scoring: Scoring) -> None:
    digest = scoring.point(2, 5, examples=30)
    await scoring.answer()
    # A store that lost its last seconds holds the pointer from before.
    scoring.store._pointers.clear()
    scoring.point(2, 4, examples=31)
    reply = await scoring.answer()

    assert version(reply, "online") == digest[:12]


async def test_a_snapshot_that_cannot_be_loaded_keeps_the_old_one_and_is_tried_again(scoring: Scoring) -> None:
    good = scoring.point(1, 5, examples=30)
    await scoring.answer()
    scoring.store.advance_pointer("model.late.v1.online", Pointer(1, 6, "0" * 64))
    reply = await scoring.answer()
    await scoring.answer()

    assert version(reply, "online") == good[:12]
    assert scoring.count("model_loads", model="late", learner="online", result="refused") == 1
    scoring.clock.advance(1_000)
    await scoring.answer()
    assert scoring.count("model_loads", model="late", learner="online", result="refused") == 2


@pytest.mark.parametrize(
    "spoiled", [lambda data: data[:-1], lambda data: data[:40] + bytes([data[40] ^ 4]) + data[41:]]
)
async def test_a_snapshot_that_was_spoiled_on_the_disk_keeps_the_old_one(
    scoring: Scoring, spoiled: Callable[[bytes], bytes]
) -> None:
    good = scoring.point(1, 5, examples=30)
    await scoring.answer()
    bad = scoring.point(1, 6, examples=40)
    file = scoring.artefacts._path(bad)
    file.write_bytes(spoiled(file.read_bytes()))

    assert version(await scoring.answer(), "online") == good[:12]


async def test_how_old_the_newest_example_of_served_weights_is_shows(scoring: Scoring) -> None:
    learner = warm(LATE, Encoder(LATE.inputs), examples=30)
    now_ms = scoring.log.now_ms()
    digest = scoring.artefacts.put(learner.snapshot(Cut(1, 5, {}, through_ms=now_ms - 1_500)))
    scoring.store.advance_pointer("model.late.v1.online", Pointer(1, 5, digest))

    await scoring.answer()

    labels = {"namespace": "demo", "model": "late", "learner": "online"}
    lag_s = scoring.metrics.registry.get_sample_value("headrace_weights_lag_seconds_sum", labels)
    assert lag_s == pytest.approx(1.5)


async def test_a_new_release_follows_the_pointer_anew(scoring: Scoring) -> None:
    digest = scoring.point(1, 5, examples=30)
    await scoring.answer()
    await scoring.deploy(release(LATE, scoring.artefacts, seed=2))

    assert version(await scoring.answer(), "online") == digest[:12]


async def touchy(directory: Path, *, shadows: bool) -> Scoring:
    """Return a role whose champion fails on one distance, with or without another learner beside it."""
    learners = [river_learner(factory=Touchy), *([xgboost_learner()] if shadows else [])]
    scoring = Scoring(model_definition(learners=learners), directory)
    await scoring.start()
    await scoring.deploy(release(scoring.model, scoring.artefacts))
    return scoring


async def flown(scoring: Scoring, *at_ms: int) -> None:
    """Have flights from JFK departed at these times, and counted by the features role."""
    for number, departed_ms in enumerate(at_ms):
        event = {
            "flight_id": f"F{number}",
            "origin": "JFK",
            "dest": "LAX",
            "carrier": "UA",
            "delay_min": 5.0,
            "departed_at": departed_ms,
        }
        await scoring.log.producer().produce(VIEW.sources[0].event.topic, json.dumps(event).encode(), partition=0)
    await counted(scoring)


async def counted(scoring: Scoring) -> None:
    """Have the features role count all that was published."""
    await worked_off(scoring, FeaturesRole(scoring.app, scoring.context))


async def spoiled_cell(scoring: Scoring) -> None:
    """Write bytes that are no state as the cell of JFK."""
    partition, *_ = await scoring.log.partitions(VIEW.sources[0].event.topic)
    key = RowKey(VIEW.key, partition)
    row = scoring.store.create_row(key, Row(next=0, first=0))
    scoring.store.write([Link(key, row.mark, fresh_mark(), {"JFK": Cell(1, b"\xff no state")}, Row(next=1, first=0))])
