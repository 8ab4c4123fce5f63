"""Learners on servers that are asked by gRPC: as over HTTP, whatever a server does, the caller gets an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from agents.ask_grpc import MOST_ANSWER_BYTES
from definitions.declared import LearnerDefinition
from definitions.errors import DefinitionError
from definitions.learners import open_inference
from online_models.circuit import FAILURES
from online_models.learners.remote.grpc_messages import messages
from streams.request_reply import TIMEOUT_MS
from tests.grpc_inference_server import GrpcServer, grpc_server
from tests.redis_servers import certificate
from tests.unit.agents.test_score import until
from tests.unit.agents.test_score_remote import BUDGET_MS, asked, distance, model, replied


@pytest.fixture
def server() -> Iterator[GrpcServer]:
    with grpc_server(distance) as serving:
        yield serving


def far(url: str, **changes: Any) -> LearnerDefinition:
    return open_inference(url, **{"model": "late", "missing": 0.0, "timeout": "20s", **changes}).definition("far")


@pytest.mark.parametrize("on", ["matrix", "columns"])
@pytest.mark.parametrize("raw", [False, True])
async def test_a_learner_on_a_server_answers(server: GrpcServer, started: Any, on: str, raw: bool) -> None:  # noqa: FBT001
    scoring = await started(model(far(server.url, on=on, version="3")))
    server.raw = raw

    await asked(scoring, 5)
    replies = await replied(scoring, 5)
    await until(lambda: scoring.count("predictions_logged", model="late") == 5)

    assert [(each.status, each.scores) for each in replies] == [("ok", {"far": 0.2475})] * 5
    [(metadata, left_s, message)] = server.calls
    assert (message.model_name, message.model_version) == ("late", "3")
    assert 0 < left_s <= BUDGET_MS / 1_000, "the deadline goes with the call"
    assert 0 < int(metadata[TIMEOUT_MS]) < BUDGET_MS
    assert scoring.count("remote_calls", model="late", learner="far", result="ok") == 1


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a certificate that this process trusts: gRPC reads once, at the first channel, whom to trust."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(folder / "cert.pem"))
        yield folder


async def test_a_learner_is_asked_over_tls(trusted: Path, started: Any) -> None:
    with grpc_server(distance, tls=trusted) as server:
        scoring = await started(model(far(server.url)))

        await asked(scoring)
        [reply] = await replied(scoring)

    assert server.url.startswith("grpcs://")
    assert (reply.status, reply.scores) == ("ok", {"far": 0.2475})


@pytest.mark.usefixtures("trusted")
async def test_a_server_that_nobody_vouches_for_gets_no_features(tmp_path: Path, started: Any) -> None:
    certificate(tmp_path)
    with grpc_server(distance, tls=tmp_path) as server:
        scoring = await started(model(far(server.url)))

        await asked(scoring)
        [reply] = await replied(scoring)

    assert (reply.status, reply.message) == ("degraded", "no score of far: unreachable")
    assert server.calls == []


async def test_a_dead_server_costs_nobody_an_answer(server: GrpcServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.close()

    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.reason, reply.degraded) == ("degraded", "model_unavailable", ["far"])
    assert reply.message == "no score of far: unreachable"
    assert list(reply.scores) == ["offline"]


async def test_a_server_that_does_not_answer_is_waited_for_within_the_budget(server: GrpcServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.hold.clear()

    await asked(scoring, budget_ms=200)
    [reply] = await replied(scoring)

    assert not server.hold.is_set()
    assert (reply.status, reply.message) == ("degraded", "no score of far: timeout")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (grpc.StatusCode.NOT_FOUND, "error answer"),
        (grpc.StatusCode.INTERNAL, "error answer"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "error answer"),
        (grpc.StatusCode.UNAVAILABLE, "unreachable"),
    ],
)
async def test_an_error_is_as_good_as_no_answer(server: GrpcServer, started: Any, code: Any, why: str) -> None:
    scoring = await started(model(far(server.url)))
    server.code = code

    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.message, list(reply.scores)) == ("degraded", f"no score of far: {why}", ["offline"])


def answer(*tensors: tuple[str, str, str, list[Any]], raw: bytes | None = None) -> bytes:
    """Return an answer of tensors: name, datatype, field, values."""
    made = messages()["ModelInferResponse"]()
    for name, datatype, field, values in tensors:
        tensor = made.outputs.add(name=name, datatype=datatype)
        getattr(tensor.contents, field).extend(values)
    if raw is not None:
        made.raw_output_contents.append(raw)
    sent: bytes = made.SerializeToString()
    return sent


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        answer(("a", "FP32", "fp32_contents", [])),
        answer(("a", "FP32", "fp32_contents", [float("nan")])),
        answer(("a", "FP32", "fp32_contents", [0.1, 0.2, 0.3]), ("b", "FP32", "fp32_contents", [0.1])),
        answer(("a", "BYTES", "bytes_contents", [b"0.5"])),
        answer(("a", "STRANGE", "fp32_contents", [0.5])),
        answer(("a", "FP32", "fp32_contents", []), raw=b"abc"),
        answer(("a", "FP32", "fp32_contents", [0.0] * (MOST_ANSWER_BYTES // 4 + 1))),
    ],
    ids=["html", "nothing", "empty", "nan", "two", "text", "strange", "cut", "long"],
)
async def test_an_answer_without_scores_is_as_good_as_none(server: GrpcServer, started: Any, body: bytes) -> None:
    scoring = await started(model(far(server.url)))
    server.body = body

    await asked(scoring)
    [reply] = await replied(scoring)

    assert (reply.status, reply.message) == ("degraded", "no score of far: unreadable answer")


@pytest.mark.parametrize(
    ("datatype", "field", "score"),
    [("INT32", "int_contents", 3), ("FP64", "fp64_contents", 0.25), ("BOOL", "bool_contents", True)],
)
async def test_scores_come_in_any_type_of_numbers(
    server: GrpcServer, started: Any, datatype: str, field: str, score: Any
) -> None:
    scoring = await started(model(far(server.url, output="p")))
    server.body = answer(("q", "FP32", "fp32_contents", [9.0]), ("p", datatype, field, [score]))

    await asked(scoring)
    [reply] = await replied(scoring)

    expected = ("degraded", None) if datatype == "BOOL" else ("ok", float(score))
    assert (reply.status, reply.scores.get("far")) == expected, "True is no score, as over HTTP"


async def test_a_server_that_fails_is_not_asked_again_and_again(server: GrpcServer, started: Any) -> None:
    scoring = await started(model(far(server.url)))
    server.code = grpc.StatusCode.INTERNAL

    for _ in range(FAILURES + 3):
        await asked(scoring)
        await replied(scoring)

    assert len(server.calls) == FAILURES
    assert scoring.count("remote_calls", model="late", learner="far", result="circuit open") == 3


@pytest.mark.parametrize(
    "url", ["grpc://models", "grpc://models:9/path", "grpcx://models:9", "grpc://who:secret@models:9", "grpc:models:9"]
)
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(DefinitionError, match="the URL of a server"):
        open_inference(url, model="late", missing=0.0)


def test_how_a_server_is_asked_is_no_part_of_what_the_learner_is() -> None:
    by_grpc, by_http = far("grpc://models:9"), far("http://models:8")

    assert by_grpc == by_http
    assert (by_grpc.place, far("grpcs://models:9/").place) == ("grpc://models:9", "grpcs://models:9")
