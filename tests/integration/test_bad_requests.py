"""Requests that are none: rejected with the reason where a reply can be sent, counted where it cannot."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS, partition_bytes
from tests.apps.project import DEADLINE_S, Project, send_foreign, write_project
from tests.bad_requests import GOOD, REJECTED, SERVED, UNROUTABLE, WIRE_MAX_BYTES, Bad, headers_of

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

GROWTH_MAX_BYTES = 64 * 1024 * 1024
"""What a role may grow by while it is sent 5 MB again and again."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose scoring role serves a release."""
    folder, name = tmp_path_factory.mktemp("project"), f"bad-requests-{uuid.uuid4().hex[:12]}"
    project = write_project(folder, name, kafka=kafka, redis=redis_url)
    create_wide(kafka, f"{name}.late.requests")
    with project.running("scoring"):
        project.served("scoring", 2)
        project.deploy()
        yield project


def create_wide(kafka: str, topic: str) -> None:
    """Create a requests topic that takes 8 MiB, as one that others created may: then the role meets what is larger."""
    room = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(WIRE_MAX_BYTES)}
    admin = AdminClient({"bootstrap.servers": kafka})
    [created] = admin.create_topics([NewTopic(topic, num_partitions=2, config=room)]).values()
    created.result(DEADLINE_S)


def test_what_is_wrong_is_rejected_with_its_reason_and_path_and_the_next_is_served(project: Project) -> None:
    asked = {ask(project, bad): (name, reason, path) for name, (bad, reason, path) in REJECTED.items()}
    last = ask(project)

    answers = replies(project, {*asked, last})

    for correlation_id, (name, reason, path) in asked.items():
        [reply] = answers[correlation_id]
        assert (reply["status"], reply["reason"]) == ("rejected", reason), name
        assert reply["message"].startswith(f"cannot read request: {path}: "), name
        assert len(reply["message"]) < 250, name
    assert is_served(answers[last])
    assert len(project.records(f"{project.name}.late.v1.outcomes")) == 1


def test_what_is_odd_and_yet_asks_something_gets_its_score(project: Project) -> None:
    asked = {ask(project, bad): name for name, bad in SERVED.items()}

    answers = replies(project, set(asked))

    assert {name: is_served(answers[each]) for each, name in asked.items()} == dict.fromkeys(SERVED, True)


def test_what_cannot_be_routed_is_counted_and_nothing_is_written_elsewhere(project: Project) -> None:
    elsewhere = [f"{project.name}.departed", f"{project.name}.arrived", f"{project.name}.late.v1.outcomes"]
    before = [len(project.records(topic)) for topic in elsewhere]
    counted = unroutable(project)

    for bad, _ in UNROUTABLE.values():
        ask(project, bad)
    last = ask(project)

    assert is_served(replies(project, {last})[last])
    expected = {reason: sum(reason == each for _, each in UNROUTABLE.values()) for _, reason in UNROUTABLE.values()}
    assert {reason: count - counted[reason] for reason, count in unroutable(project).items()} == expected
    before[-1] += 1  # the last one's prediction
    assert [len(project.records(topic)) for topic in elsewhere] == before


def test_requests_of_5_mb_leave_a_role_as_it_was(project: Project) -> None:
    bad, _, _ = REJECTED["5 MB"]
    replies(project, {ask(project, bad) for _ in range(5)})
    before = project.metric("scoring", "assigned_partitions"), resident_bytes(project)

    asked = {ask(project, bad) for _ in range(40)}
    last = ask(project)
    answers = replies(project, {*asked, last})

    assert {answers[each][0]["reason"] for each in asked} == {"too_large"}
    assert is_served(answers[last])
    assert project.metric("scoring", "assigned_partitions") == before[0]
    assert resident_bytes(project) - before[1] < GROWTH_MAX_BYTES


def test_a_header_whose_name_is_no_utf8_is_counted_and_the_next_is_served(project: Project, kafka: str) -> None:
    before = unroutable(project)["no_correlation_id"]

    send_foreign(kafka, f"{project.name}.late.requests", GOOD)
    last = ask(project)

    assert is_served(replies(project, {last})[last])
    project.until(lambda: unroutable(project)["no_correlation_id"] == before + 1)
    assert_never_replaced(project)


def test_a_value_as_deep_as_python_can_nest_is_rejected_by_a_process_that_lives_on(project: Project) -> None:
    depths = [Bad(GOOD.replace(b"2475.0", b"[" * depth + b"]" * depth)) for depth in range(900, 1_000)]
    asked = {ask(project, bad) for bad in depths}

    answers = replies(project, asked)

    assert {reply["status"] for each in asked for reply in answers[each]} == {"rejected"}
    assert_never_replaced(project)


def test_a_reply_that_cannot_be_delivered_is_counted_and_the_next_is_served(project: Project) -> None:
    ask(project, Bad(headers={REPLY_PARTITION: partition_bytes(4_000)}))
    last = ask(project)

    assert is_served(replies(project, {last})[last])
    project.until(lambda: project.metric("scoring", "undelivered_records") == 1)


def ask(project: Project, bad: Bad = Bad()) -> bytes:  # noqa: B008  # it is frozen
    """Send a request; return its correlation id, a new one where it names none of its own."""
    correlation_id = bad.headers.get(CORRELATION_ID) or uuid.uuid4().bytes
    good = {
        CORRELATION_ID: correlation_id,
        REPLY_TOPIC: f"{project.name}.replies".encode(),
        REPLY_PARTITION: partition_bytes(0),
        TIMEOUT_MS: b"30000",
    }
    headers = headers_of(bad, project.name, good)
    project.send(f"{project.name}.late.requests", bad.value, headers=headers, partition=0)
    return correlation_id


def replies(project: Project, wanted: set[bytes]) -> dict[bytes, list[dict[str, Any]]]:
    """Return the replies by correlation id, once each of ``wanted`` has one."""
    found: dict[bytes, list[dict[str, Any]]] = {}

    def all_answered() -> bool:
        found.clear()
        for each in project.records(f"{project.name}.replies"):
            correlation_id = dict(each.headers() or ())[CORRELATION_ID]
            found.setdefault(correlation_id, []).append(json.loads(each.value() or b""))
        return wanted <= found.keys()

    project.until(all_answered)
    return found


def is_served(answers: list[dict[str, Any]]) -> bool:
    """Return whether a good request got one score; on a busy machine its features may have come too late for it."""
    return len(answers) == 1 and answers[0]["status"] in {"ok", "degraded"} and "online" in answers[0]["scores"]


def unroutable(project: Project) -> dict[str, float]:
    reasons = {reason for _, reason in UNROUTABLE.values()}
    return {reason: project.metric("scoring", "requests_unroutable_total", reason=reason) for reason in reasons}


def resident_bytes(project: Project) -> int:
    """Return the memory that the project's scoring role has in use."""
    [pid] = [pid for pid, folder in processes() if folder == project.folder]
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def processes() -> Iterator[tuple[int, Path]]:
    """Yield every process that is a role of ours, with the folder that it works in."""
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"headrace.role" in (each / "cmdline").read_bytes():
                yield int(each.name), (each / "cwd").readlink()


def assert_never_replaced(project: Project) -> None:
    assert "starting it again" not in project.said()
