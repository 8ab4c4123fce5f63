"""Learners on servers: whatever a server does, the caller gets an answer in time, and it says what it was done without.

A server that never answers is held back by the test itself until the answers are there: they cannot have waited for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agents.ask_remotes import MOST_UNDER_WAY
from agents.serve_requests import by_budget
from definitions.declared import LearnerDefinition, ModelDefinition, RouteDefinition
from definitions.learners import ensemble, open_inference, python, tensorflow_serving
from online_models.circuit import FAILURES
from streams.messages import ScoreReply
from streams.request_reply import TIMEOUT_MS, ReplyTo, Request
from tests.builders import model_definition, river_learner, xgboost_learner
from tests.inference_servers import InferenceServer, Row, inference_server
from tests.releases import linear
from tests.unit.agents.test_score import BODY, DEADLINE_S, Scoring, until

BUDGET_MS = 20_000


def distance(row: Row) -> float:
    """Return a score that only one place of the vector decides: the last but one of the matrix."""
    return float(row[-2]) / 10_000 if isinstance(row, list) else float(row["distance"]) / 10_000  # type: ignore[call-overload]


@pytest.fixture
def server() -> Iterator[InferenceServer]:
    with inference_server(distance) as serving:
        yield serving


def far(url: str, *, protocol: str = "open_inference", **changes: Any) -> LearnerDefinition:
    declare = open_inference if protocol == "open_inference" else tensorflow_serving
    return declare(url, **{"model": "late", "missing": 0.0, "timeout": "20s", **changes}).definition("far")


def model(remote: LearnerDefinition, route: RouteDefinition | None = None, *more: LearnerDefinition) -> ModelDefinition:
    learners = [remote, xgboost_learner(), river_learner(factory=linear), *more]
    return model_definition(learners=learners, route=route or RouteDefinition("far", fallback="offline"))


async def asked(scoring: Scoring, n: int = 1, *, budget_ms: int = BUDGET_MS, body: object = BODY) -> None:
    """Send requests and let the role take them, without waiting for what has to be waited for."""
    for _ in range(n):
        await scoring.ask(body, headers={TIMEOUT_MS: b"%d" % budget_ms})
    await scoring.step()


async def replied(scoring: Scoring, n: int = 1) -> list[ScoreReply]:
    """Return the next replies, as soon as there are that many."""
    found: list[ScoreReply] = []
    async with asyncio.timeout(2 * DEADLINE_S):
        while len(found) < n:
            records = await scoring.records("demo.replies")
            found += [msgspec.json.decode(each.value() or b"", type=ScoreReply) for each in records]
            await asyncio.sleep(0.001)
    return found


async def arrived(server: InferenceServer, n: int = 1) -> None:
    """Wait until requests have come to the server."""
    for _ in range(n):
        assert await asyncio.to_thread(server.arrived.acquire, timeout=DEADLINE_S)


@pytest.mark.parametrize("protocol", ["open_inference", "tensorflow_serving"])
@pytest.mark.parametrize("on", ["matrix", "columns"])
async def test_a_learner_on_a_server_answers(server: InferenceServer, started: Any, protocol: str, on: str) -> None:
    scoring = await started(model(far(server.url, protocol=protocol, on=on)))

    await asked(scoring)
    [reply] = await replied(scoring)
    await until(lambda: scoring.count("predictions_logged", model="late") == 1)
    [prediction] = await scoring.predictions()

    assert (reply.status, reply.reason, reply.degraded, reply.message) == ("ok", None, [], None)
    assert reply.scores == {"far": 0.2475}
    assert [(each.learner, each.role) for each in reply.versions] == [("far", "champion")]
    assert (prediction.scores, prediction.champion, prediction.arm) == ({"far": 0.2475}, "far", "far")
    assert scoring.count("remote_calls", model="late", learner="far", result="ok") == 1


async def test_a_micro_batch_is_one_call_and_says_how_long_it_may_take(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))

    await asked(scoring, 5)
    replies = await replied(scoring, 5)
    [(path, headers, body)] = server.requests

    assert [each.status for each in replies] == ["ok"] * 5
    assert path == "/v2/models/late/infer"
    assert 0 < int(headers[TIMEOUT_MS]) < BUDGET_MS
    assert json.loads(body)["inputs"][0]["shape"][0] == 5


async def test_a_dead_server_costs_nobody_an_answer(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.close()

    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.reason, reply.degraded) == ("degraded", "model_unavailable", ["far"])
    assert reply.message == "no score of far: unreachable"
    assert list(reply.scores) == ["offline"]
    assert [(each.learner, each.role) for each in reply.versions] == [("offline", "fallback")]


async def test_a_server_that_does_not_answer_is_waited_for_within_the_budget(
    server: InferenceServer, started: Any
) -> None:
    scoring = await started(model(far(server.url)))
    server.hold.clear()

    await asked(scoring, budget_ms=200)
    [reply] = await replied(scoring)

    assert not server.hold.is_set()
    assert (reply.status, reply.degraded) == ("degraded", ["far"])
    assert reply.message == "no score of far: timeout"
    waited_ms = int(server.requests[0][1][TIMEOUT_MS])
    assert 0 < waited_ms < 200
    assert waited_ms - 1 < reply.timings.predict_ms, "what was waited for a server is what its scores took"


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>", "unreadable answer"),
        (200, b"[1]", "unreadable answer"),
        (200, b'{"outputs": []}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": [NaN]}]}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": [1e999]}]}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": [null]}]}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": ["0.5"]}]}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": [[0.1], [0.2], [0.3]]}]}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": []}]}', "unreadable answer"),
        (200, b'{"outputs": [{"name": "a", "data": [1]}, {"name": "b", "data": [1]}]}', "unreadable answer"),
        (200, b'{"outputs": ' + b"[" * 100_000, "unreadable answer"),
        (200, b" " * 1_000_000, "unreadable answer"),
        (500, b'{"error": "out of memory"}', "error answer"),
        (302, b"", "error answer"),
    ],
)
async def test_an_answer_without_scores_is_as_good_as_none(
    server: InferenceServer, started: Any, status: int, body: bytes, why: str
) -> None:
    scoring = await started(model(far(server.url)))
    server.status, server.body = status, body

    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.message) == ("degraded", f"no score of far: {why}")
    assert list(reply.scores) == ["offline"]
    assert scoring.count("remote_calls", model="late", learner="far", result=why) == 1


async def test_a_server_that_closes_the_connection_is_unreachable(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.drops = True

    await asked(scoring)
    [reply] = await replied(scoring)

    assert reply.message == "no score of far: unreachable"


async def test_without_a_fallback_the_answer_is_an_error_that_says_so(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url), RouteDefinition("far")))
    server.close()

    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.reason, reply.message) == ("error", "model_unavailable", "no score of far: unreachable")


async def test_a_constant_answers_where_no_learner_can(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url), RouteDefinition("far", fallback=0.1)))
    server.close()

    await asked(scoring)
    [reply] = await replied(scoring)
    await until(lambda: scoring.count("predictions_logged", model="late") == 1)
    [prediction] = await scoring.predictions()

    assert (reply.status, reply.scores, reply.degraded) == ("degraded", {"constant": 0.1}, ["far"])
    assert (prediction.scores, prediction.champion, prediction.arm) == ({"constant": 0.1}, "constant", "far")


async def test_a_slow_server_holds_no_other_micro_batch_up(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.hold.clear()

    for _ in range(3):
        await asked(scoring)
    await arrived(server, 3)
    server.hold.set()

    assert [reply.status for reply in await replied(scoring, 3)] == ["ok"] * 3


async def test_more_calls_than_are_allowed_are_answered_at_once_without_the_server(
    server: InferenceServer, started: Any
) -> None:
    scoring = await started(model(far(server.url)))
    server.hold.clear()

    for _ in range(MOST_UNDER_WAY + 1):
        await asked(scoring)
    [reply] = await replied(scoring)
    assert not server.hold.is_set()
    server.hold.set()
    others = await replied(scoring, MOST_UNDER_WAY)

    assert (reply.status, reply.message) == ("degraded", "no score of far: too many calls")
    assert [each.status for each in others] == ["ok"] * MOST_UNDER_WAY
    assert len(server.requests) == MOST_UNDER_WAY


async def test_a_server_that_keeps_failing_is_not_asked_any_more(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.status, server.body = 503, b"{}"

    for _ in range(FAILURES):
        await asked(scoring)
        await replied(scoring)
    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.message) == ("degraded", "no score of far: circuit open")
    assert len(server.requests) == FAILURES


async def test_callers_in_a_hurry_do_not_open_the_circuit_for_others(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.hold.clear()
    for _ in range(FAILURES + 1):
        await asked(scoring, budget_ms=30)
        await replied(scoring)
    server.hold.set()

    await asked(scoring)
    [reply] = await replied(scoring)

    assert reply.status == "ok"


async def test_a_shadow_on_a_server_is_observed_after_the_reply(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url), RouteDefinition("offline", ("far",))))
    server.hold.clear()

    await asked(scoring)
    [reply] = await replied(scoring)
    await arrived(server)
    assert await scoring.predictions() == []
    server.hold.set()
    await until(lambda: scoring.count("predictions_logged", model="late") == 1)
    [prediction] = await scoring.predictions()

    assert (reply.status, list(reply.scores)) == ("ok", ["offline"])
    assert prediction.scores == {**reply.scores, "far": 0.2475}
    assert [(each.learner, each.role) for each in prediction.versions] == [("offline", "champion"), ("far", "shadow")]


async def test_a_shadow_on_a_dead_server_costs_the_prediction_its_score_only(
    server: InferenceServer, started: Any
) -> None:
    scoring = await started(model(far(server.url), RouteDefinition("offline", ("far",))))
    server.close()

    await asked(scoring)
    [reply] = await replied(scoring)
    await until(lambda: scoring.count("predictions_logged", model="late") == 1)
    [prediction] = await scoring.predictions()

    assert (reply.status, prediction.scores) == ("ok", reply.scores)


async def test_one_request_fans_out_to_learners_here_and_on_a_server(server: InferenceServer, started: Any) -> None:
    rule = python(lambda row: row["distance"] / 10_000).definition("rule")
    all_of_them = ensemble("far", "offline", "online", "rule").definition("all")
    scoring = await started(model(far(server.url), RouteDefinition("all", ("far",), fallback=0.5), rule, all_of_them))

    await asked(scoring)
    [reply] = await replied(scoring)
    await until(lambda: scoring.count("predictions_logged", model="late") == 1)
    [prediction] = await scoring.predictions()

    members = ["far", "offline", "online", "rule"]
    assert reply.status == "ok"
    assert reply.scores["all"] == pytest.approx(sum(prediction.scores[each] for each in members) / 4)
    assert {each.learner: each.role for each in reply.versions} == {
        "all": "champion",
        **dict.fromkeys(members, "member"),
    }
    assert len(server.requests) == 1


async def test_a_stop_lets_what_waits_for_a_server_end(server: InferenceServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.hold.clear()
    await asked(scoring)
    await arrived(server)

    stopping = asyncio.create_task(scoring.member.stop(DEADLINE_S))
    await asyncio.sleep(0)
    server.hold.set()
    await stopping

    assert [reply.status for reply in await replied(scoring)] == ["ok"]


def test_budgets_that_are_alike_share_a_call() -> None:
    requests = [_request(deadline_ms) for deadline_ms in (1_000, 30, 20, 900, 41, 100)]

    groups = [[each.deadline_ms for each in group] for group in by_budget(requests, 0)]

    assert groups == [[20, 30], [41], [100], [900, 1_000]]


def _request(deadline_ms: int) -> Request:
    to = ReplyTo("demo.replies", b"1")
    return Request("t/0@0", to, 0, deadline_ms, at_ms=0, entities={}, inputs={}, label_key=None)
