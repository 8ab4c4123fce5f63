"""A learner on a real inference server: MLServer, from its package, in an environment of its own.

It is installed once, under ``.headrace/``; where it cannot be, these tests are skipped (and fail in CI, as for every
server that is missing).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.ask_grpc import GrpcCalls
from definitions.declared import LearnerDefinition, RouteDefinition
from definitions.encoder import Encoder
from definitions.learners import open_inference
from definitions.values import ValueType
from online_models.learners.describing import describe
from online_models.learners.remote.open_inference import OpenInference
from online_models.learners.remote.open_inference_grpc import OpenInferenceGrpc
from online_models.snapshots import digest_of
from tests.builders import model_definition, request_input, xgboost_learner
from tests.releases import release
from tests.unit.agents.test_score import BODY, Scoring, until
from tests.unit.agents.test_score_remote import asked, replied

MODEL = Path(__file__).parents[1] / "inference" / "mlserver"
HOME = Path(__file__).parents[2] / ".headrace" / "inference" / "mlserver"
INSTALL_S = 600.0
START_S = 120.0
INPUTS = [request_input("distance"), request_input("carrier", ValueType.CATEGORY)]


def environment() -> Path:
    """Return the folder of the environment's programs; it is made if it is missing or asks for something else now."""
    wanted = hashlib.sha256((MODEL / "requirements.txt").read_bytes()).hexdigest()
    mark, programs = HOME / "ready", HOME / "bin"
    if mark.is_file() and mark.read_text() == wanted:
        return programs
    shutil.rmtree(HOME, ignore_errors=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "-r", str(MODEL / "requirements.txt")]
    for command in ([sys.executable, "-m", "venv", str(HOME)], pip):
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        if made.returncode != 0:
            missing(f"{' '.join(command[1:4])}: {(made.stderr or made.stdout).strip().splitlines()[-1:]}")
    mark.write_text(wanted)
    return programs


def missing(why: str) -> None:
    text = f"cannot install MLServer: {why}; `make test` installs it where PyPI can be reached"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def free_ports(n: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the root of a running server by protocol."""
    program, folder = environment() / "mlserver", tmp_path_factory.mktemp("mlserver")
    http, grpc, metrics = free_ports(3)
    shutil.copy(MODEL / "late_runtime.py", folder)
    (folder / "model-settings.json").write_text('{"name": "late", "implementation": "late_runtime.Late"}')
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([program, "start", folder], env=clean, cwd=folder, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{http}"
            ready(running, f"{url}/v2/models/late/ready", folder / "log")
            yield {"http": url, "grpc": f"grpc://127.0.0.1:{grpc}"}
        finally:
            running.terminate()
            running.wait(timeout=30.0)


@pytest.fixture
def server(serving: dict[str, str]) -> str:
    return serving["http"]


def ready(running: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and running.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5.0) as answer:  # noqa: S310  # our own server
                answer.read()
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)  # nothing tells when a port opens
    pytest.fail(f"MLServer did not start: {log.read_text(errors='replace')[-2_000:]}")


def far(url: str, on: str) -> LearnerDefinition:
    declared = open_inference(url, model="late", missing=0.0, on=on, output="score", timeout="20s")
    return declared.definition("far")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("on", ["matrix", "columns"])
async def test_a_real_server_s_scores_are_the_answer(
    serving: dict[str, str], tmp_path: Path, on: str, protocol: str
) -> None:
    learners = [far(serving[protocol], on), xgboost_learner()]
    route = RouteDefinition("far", fallback="offline")
    scoring = Scoring(model_definition(inputs=INPUTS, learners=learners, route=route), tmp_path)
    await scoring.start()
    await scoring.deploy(release(scoring.model, scoring.artefacts))

    await asked(scoring, 3)
    replies = await replied(scoring, 3)
    await until(lambda: scoring.count("predictions_logged", model="late") == 3)
    await scoring.member.stop(5.0)

    # In the matrix, UA is the last of three categories: 2.
    expected = (BODY["inputs"]["distance"] + (2.0 if on == "matrix" else 1_000.0)) / 10_000
    assert [each.status for each in replies] == ["ok"] * 3
    assert [each.scores["far"] for each in replies] == pytest.approx([expected] * 3, rel=1e-6)


async def test_a_real_server_is_told_how_long_it_may_take(server: str) -> None:
    """Asked of the server itself, by the header's own name: the model answers with the deadline it was given."""
    learner = far(server, "matrix")
    data = describe(learner)
    remote = OpenInference(learner, Encoder(tuple(INPUTS)), data=data, digest=digest_of(data))
    headers = {"Content-Type": "application/json", "headrace-timeout-ms": "77"}
    body = remote.request([[1.0, None]]).replace(b'"score"', b'"deadline"')

    def posted() -> bytes:
        request = urllib.request.Request(remote.url, data=body, headers=headers)  # noqa: S310  # our own server
        with urllib.request.urlopen(request, timeout=20.0) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found

    outputs = {each["name"]: each["data"] for each in json.loads(await asyncio.to_thread(posted))["outputs"]}
    assert outputs["deadline"] == [77.0]


async def test_a_real_server_is_told_by_grpc_too(serving: dict[str, str]) -> None:
    learner = far(serving["grpc"], "matrix")
    learner = replace(learner, parameters={**learner.parameters, "output": "deadline"})
    data = describe(learner)
    remote = OpenInferenceGrpc(learner, Encoder(tuple(INPUTS)), data=data, digest=digest_of(data))
    calls = GrpcCalls()

    answer = await calls.ask(remote, remote.request([[1.0, None]]), 20_077.9)
    await calls.close()

    assert remote.scores(answer, expected=1) == [20_077.0]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_model_that_a_real_server_does_not_have_is_replaced(
    serving: dict[str, str], tmp_path: Path, protocol: str
) -> None:
    strange = open_inference(serving[protocol], model="nobody", missing=0.0, timeout="20s").definition("far")
    route = RouteDefinition("far", fallback=0.5)
    scoring = Scoring(model_definition(inputs=INPUTS, learners=[strange, xgboost_learner()], route=route), tmp_path)
    await scoring.start()
    await scoring.deploy(release(scoring.model, scoring.artefacts))

    await asked(scoring)
    [reply] = await replied(scoring)
    await scoring.member.stop(5.0)

    assert (reply.status, reply.scores, reply.message) == (
        "degraded",
        {"constant": 0.5},
        "no score of far: error answer",
    )
