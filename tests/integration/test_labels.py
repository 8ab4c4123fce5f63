"""Labels on real servers: what becomes of each is told by one command, which finds what does not add up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from streams import topics
from streams.messages import encode
from streams.partitioning import partition_of
from tests.apps.project import AT_MS, Project, write_project
from tests.learning import prediction

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

FLIGHTS = 20
LABELLED = 15
PARTITIONS = 2
HOUR_MS = 3_600_000


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose learning and features roles run."""
    project = write_project(tmp_path, unique, kafka=kafka, redis=redis_url)
    with project.running("learning", "features"):
        yield project


def pending(project: Project, code: int = 0) -> Mapping[str, Any]:
    """Return what ``headrace models pending`` answers."""
    said = project.command("models", "pending", "late", "--json")
    assert said.returncode == code, said.stderr
    answer: Mapping[str, Any] = json.loads(said.stdout)
    return answer


def send(project: Project, topic: str, key: str, value: bytes) -> None:
    """Publish where our own producers would."""
    project.send(topic, value, key=key.encode(), partition=partition_of(key.encode(), PARTITIONS))


def arrived(flight: str, at_ms: int, delay: object = 30.0) -> bytes:
    """Return the bytes of a label event."""
    return json.dumps({"flight_id": flight, "delay_min": delay, "arrived_at": at_ms}).encode()


def test_every_prediction_and_label_is_accounted_for_and_a_lost_one_is_found(project: Project, redis_url: str) -> None:
    outcomes, labels = topics.outcomes(project.name, project.model), f"{project.name}.arrived"
    for number in range(FLIGHTS):
        flight = f"F{number}"
        asked = encode(prediction(project.model, number, flight, AT_MS))
        for _ in range(2 if number == 0 else 1):
            send(project, outcomes, flight, asked)
        if number < LABELLED:
            project.send(labels, arrived(flight, AT_MS + HOUR_MS), key=flight.encode())
    project.send(labels, arrived("F0", AT_MS + 2 * HOUR_MS, 0.0), key=b"F0")
    project.send(labels, arrived("F16", AT_MS, float("nan")), arrived("F16", AT_MS, "late"), key=b"F16")
    send(project, outcomes, "F16", b"not an outcome")

    project.until(lambda: (found := pending(project))["labels"] == LABELLED + 1 and found["predictions"] == FLIGHTS)
    project.until(lambda: sum(each["dead"] for each in pending(project)["partitions"]) == 1)
    found = pending(project)

    assert (found["matched"], found["timed_out"], found["pending"]) == (LABELLED, 0, FLIGHTS - LABELLED)
    assert (found["revised"], found["duplicates"]) == (1, {"predictions": 1, "labels": 0})
    assert sum(each["counted"] for each in found["partitions"]) == FLIGHTS - LABELLED
    assert found["oldest_pending_ms"] in {HOUR_MS, 2 * HOUR_MS}
    assert found["reconciles"]
    letters = [*project.records(topics.dead_letters(project.name, labels)), *project.records(f"{outcomes}.dlq")]
    assert [dict(each.headers() or ())["dlq.reason"] for each in letters] == [b"not_finite", b"wrong_type", b"bad_json"]

    client = redis.Redis.from_url(redis_url)
    assert client.delete(f"{project.name}:cell:join.late.v1:key/F{FLIGHTS - 1}") == 1
    client.close()
    lost = pending(project, code=1)

    assert not lost["reconciles"]
    assert "waiting predictions, got" in lost["problems"][0]


def test_a_model_without_labels_yet_has_nothing_pending(
    tmp_path: Path, unique: str, kafka: str, redis_url: str
) -> None:
    project = write_project(tmp_path, unique, kafka=kafka, redis=redis_url)

    found = pending(project)

    assert (found["predictions"], found["partitions"], found["reconciles"]) == (0, [], True)
    assert "nothing joined yet" in project.command("models", "pending", "late").stdout
    assert "did you mean 'late'?" in project.command("models", "pending", "lat").stderr
