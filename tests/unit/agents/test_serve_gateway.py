"""The HTTP door: every call ends in the protocol's own words, with the code that its outcome stands for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.client import ScoringClient
from agents.serve_gateway import BODY_MAX_BYTES, HELD_MAX_BYTES, Gateway
from agents.transport.in_process import InProcessLog
from streams import topics
from streams.request_reply import TRACEPARENT
from streams.topics import TopicConfig
from tests.answering import NAMESPACE, Answering, answering
from tests.builders import model_definition, river_learner, xgboost_learner
from tests.releases import UNLUCKY, Touchy, linear

LATE = model_definition(learners=[xgboost_learner(), river_learner(factory=linear)])
INFER = "/v2/models/late/infer"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def tensors(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Return tensors of rows whose names are those of the first."""
    kinds = {"entities.origin": "BYTES", "inputs.distance": "FP64", "inputs.carrier": "BYTES", "label_key": "BYTES"}
    return [
        {"name": name, "datatype": kinds[name], "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name in rows[0]
    ]


def row(**changes: Any) -> dict[str, Any]:
    return {"entities.origin": "JFK", "inputs.distance": 2475.0, "inputs.carrier": "UA", "label_key": "F1", **changes}


def column(answer: httpx.Response, name: str) -> list[Any]:
    [found] = [each for each in answer.json()["outputs"] if each["name"] == name]
    assert found["shape"] == [len(found["data"])]
    data: list[Any] = found["data"]
    return data


@asynccontextmanager
async def door(log: InProcessLog, **client_options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with ScoringClient(NAMESPACE, log=log, **client_options) as client:
        transport = httpx.ASGITransport(Gateway(NAMESPACE, [LATE], client, log).application())
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as http:
            yield http


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Answering]:
    async with answering(LATE, tmp_path) as world:
        yield world


@pytest.fixture
async def http(world: Answering) -> AsyncIterator[httpx.AsyncClient]:
    async with door(world.log) as http:
        yield http


@pytest.fixture
async def unanswered() -> InProcessLog:
    """Return a log with topics and nobody who answers."""
    log = InProcessLog()
    names = (topics.requests(NAMESPACE, LATE), topics.replies(NAMESPACE), topics.deployments(NAMESPACE))
    await log.create_topics([TopicConfig(name, partitions=1) for name in names])
    return log


async def test_a_call_is_answered_by_the_scoring_role(http: httpx.AsyncClient, world: Answering) -> None:
    answer = await http.post(INFER, json={"id": "c7", "inputs": tensors(row())})

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("late", "1", "c7")
    assert column(answer, "status") == ["ok"]
    assert column(answer, "learner") == ["offline"]
    assert 0.0 < column(answer, "score")[0] < 1.0
    assert len(column(answer, "trained_version")[0]) == 12
    assert column(answer, "request_id")[0].startswith("demo.late.requests/")
    assert column(answer, "features_as_of") == [-1]  # no features role has begun
    assert world.count("requests", model="late", status="ok", reason="") == 1
    assert world.count("predictions_logged", model="late") == 1


async def test_calls_are_counted_by_the_code_of_their_answer(http: httpx.AsyncClient) -> None:
    await http.post(INFER, json={"inputs": tensors(row())})
    await http.post(INFER, content=b"{")

    page = (await http.get("/metrics")).text

    for code in ("200", "400"):
        assert f'headrace_gateway_calls_total{{code="{code}",model="late",namespace="demo"}} 1.0' in page
    assert 'headrace_gateway_seconds_count{model="late",namespace="demo"} 2.0' in page


async def test_many_requests_in_one_call_are_requests_of_their_own(http: httpx.AsyncClient, world: Answering) -> None:
    rows = [row(**{"inputs.distance": float(number), "label_key": f"F{number}"}) for number in range(100)]
    answer = await http.post("/v2/models/late/versions/1/infer", json={"inputs": tensors(*rows)})

    assert answer.status_code == 200
    assert column(answer, "status") == ["ok"] * 100
    assert len(set(column(answer, "request_id"))) == 100
    assert world.count("requests", model="late", status="ok", reason="") == 100


async def test_only_the_tensors_that_are_wanted_are_sent(http: httpx.AsyncClient) -> None:
    body = {"inputs": tensors(row()), "outputs": [{"name": "score"}, {"name": "status"}]}
    answer = await http.post(INFER, json=body)

    assert [each["name"] for each in answer.json()["outputs"]] == ["score", "status"]


async def test_one_that_is_refused_costs_no_other_its_score(http: httpx.AsyncClient) -> None:
    rows = [row(), row(**{"inputs.distance": "far"}), row()]
    answer = await http.post(INFER, json={"inputs": tensors(*rows)})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        "request 2 of 3 rejected (invalid): cannot read request: $.inputs.distance: "
    )
    assert column(answer, "status") == ["ok", "rejected", "ok"]
    assert [score is None for score in column(answer, "score")] == [False, True, False]


