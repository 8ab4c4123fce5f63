"""How soon each bad request is answered, alone: from when the broker took it to when it took the reply.

``python -m tests.bench.bench_bad_requests [--rounds N]``. The table of `tests.bad_requests`, over Kafka, on a topic
that takes 8 MiB. Both times are the broker's, in ms. The last line is one JSON object, the slowest requests by name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import uuid
from pathlib import Path

from streams.request_reply import CORRELATION_ID
from tests.apps.project import Project, write_project
from tests.bad_requests import REJECTED, SERVED, Bad
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.integration.test_bad_requests import ask, create_wide, replies

_SLOWEST = 5
_WARM = 20


def appended_ms(project: Project, topic: str) -> dict[bytes, int]:
    """Return when the broker took each record of a topic, by correlation id."""
    times: dict[bytes, int] = {}
    for each in project.records(f"{project.name}.{topic}"):
        correlation_id = dict(each.headers() or ())[CORRELATION_ID]
        assert isinstance(correlation_id, bytes)
        times[correlation_id] = each.timestamp()[1]
    return times


def measure(project: Project, rounds: int) -> dict[str, list[int]]:
    """Return how long each request took, by name, ms: one after the other, each once in every round."""
    for _ in range(_WARM):
        replies(project, {ask(project)})
    table = {name: bad for name, (bad, _, _) in REJECTED.items()} | dict(SERVED) | {"a good one": Bad()}
    asked: dict[bytes, str] = {}
    for round_ in range(rounds):
        for name, bad in table.items():
            if bad.headers.get(CORRELATION_ID) is None:
                one = ask(project, bad)
                asked[one] = name
                replies(project, {one})
        say(f"round {round_ + 1}/{rounds}")
    begun, ended = appended_ms(project, "late.requests"), appended_ms(project, "replies")
    took: dict[str, list[int]] = {}
    for one, name in asked.items():
        took.setdefault(name, []).append(ended[one] - begun[one])
    return took


def main() -> None:
    """Measure; the last line says the worst of all, and of whom."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    name = f"bad-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder, local_kafka() as kafka, local_redis() as redis_url:
        project = write_project(Path(folder), name, kafka=kafka, redis=redis_url)
        create_wide(kafka, f"{name}.late.requests")
        with project.running("scoring"):
            project.served("scoring", 2)
            project.deploy()
            took = measure(project, asked.rounds)
    every = [each for found in took.values() for each in found]
    slowest = sorted(took, key=lambda each: -statistics.median(took[each]))[:_SLOWEST]
    result = {
        "bad_requests": len(took) - 1,
        "asked": len(every),
        "p50_ms": statistics.median(every),
        "max_ms": max(every),
        "within_50_ms": sum(each <= 50 for each in every),
        "slowest_p50_ms": {each: statistics.median(took[each]) for each in slowest},
        "good_p50_ms": statistics.median(took["a good one"]),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
