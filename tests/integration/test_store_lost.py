"""Redis lost while roles run: the state waits, callers are answered, nothing is missing or counted twice afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.client import ScoringClient
from headrace import servers
from streams.messages import ScoreReply
from tests.apps.project import (
    AT_MS,
    QUESTION,
    Project,
    bring_redis_back,
    children_of,
    departed,
    take_redis_away,
    write_project,
)

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

ORIGINS = ("JFK", "LGA", "EWR")
EVENTS = 600
REQUESTS = 100
TIMEOUT_MS = 10_000


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project with a Redis of its own, which may be killed."""
    del redis_url  # skips where there is no Redis to start
    started = servers.start(tmp_path, only=("redis",))
    assert started.redis is not None
    yield write_project(tmp_path, unique, kafka=kafka, redis=started.redis)
    servers.stop(tmp_path)


@pytest.mark.parametrize("loss", ["killed", "frozen"])
def test_the_state_waits_callers_are_answered_and_nothing_is_skipped_or_counted_twice(
    project: Project, loss: str
) -> None:
    topic = f"{project.name}.departed"
    with project.running("features", "scoring") as supervisor:
        project.served("features", 4)
        project.served("scoring", 2)
        project.deploy()
        before = children_of(supervisor.pid)
        publish(project, topic, range(EVENTS // 2))
        project.until(lambda: project.metric("features", "row_records", fold="intake") > EVENTS // 10)

        take_redis_away(project, loss)
        publish(project, topic, range(EVENTS // 2, EVENTS))
        without, late = asyncio.run(ask(project))
        project.until(lambda: "features waits: cannot use the online store" in project.said())
        bring_redis_back(project, loss)

        project.until(lambda: project.metric("features", "row_records", fold="intake") == EVENTS)
        project.until(lambda: "ok" in {each.status for each in asyncio.run(ask(project, 1))[0]})
        values = {origin: project.features(origin)["values"] for origin in ORIGINS}
        audit = project.audit()
        after = children_of(supervisor.pid)

    assert (after, late) == (before, 0)
    assert {each.status for each in without} <= {"degraded", "error"}
    assert {each.reason for each in without} == {"features_unavailable"}
    assert len(without) == REQUESTS
    assert values == recount()
    assert (audit["lost"], audit["counted_twice"], audit["problems"]) == (0, 0, [])


def publish(project: Project, topic: str, numbers: range) -> None:
    for number in numbers:
        project.send(topic, departed(number, **event(number)), key=event(number)["origin"].encode())


def event(number: int) -> dict[str, Any]:
    """Return what differs between the events: an origin, a whole delay, and a time in the last 100 min or days ago."""
    minutes = number % 100 if number % 7 else 60 * 30
    return {
        "origin": ORIGINS[number % len(ORIGINS)],
        "delay_min": float(number % 11),
        "departed_at": AT_MS - minutes * 60_000 - 1,
    }


def recount() -> dict[str, dict[str, float | None]]:
    """Return what the features must be, counted plainly."""
    found: dict[str, Counter[str]] = {origin: Counter() for origin in ORIGINS}
    for each in map(event, range(EVENTS)):
        age_ms, counts = AT_MS - each["departed_at"], found[each["origin"]]
        counts["flights_1h"] += age_ms <= 3_600_000
        counts["flights_24h"] += age_ms <= 24 * 3_600_000
        counts["delay_24h"] += each["delay_min"] if age_ms <= 24 * 3_600_000 else 0.0
    return {origin: dict(counts) for origin, counts in found.items()}


async def ask(project: Project, count: int = REQUESTS) -> tuple[list[ScoreReply], int]:
    """Ask many at once; return the outcomes, one each, and how many replies came beside them."""
    async with ScoringClient(project.name, kafka=project.kafka) as client:
        question = {name: value for name, value in QUESTION.items() if name != "model"}
        asked = [client.score("late", **question, timeout_ms=TIMEOUT_MS) for _ in range(count)]
        return list(await asyncio.gather(*asked)), client.late_replies
