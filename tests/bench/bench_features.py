"""How fast windowed features are kept: ours against peers and a floor, on the same topic in the same run.

``python -m tests.bench.bench_features [--quick] [--peers floor] [--profile FILE]``. Per card, count and sum over ten
minutes, an hour and a day of a million payments; then the uniform case, and how soon an event is readable. Ours is
``headrace run features`` with state durable in Redis; each peer runs in an environment of its own, the slow ones for a
bounded time. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.card_features import project
from tests.bench.catching_up import Caught, catch_up, prove, redis_size
from tests.bench.freshness import measure_freshness
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.bench.payments import Payments, fill
from tests.bench.peers import PEERS, run_peer
from tests.bench.processes import Cost
from tests.bench.timing import percentiles
from tests.bench.uniform import measure_uniform

FRESH_RATE = 5_000


def measure_ours(kafka: str, redis_url: str, topic: str, payments: Payments, rounds: int) -> dict[str, Any]:
    """Return our figures: the median over rounds, each from nothing under a namespace of its own."""
    caught: list[Caught] = []
    size: dict[str, Any] = {}
    for round_ in range(rounds):
        with (
            project(f"bench-{uuid.uuid4().hex[:8]}", topic, kafka=kafka, redis_url=redis_url) as made,
            made.store() as store,
        ):
            found = catch_up(made, store, payments.count)
            prove(made, store, payments)
            size = dict(redis_size(made))
        caught.append(found)
        say(f"ours {round_ + 1}/{rounds}: {line_of(found.cost)}, Redis {found.redis_cpu_s:.1f} s; proven right")
    return {
        **shown("ours", median_cost([each.cost for each in caught])),
        "ours_redis_cpu_s_per_100k": round(
            statistics.median(each.redis_cpu_s for each in caught) / payments.count * 100_000, 3
        ),
        **percentiles("catching_up_step", [step for each in caught for step in each.steps_ms], digits=1),
        **size,
    }


def measure(kafka: str, redis_url: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return every figure that was asked for."""
    payments = Payments(count=asked.events)
    topic = f"payments-{uuid.uuid4().hex[:8]}"
    written = fill(kafka, topic, payments.records())
    say(f"{payments.count:,} events of {written / payments.count:.1f} bytes, {payments.seen:,} cards")
    ours = measure_ours(kafka, redis_url, topic, payments, asked.rounds)
    ratios: dict[str, float | None] = {}
    figures: dict[str, Any] = {}
    for name in asked.peers:
        found, why = run_peer(name, kafka, topic, payments.count, seconds=asked.seconds, rounds=asked.rounds)
        best = max(found, key=lambda kind: found[kind].per_s, default=None)
        ratios[f"{name}_ratio"] = None if best is None else round(ours["ours_per_s"] / found[best].per_s, 3)
        for kind, cost in found.items():
            figures |= shown(kind, cost) | {f"{kind}_events": cost.events}
        if why is not None:
            figures[f"{name}_missing"] = why
    figures |= measure_uniform(kafka, redis_url, count=asked.uniform_events) if asked.uniform_events else {}
    figures |= (
        measure_freshness(kafka, redis_url, rate=5_000, seconds=asked.fresh_seconds) if asked.fresh_seconds else {}
    )
    return {**ratios, **ours, **figures, "events": payments.count, "entities": payments.seen}


def fresh(kafka: str, redis_url: str, seconds: float) -> Mapping[str, Any]:
    """Return how soon events are readable; no figure, and the reason, where the role could not keep up."""
    try:
        return measure_freshness(kafka, redis_url, rate=FRESH_RATE, seconds=seconds)
    except TimeoutError as error:
        say(str(error))
        return {"freshness_p50_ms": None, "freshness_p99_ms": None, "freshness_missing": str(error)}


def shown(kind: str, cost: Cost) -> dict[str, Any]:
    """Return a cost as figures."""
    return {
        f"{kind}_per_s": round(cost.per_s),
        f"{kind}_cpu_s_per_100k": round(cost.cpu_s_per_100k, 3),
        f"{kind}_rss_mb": round(cost.rss_mb),
    }


def line_of(cost: Cost) -> str:
    """Return a cost for people."""
    return f"{cost.per_s:,.0f}/s, {cost.cpu_s_per_100k:.2f} CPU s per 100k, {cost.rss_mb:.0f} MB"


def median_cost(costs: list[Cost]) -> Cost:
    """Return the round of median speed."""
    return sorted(costs, key=lambda cost: cost.per_s)[len(costs) // 2]


def profiled(kafka: str, redis_url: str, payments: Payments, profile: Path) -> None:
    """Read the topic once under cProfile; the file is for ``python -m pstats`` and its like."""
    topic = f"payments-{uuid.uuid4().hex[:8]}"
    fill(kafka, topic, payments.records())
    with (
        project(f"bench-{uuid.uuid4().hex[:8]}", topic, kafka=kafka, redis_url=redis_url) as made,
        made.store() as store,
    ):
        found = catch_up(made, store, payments.count, profile=profile.resolve())
    say(f"under the profiler: {line_of(found.cost)}; python -m pstats {profile}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of ours and the fast peers; the median counts")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a slow peer gets")
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=list(PEERS))
    parser.add_argument("--uniform-events", type=int, default=300_000, help="of the uniform case; 0 leaves it out")
    parser.add_argument("--fresh-seconds", type=float, default=60.0, help="at 5,000 events each; 0 leaves them out")
    parser.add_argument("--quick", action="store_true", help="one round of ours and the floor, and nothing else")
    parser.add_argument("--profile", type=Path, help="write a cProfile of our process there, and end")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.peers, asked.uniform_events, asked.fresh_seconds = 1, ["floor"], 0, 0
    with local_kafka() as kafka, local_redis() as redis_url:
        if asked.profile is not None:
            profiled(kafka, redis_url, Payments(count=asked.events), asked.profile)
            return
        result = measure(kafka, redis_url, asked)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
