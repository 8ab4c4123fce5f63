"""The command against real servers: events published, roles run, killed, replaced and drained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from confluent_kafka import Consumer, TopicPartition

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

APP = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Departed(hr.Event, topic="{name}.departed", id="flight_id", at="departed_at", key=("origin", "dest")):
    flight_id: str
    origin: str
    dest: str
    delay_min: float
    departed_at: datetime

class OriginTraffic(hr.Features, on=Departed, by="origin", version=1):
    flights = hr.count().over("1h")
"""

_DEADLINE_S = 180.0
_STOP_S = 10.0


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Path:
    """Return a user's project that works on the session's servers."""
    (tmp_path / "app.py").write_text(APP.format(name=unique))
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nredis = "{redis_url}"\nadmin_port = 0\nkafka = "{kafka}"\n'
    )
    return tmp_path


def events(count: int) -> str:
    same = {"origin": "JFK", "delay_min": 1.5}
    each = (
        {**same, "flight_id": f"f{i}", "dest": f"D{i % 7}", "departed_at": 1_360_000_000_000 + i} for i in range(count)
    )
    return "".join(json.dumps(event) + "\n" for event in each)


def headrace(project: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, cwd=project, input=given, capture_output=True, text=True, check=False, timeout=180)


@contextmanager
def running(project: Path, *roles: str) -> Iterator[subprocess.Popen[bytes]]:
    with (project / "run.log").open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "headrace", "run", *roles], cwd=project, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield supervisor
    finally:
        supervisor.terminate()
        supervisor.wait(_STOP_S + 5)


def test_lines_are_published_once_each_keyed_by_the_event_and_garbage_too(
    project: Path, unique: str, kafka: str
) -> None:
    said = headrace(project, "publish", f"{unique}.departed", "-", "--json", given=events(50) + "not json\n\n")

    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == {"topic": f"{unique}.departed", "published": 51, "without_key": 1, "refused": 0}
    found = records_of(kafka, f"{unique}.departed")
    assert len(found) == 51
    assert [value for key, value in found if key is None] == [b"not json"]
    assert {key for key, _ in found if key} == {f'["JFK","D{i}"]'.encode() for i in range(7)}


def test_a_topic_of_no_event_is_wrong_usage(project: Path, unique: str) -> None:
    said = headrace(project, "publish", f"{unique}.departd", "-")

    assert said.returncode == 2
    assert f"did you mean {unique}.departed?" in said.stderr


@pytest.mark.parametrize("variable", ["HEADRACE_KAFKA", "HEADRACE_REDIS"])
def test_a_server_that_is_not_there_ends_a_run_in_one_line_with_code_3(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, {"HEADRACE_KAFKA": "127.0.0.1:1", "HEADRACE_REDIS": "redis://127.0.0.1:1/0"}[variable])

    said = headrace(project, "run", "features")

    assert said.returncode == 3
    assert "Traceback" not in said.stderr
    assert said.stderr.count("\n") == 1
    assert "127.0.0.1:1" in said.stderr


def test_a_killed_role_is_replaced_and_a_stopped_one_has_drained(project: Path, unique: str) -> None:
    assert headrace(project, "publish", f"{unique}.departed", "-", given=events(1000)).returncode == 0

    with running(project, "features") as supervisor:
        wait_until(lambda: applied(project) == 1000, project)
        first = health(project)
        assert "features: ok" in page(first, "/readyz")
        assert f'namespace="{unique}"' in page(first, "/metrics")

        os.kill(child_of(supervisor.pid), signal.SIGKILL)
        wait_until(lambda: "starting it again in 0.5 s" in log_of(project), project)
        assert headrace(project, "publish", f"{unique}.departed", "-", given=events(500)).returncode == 0
        wait_until(lambda: applied(project) == 1500, project)

        began = time.monotonic()
        supervisor.terminate()
        code = supervisor.wait(_STOP_S + 5)

    assert code == 0, log_of(project)
    assert time.monotonic() - began < _STOP_S
    assert "features ended by SIGKILL" in log_of(project)
    assert log_of(project).rstrip().endswith("stopped features")


def test_a_role_ends_when_its_supervisor_is_killed(project: Path) -> None:
    with running(project, "features") as supervisor:
        wait_until(lambda: "metrics and health on" in log_of(project), project)
        child = child_of(supervisor.pid)

        supervisor.kill()

        wait_until(lambda: is_gone(child), project)


def records_of(kafka: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    reader = Consumer({"bootstrap.servers": kafka, "group.id": topic, "enable.auto.commit": False})
    try:
        partitions = reader.list_topics(topic, timeout=60).topics[topic].partitions
        ends = {
            index: reader.get_watermark_offsets(TopicPartition(topic, index), timeout=60)[1] for index in partitions
        }
        reader.assign([TopicPartition(topic, index, 0) for index in partitions])
        found: list[tuple[bytes | None, bytes | None]] = []
        until = time.monotonic() + _DEADLINE_S
        while len(found) < sum(ends.values()) and time.monotonic() < until:
            message = reader.poll(0.2)
            if message is not None and message.error() is None:
                found.append((message.key(), message.value()))
    finally:
        reader.close()
    return found


def applied(project: Path) -> int:
    """Return how many events the view's rows say are applied, as the role's latest process exports them."""
    lines = page(health(project), "/metrics").splitlines()
    rows = [line for line in lines if line.startswith("headrace_row_records") and 'fold="origin_traffic.' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in rows if 'tally="applied"' in line)


def health(project: Path) -> str:
    """Return the URL that the role's latest process said its health is on."""
    said = [line for line in log_of(project).splitlines() if "metrics and health on " in line]
    return said[-1].rpartition(" ")[2] if said else ""


def page(url: str, path: str) -> str:
    try:
        with urlopen(url + path, timeout=5) as answer:  # noqa: S310  # a loopback address of our own
            text: bytes = answer.read()
            return text.decode()
    except (URLError, ConnectionError, ValueError):
        return ""


def log_of(project: Path) -> str:
    return (project / "run.log").read_text()


def child_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool], project: Path) -> None:
    until = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < until, log_of(project)
        time.sleep(0.05)
