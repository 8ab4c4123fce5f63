"""Spring's `ReplyingKafkaTemplate`, unchanged, asks the real scoring role on a real Kafka, and gets its answers."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.project import QUESTION, Project, write_project
from tests.java import FOLDER, Java, spring_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

BODIES = [json.dumps({**QUESTION, "label_key": f"F{number}"}) for number in range(20)]


@pytest.fixture(scope="module")
def java() -> Java:
    """Return a Java with the client's jars."""
    return spring_kafka()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, java: Java, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose scoring role serves a release."""
    del java  # first: without one, nothing else need be started
    folder, name = tmp_path_factory.mktemp("project"), f"spring-{uuid.uuid4().hex[:12]}"
    project = write_project(folder, name, kafka=kafka, redis=redis_url)
    with project.running("scoring"):
        project.served("scoring", 2)
        project.deploy()
        yield project


def ask(project: Project, java: Java, into: Path, partition: int, *bodies: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the partition and the body of each reply that Spring matched to its request, in the order asked."""
    said: subprocess.CompletedProcess[str] = java.run(
        FOLDER / "SpringClient.java",
        project.kafka,
        f"{project.name}.late.requests",
        f"{project.name}.replies",
        str(partition),
        *bodies,
        into=into,
    )
    assert said.returncode == 0, said.stderr[-3_000:]
    lines = [line.partition(" ") for line in said.stdout.splitlines()]
    return [(int(partition), json.loads(reply)) for partition, _, reply in lines]


def test_every_request_of_a_spring_client_is_answered_in_its_own_partition(
    project: Project, java: Java, tmp_path: Path
) -> None:
    answers = ask(project, java, tmp_path, 11, *BODIES)

    assert [partition for partition, _ in answers] == [11] * len(BODIES)
    assert {reply["status"] for _, reply in answers} <= {"ok", "degraded"}  # a busy machine's features may be late
    assert all("online" in reply["scores"] for _, reply in answers)
    assert len({reply["request_id"] for _, reply in answers}) == len(BODIES)


def test_a_spring_client_that_reads_in_a_group_is_answered_and_its_mistakes_are_said(
    project: Project, java: Java, tmp_path: Path
) -> None:
    (_, served), (_, refused) = ask(project, java, tmp_path, -1, BODIES[0], '{"model": "late"}')

    assert "online" in served["scores"]
    assert (refused["status"], refused["reason"]) == ("rejected", "invalid")
    assert "$.entities.origin" in refused["message"]
