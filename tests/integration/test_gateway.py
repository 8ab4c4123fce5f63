"""``headrace gateway`` on a real Kafka: asked by a client of the protocol that others wrote, and by curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apps.project import QUESTION, STOP_S, Project, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

# In a process of its own: its client brings gevent, which no other test should live beside.
TRITON = """
import sys
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

client = InferenceServerClient(sys.argv[1], network_timeout=60.0)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("late")
assert not client.is_model_ready("punctual")
assert [each["name"] for each in client.get_model_metadata("late", "1")["inputs"]][0] == "entities.origin"

def tensor(name, datatype, values, binary):
    given = InferInput(name, [len(values)], datatype)
    given.set_data_from_numpy(np.array(values, dtype=object if datatype == "BYTES" else np.float64), binary_data=binary)
    return given

def tensors(count, binary, distance=2475.0):
    return [
        tensor("entities.origin", "BYTES", ["JFK"] * count, binary),
        tensor("inputs.distance", "FP64", [distance] * count, binary),
        tensor("inputs.carrier", "BYTES", ["UA"] * count, binary),
        tensor("label_key", "BYTES", [f"F{number}" for number in range(count)], binary),
    ]

for binary in (False, True):
    result = client.infer("late", tensors(3, binary), request_id="c1", parameters={"timeout_ms": 20000})
    assert result.as_numpy("score").shape == (3,) and result.as_numpy("score").dtype == np.float64
    assert all(0.0 <= score <= 1.0 for score in result.as_numpy("score"))
    assert set(result.as_numpy("status")) <= {"ok", "degraded"}
    assert len(set(result.as_numpy("request_id"))) == 3
    assert result.get_response()["id"] == "c1"

only = client.infer("late", tensors(1, True), outputs=[InferRequestedOutput("score", binary_data=False)])
assert [each["name"] for each in only.get_response()["outputs"]] == ["score"]

try:
    client.infer("late", tensors(1, True, distance=float("nan")))
    raise SystemExit("a NaN was answered")
except InferenceServerException as refused:
    assert refused.status() == "400" and "$.inputs.distance" in refused.message(), refused
print("answered")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose scoring role serves a release."""
    folder, name = tmp_path_factory.mktemp("project"), f"gateway-{uuid.uuid4().hex[:12]}"
    project = write_project(folder, name, kafka=kafka, redis=redis_url)
    with project.running("scoring"):
        project.served("scoring", 2)
        project.deploy()
        yield project


@contextmanager
def open_door(project: Project) -> Iterator[str]:
    """Run the gateway; yield its address. SIGTERM has to end it in time, as done."""
    with (project.folder / "gateway.log").open("wb") as errors:
        door = subprocess.Popen(
            [sys.executable, "-m", "headrace", "gateway", "--port", "0", "--json"],
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert door.stdout is not None
        try:
            line = door.stdout.readline()
            assert line, (project.folder / "gateway.log").read_text()
            yield json.loads(line)["url"]
            door.send_signal(signal.SIGTERM)
            assert door.wait(STOP_S) == 0
        finally:
            door.kill()
            door.wait()
            door.stdout.close()
    assert (project.folder / "gateway.log").read_text().count("\n") == 1  # its own line, and no traceback


def curl(*arguments: str) -> tuple[int, str]:
    """Return the code and the body of what curl is answered."""
    said = subprocess.run(
        ["curl", "-sS", "-m", "30", "-w", "\n%{http_code}", *arguments], capture_output=True, text=True, check=True
    )
    body, _, code = said.stdout.rpartition("\n")
    return int(code), body


def test_a_client_of_the_protocol_is_answered(project: Project, tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(TRITON)
    with open_door(project) as url:
        said = subprocess.run(
            [sys.executable, str(tmp_path / "ask.py"), url.removeprefix("http://")],
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip

    assert (said.returncode, said.stdout) == (0, "answered\n"), said.stderr


def need_curl() -> None:
    """Skip the test where there is no curl; with CI=true fail it."""
    if shutil.which("curl") is None:
        line = "cannot ask by curl: expected it on the PATH, got none; install it"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(line)


def test_curl_is_answered_and_a_body_too_large_is_refused(project: Project, tmp_path: Path) -> None:
    need_curl()
    (tmp_path / "large.json").write_text(json.dumps({"inputs": [], "more": "x" * 5_000_000}))
    given = {
        "entities.origin": ("BYTES", QUESTION["entities"]["origin"]),
        "inputs.distance": ("FP64", QUESTION["inputs"]["distance"]),
        "inputs.carrier": ("BYTES", QUESTION["inputs"]["carrier"]),
        "label_key": ("BYTES", "F1"),
    }
    inputs = [{"name": name, "datatype": kind, "shape": [1], "data": [value]} for name, (kind, value) in given.items()]
    call = json.dumps({"inputs": inputs, "parameters": {"timeout_ms": 20_000}})
    with open_door(project) as url:
        infer = f"{url}/v2/models/late/infer"
        code, body = curl("-d", call, infer)
        large_code, large_body = curl("-d", f"@{tmp_path / 'large.json'}", infer)

        assert code == 200, body
        assert re.search(r'"name":"score","datatype":"FP64","shape":\[1\],"data":\[(0|1)\.\d+', body)
        assert (large_code, "at most" in json.loads(large_body)["error"]) == (413, True)
        assert curl(f"{url}/v2/models/late/ready")[0] == 200


def test_a_door_on_a_port_that_is_taken_says_so(project: Project) -> None:
    with open_door(project) as url:
        said = project.command("gateway", "--port", url.rpartition(":")[2])

    assert said.returncode == 2
    assert "cannot listen: 127.0.0.1" in said.stderr
