"""How roles end: drained and committed on SIGTERM, in 10 s even without a store; and replaced when they are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import servers
from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS, partition_bytes
from tests.apps.project import (
    AT_MS,
    QUESTION,
    STOP_S,
    Project,
    bring_redis_back,
    children_of,
    departed,
    take_redis_away,
    write_project,
)

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

ROLES = ("features", "scoring", "learning", "monitoring")
REQUESTS = 200
EVENTS = 3_000


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


@pytest.fixture
def project_with_a_redis_of_its_own(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Iterator[Project]:
    del redis_url  # skips where there is no Redis to start
    started = servers.start(tmp_path, only=("redis",))
    assert started.redis is not None
    yield write_project(tmp_path, unique, kafka=kafka, redis=started.redis)
    servers.stop(tmp_path)


@pytest.mark.alone
def test_sigterm_drains_and_commits_and_a_second_start_goes_on_from_there(project: Project) -> None:
    with project.running(*ROLES) as supervisor:
        for role, partitions in (("features", 4), ("scoring", 2), ("learning", 5), ("monitoring", 4)):
            project.served(role, partitions)
        project.deploy()
        keys = [f"F{number}" for number in range(REQUESTS)]
        asked = [ask(project, key) for key in keys]
        project.send(f"{project.name}.departed", *[departed(number % 3_000) for number in range(EVENTS)])
        project.send(f"{project.name}.arrived", *[arrived(key) for key in keys])

        assert stopped(supervisor) == 0, project.said()
    answered = replies(project)
    assert project.said().rstrip().endswith(f"stopped {', '.join(ROLES)}")

    with project.running(*ROLES):
        project.until(lambda: project.metric("features", "row_records", fold="intake") == EVENTS + REQUESTS)
        project.until(lambda: replies(project).keys() >= set(asked))
        project.until(lambda: len(project.records(f"{project.name}.late.v1.examples")) >= REQUESTS)
        last = ask(project, "F-last")
        project.until(lambda: last in replies(project))
        audit = project.audit()

    assert replies(project) == Counter([*asked, last])
    assert answered.total() > 0
    examples = [
        json.loads(each.value() or b"")["label_key"] for each in project.records(f"{project.name}.late.v1.examples")
    ]
    assert Counter(examples) == Counter(keys)
    assert (audit["lost"], audit["counted_twice"], audit["problems"]) == (0, 0, [])


def test_requests_between_a_stop_and_a_start_are_answered_while_they_have_time(project: Project) -> None:
    with project.running("scoring") as supervisor:
        project.served("scoring", 2)
        assert stopped(supervisor) == 0, project.said()
    asked = [ask(project, f"F{number}", partition=number % 2) for number in range(10)]

    with project.running("scoring"):
        project.until(lambda: replies(project) == Counter(asked))


@pytest.mark.alone
@pytest.mark.parametrize("loss", ["killed", "frozen"])
def test_roles_without_a_store_end_within_10_s_too(project_with_a_redis_of_its_own: Project, loss: str) -> None:
    project = project_with_a_redis_of_its_own
    with project.running(*ROLES) as supervisor:
        project.served("features", 4)
        project.served("learning", 5)
        take_redis_away(project, loss)
        project.send(f"{project.name}.departed", *[departed(number) for number in range(100)])
        project.send(f"{project.name}.arrived", *[arrived(f"F{number}") for number in range(100)])
        project.until(lambda: "features waits" in project.said() and "learning waits" in project.said())

        began_s = time.monotonic()
        code = stopped(supervisor)
        took_s = time.monotonic() - began_s
        bring_redis_back(project, loss)

    assert took_s < STOP_S, project.said()
    assert code == 0, project.said()


def test_a_killed_scorer_is_replaced_in_one_line_and_its_successor_answers(project: Project) -> None:
    with project.running("scoring", "features") as supervisor:
        project.served("scoring", 2)
        project.deploy()
        before = children_of(supervisor.pid)
        first = ask(project, "F1")
        project.until(lambda: first in replies(project))

        os.kill(before["scoring"], signal.SIGKILL)

        project.until(lambda: children_of(supervisor.pid).get("scoring", before["scoring"]) != before["scoring"])
        second = ask(project, "F2")
        project.until(lambda: second in replies(project))
        after = children_of(supervisor.pid)

    told = [line for line in project.said().splitlines() if "ended" in line]
    assert told == ["scoring ended by SIGKILL; starting it again in 0.5 s"]
    assert after["features"] == before["features"]
    assert replies(project) == Counter([first, second])


def test_a_role_that_nobody_waits_for_stands_back_for_one_that_answers(project: Project) -> None:
    with project.running("scoring", "features") as supervisor:
        roles = children_of(supervisor.pid)
        nice = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in roles.items()}
        sessions = {name: session_nice(pid) for name, pid in roles.items()}

    assert nice["scoring"] < nice["features"]
    assert sessions["scoring"] in (None, "0")
    assert sessions["features"] in (None, "5")


def session_nice(pid: int) -> str | None:
    """Return how nice a process's session is to others, None where Linux does not group by session."""
    said = Path(f"/proc/{pid}/autogroup")
    return said.read_text().split()[-1] if said.exists() else None


def stopped(supervisor: subprocess.Popen[bytes]) -> int:
    """Send SIGTERM; return the exit code."""
    supervisor.terminate()
    return supervisor.wait(2 * STOP_S)


def ask(project: Project, key: str, *, partition: int = -1) -> bytes:
    """Send a request with a minute's time; return its correlation id."""
    correlation_id = uuid.uuid4().bytes
    headers = [
        (CORRELATION_ID, correlation_id),
        (REPLY_TOPIC, f"{project.name}.replies".encode()),
        (REPLY_PARTITION, partition_bytes(0)),
        (TIMEOUT_MS, b"60000"),
    ]
    body = json.dumps({**QUESTION, "label_key": key}).encode()
    project.send(f"{project.name}.late.requests", body, headers=headers, partition=partition)
    return correlation_id


def arrived(key: str) -> bytes:
    return json.dumps({"flight_id": key, "delay_min": 20.0, "arrived_at": AT_MS + 60_000}).encode()


def replies(project: Project) -> Counter[bytes]:
    """Return how many replies each correlation id has."""
    return Counter(dict(each.headers() or ())[CORRELATION_ID] for each in project.records(f"{project.name}.replies"))
