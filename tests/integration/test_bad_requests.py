"""Requests that are none: rejected with the reason where a reply can be sent, counted where it cannot."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS, partition_bytes
from tests.apps.project import QUESTION, Project, send_foreign, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

Headers = Mapping[str, bytes | None]

MEGABYTE = "x" * 1_000_000
REJECTED: dict[str, tuple[bytes | None, str, str]] = {
    "an unknown model": (json.dumps({**QUESTION, "model": "punctual"}).encode(), "invalid", "$.model"),
    "no JSON": (b"hello", "invalid", "$"),
    "JSON cut short": (json.dumps(QUESTION).encode()[:-1], "invalid", "$"),
    "invalid UTF-8": (json.dumps(QUESTION).encode().replace(b"JFK", b"J\xff"), "invalid", "$"),
    "a tombstone": (None, "invalid", "$"),
    "no object": (b"[]", "invalid", "$"),
    "no entity": (json.dumps({**QUESTION, "entities": {}}).encode(), "invalid", "$.entities.origin"),
    "no label key": (json.dumps({**QUESTION, "label_key": None}).encode(), "invalid", "$.label_key"),
    "a megabyte of text": (
        json.dumps({**QUESTION, "entities": {"origin": MEGABYTE}}).encode(), "invalid", "$.entities.origin",
    ),
    "a megabyte of model": (json.dumps({**QUESTION, "model": MEGABYTE}).encode(), "invalid", "$.model"),
    "more than a mebibyte": (json.dumps({**QUESTION, "more": "x" * 1024 * 1024}).encode(), "too_large", "$"),
    "NaN": (json.dumps(QUESTION).encode().replace(b"2475.0", b"NaN"), "invalid", "$"),
    "a mistyped input": (json.dumps(QUESTION).encode().replace(b"2475.0", b'"far"'), "invalid", "$.inputs.distance"),
    "nested 10,000 deep": (b'{"more": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "invalid", "$"),
    "a naive time": (json.dumps({**QUESTION, "at": "2013-02-04T17:46:40"}).encode(), "invalid", "$.at"),
}  # fmt: skip
UNROUTABLE: dict[str, tuple[Headers, str]] = {
    "no correlation id": ({CORRELATION_ID: None}, "no_correlation_id"),
    "a correlation id of 65 bytes": ({CORRELATION_ID: b"x" * 65}, "bad_correlation_id"),
    "no reply topic": ({REPLY_TOPIC: None}, "no_reply_topic"),
    "a reply topic that is an event topic": ({REPLY_TOPIC: b"%s.departed"}, "reply_topic_not_allowed"),
    "a reply topic of ours": ({REPLY_TOPIC: b"%s.late.v1.outcomes"}, "reply_topic_not_allowed"),
    "a reply topic that only begins so": ({REPLY_TOPIC: b"%s.repliesandmore"}, "reply_topic_not_allowed"),
    "a reply topic of another namespace": ({REPLY_TOPIC: b"other.replies"}, "reply_topic_not_allowed"),
    "a reply topic that is no UTF-8": ({REPLY_TOPIC: b"%s.replies\xff"}, "reply_topic_not_allowed"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose scoring role serves a release."""
    folder, name = tmp_path_factory.mktemp("project"), f"bad-requests-{uuid.uuid4().hex[:12]}"
    project = write_project(folder, name, kafka=kafka, redis=redis_url)
    with project.running("scoring"):
        project.served("scoring", 2)
        project.deploy()
        yield project


def test_what_is_wrong_is_rejected_with_its_reason_and_path_and_the_next_is_served(project: Project) -> None:
    asked = {ask(project, value): (name, reason, path) for name, (value, reason, path) in REJECTED.items()}
    last = ask(project)

    answers = replies(project, {*asked, last})

    for correlation_id, (name, reason, path) in asked.items():
        [reply] = answers[correlation_id]
        assert (reply["status"], reply["reason"]) == ("rejected", reason), name
        assert reply["message"].startswith(f"cannot read request: {path}: "), name
        assert len(reply["message"]) < 250, name
    assert is_served(answers[last])
    assert len(project.records(f"{project.name}.late.v1.outcomes")) == 1


def test_what_cannot_be_routed_is_counted_and_nothing_is_written_elsewhere(project: Project) -> None:
    elsewhere = [f"{project.name}.departed", f"{project.name}.arrived", f"{project.name}.late.v1.outcomes"]
    before = [len(project.records(topic)) for topic in elsewhere]
    counted = unroutable(project)

    for headers, _ in UNROUTABLE.values():
        ask(
            project,
            headers={name: value and value.replace(b"%s", project.name.encode()) for name, value in headers.items()},
        )
    last = ask(project)

    assert is_served(replies(project, {last})[last])
    expected = {reason: sum(reason == each for _, each in UNROUTABLE.values()) for _, reason in UNROUTABLE.values()}
    assert {reason: count - counted[reason] for reason, count in unroutable(project).items()} == expected
    before[-1] += 1  # the last one's prediction
    assert [len(project.records(topic)) for topic in elsewhere] == before


def test_a_header_whose_name_is_no_utf8_is_counted_and_the_next_is_served(project: Project, kafka: str) -> None:
    before = unroutable(project)["no_correlation_id"]

    send_foreign(kafka, f"{project.name}.late.requests", json.dumps(QUESTION).encode())
    last = ask(project)

    assert is_served(replies(project, {last})[last])
    project.until(lambda: unroutable(project)["no_correlation_id"] == before + 1)
    assert_never_replaced(project)


def test_a_value_as_deep_as_python_can_nest_is_rejected_by_a_process_that_lives_on(project: Project) -> None:
    body = json.dumps(QUESTION).encode()
    asked = {ask(project, body.replace(b"2475.0", b"[" * depth + b"]" * depth)) for depth in range(900, 1_000)}

    answers = replies(project, asked)

    assert {reply["status"] for each in asked for reply in answers[each]} == {"rejected"}
    assert_never_replaced(project)


def test_a_reply_that_cannot_be_delivered_is_counted_and_the_next_is_served(project: Project) -> None:
    ask(project, headers={REPLY_PARTITION: partition_bytes(4_000)})
    last = ask(project)

    assert is_served(replies(project, {last})[last])
    project.until(lambda: project.metric("scoring", "undelivered_records") == 1)


def ask(
    project: Project, value: bytes | None = json.dumps(QUESTION).encode(), *, headers: Headers | None = None
) -> bytes:
    """Send a request that is good but for what is given; return its correlation id."""
    correlation_id = uuid.uuid4().bytes
    given: dict[str, bytes | None] = {
        CORRELATION_ID: correlation_id,
        REPLY_TOPIC: f"{project.name}.replies".encode(),
        REPLY_PARTITION: partition_bytes(0),
        TIMEOUT_MS: b"30000",
        **(headers or {}),
    }
    present = [(name, header) for name, header in given.items() if header is not None]
    project.send(f"{project.name}.late.requests", value, headers=present, partition=0)
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


def assert_never_replaced(project: Project) -> None:
    assert "starting it again" not in project.said()