@pytest.mark.parametrize(
    ("row_", "code", "why"),
    [
        (row(**{"inputs.distance": "far"}), 400, "rejected (invalid): cannot read request: $.inputs.distance"),
        (row(**{"entities.origin": ""}), 400, "rejected (invalid): cannot read request: $.entities.origin"),
        (row(label_key=None), 400, "rejected (invalid): cannot read request: $.label_key"),
        (row(**{"inputs.carrier": "x" * 1_025}), 400, "rejected (invalid): cannot read request: $.inputs.carrier"),
        (row(**{"inputs.carrier": "x" * 1_048_577}), 413, "rejected (too_large)"),
    ],
)
async def test_what_the_role_or_the_client_refuses_has_its_code(
    http: httpx.AsyncClient, row_: dict[str, Any], code: int, why: str
) -> None:
    answer = await http.post(INFER, json={"inputs": tensors(row_)})

    assert (answer.status_code, answer.json()["error"][: len(why)]) == (code, why)


async def test_a_call_that_nobody_answers_ends_by_its_budget(unanswered: InProcessLog) -> None:
    loop = asyncio.get_running_loop()
    async with door(unanswered) as http:
        started_s = loop.time()
        answer = await http.post(INFER, json={"inputs": tensors(row()), "parameters": {"timeout_ms": 30}})

    assert (answer.status_code, answer.json()["error"]) == (504, "expired (deadline)")
    assert 0.029 <= loop.time() - started_s < 3.0


async def test_more_than_may_be_under_way_is_told_to_wait(unanswered: InProcessLog) -> None:
    async with door(unanswered, max_pending=1) as http:
        body = {"inputs": tensors(row(), row()), "parameters": {"timeout_ms": 30}}
        answer = await http.post(INFER, json=body)

    assert column(answer, "reason") == ["deadline", "overloaded"]
    assert answer.status_code == 504


async def test_without_a_release_the_model_is_unavailable_and_not_ready(tmp_path: Path) -> None:
    async with answering(LATE, tmp_path, released=False) as world, door(world.log) as http:
        answer = await http.post(INFER, json={"inputs": tensors(row())})
        ready = await http.get("/v2/models/late/ready")

    assert (answer.status_code, column(answer, "reason")) == (503, ["model_unavailable"])
    assert (ready.status_code, ready.json()) == (503, {"name": "late", "ready": False})


async def test_a_learner_that_fails_is_an_internal_error(tmp_path: Path) -> None:
    model = model_definition(learners=[river_learner(factory=Touchy)])
    async with answering(model, tmp_path) as world, door(world.log) as http:
        answer = await http.post(INFER, json={"inputs": tensors(row(**{"inputs.distance": UNLUCKY}))})

    assert (answer.status_code, column(answer, "reason")) == (500, ["internal"])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/late", 200),
        ("/v2/models/late/versions/1", 200),
        ("/v2/models/late/ready", 200),
        ("/v2/models/late/versions/1/ready", 200),
        ("/v2/models/punctual", 404),
        ("/v2/models/punctual/ready", 404),
        ("/v2/models/late/versions/2", 404),
        ("/v2/models/late/infer", 405),
        ("/v1", 404),
    ],
)
async def test_every_page_answers_in_json(http: httpx.AsyncClient, path: str, code: int) -> None:
    answer = await http.get(path)

    assert answer.status_code == code, answer.text
    assert ("error" in answer.json()) == (code >= 400)


async def test_a_model_says_what_it_is_asked_with(http: httpx.AsyncClient) -> None:
    found = (await http.get("/v2/models/late")).json()

    assert (found["name"], found["versions"], found["platform"]) == ("late", ["1"], "headrace")
    assert found["inputs"] == [
        {"name": "entities.origin", "datatype": "BYTES", "shape": [-1]},
        {"name": "inputs.distance", "datatype": "FP64", "shape": [-1]},
        {"name": "inputs.carrier", "datatype": "BYTES", "shape": [-1]},
        {"name": "label_key", "datatype": "BYTES", "shape": [-1]},
        {"name": "at", "datatype": "INT64", "shape": [-1], "parameters": {"optional": True}},
    ]
    assert {"name": "score", "datatype": "FP64", "shape": [-1]} in found["outputs"]


async def test_a_trace_reaches_the_request_on_the_topic(http: httpx.AsyncClient, world: Answering) -> None:
    await http.post(INFER, json={"inputs": tensors(row())}, headers={"traceparent": TRACE})

    partitions = await world.log.partitions(topics.requests(NAMESPACE, LATE))
    tail = await world.log.tail([(each, 0) for each in partitions])
    [(_, record)] = await tail.poll(1.0)
    await tail.stop()
    assert dict(record.headers() or ())[TRACEPARENT] == TRACE.encode()


async def test_a_body_that_is_too_large_is_not_read_to_its_end(http: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * BODY_MAX_BYTES:
            sent += 65_536
            yield b" " * 65_536

    answer = await http.post(INFER, content=endless())

    assert (answer.status_code, "cannot read call" in answer.json()["error"]) == (413, True)
    assert sent <= 8 * BODY_MAX_BYTES + 2 * 65_536


async def test_bodies_beside_many_others_are_told_to_wait_and_those_to_come_are_read(world: Answering) -> None:
    async with ScoringClient(NAMESPACE, log=world.log) as client:
        gateway = Gateway(NAMESPACE, [LATE], client, world.log)
        http = httpx.AsyncClient(transport=httpx.ASGITransport(gateway.application()), base_url="http://door")
        gateway._held_bytes = HELD_MAX_BYTES
        refused = await http.post(INFER, json={"inputs": tensors(row())})
        assert (refused.status_code, gateway._held_bytes) == (429, HELD_MAX_BYTES)

        gateway._held_bytes = 0
        assert (await http.post(INFER, json={"inputs": tensors(row())})).status_code == 200
        assert gateway._held_bytes == 0
        await http.aclose()


def nonsense() -> Iterator[tuple[bytes, dict[str, str]]]:
    yield b"", {}
    yield b"hello", {}
    yield b"[]", {}
    yield b'{"inputs": []}', {}
    yield b'{"inputs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", {}
    yield json.dumps({"inputs": tensors(row())}).encode(), {"Inference-Header-Content-Length": "9"}
    yield json.dumps({"inputs": tensors(row())}).encode(), {"Inference-Header-Content-Length": "-1"}
    yield json.dumps({"inputs": tensors(row())}).encode().replace(b"2475.0", b"NaN"), {}


@pytest.mark.parametrize(("body", "headers"), [*nonsense()])
async def test_what_is_no_call_is_refused(http: httpx.AsyncClient, body: bytes, headers: dict[str, str]) -> None:
    answer = await http.post(INFER, content=body, headers=headers)

    assert (answer.status_code, answer.json()["error"][:17]) == (400, "cannot read call:")


async def test_a_door_whose_client_was_closed_is_neither_live_nor_ready(unanswered: InProcessLog) -> None:
    client = ScoringClient(NAMESPACE, log=unanswered)
    transport = httpx.ASGITransport(Gateway(NAMESPACE, [LATE], client, unanswered).application())
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as http:
        codes = [(await http.get(f"/v2/health/{page}")).status_code for page in ("live", "ready")]
        answer = await http.post(INFER, json={"inputs": tensors(row())})

    assert codes == [503, 503]
    assert (answer.status_code, "not open" in answer.json()["error"]) == (503, True)
