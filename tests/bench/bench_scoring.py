"""How long a score takes, client to client, and what is left of it under overload, swaps and company.

``python -m tests.bench.bench_scoring [--quick] [--only STAGE…] [--without STAGE…] [--profile FILE]``. A project as a
user would have it (`tests.bench.scored_project`), real Kafka and Redis, ``headrace run scoring features``, events
beside. Stages: `steady` against a bare librdkafka echo in alternating rounds; `ramp` to the highest rate with p99 of
50 ms; `overload` at three times that; `faust`, stock Faust's ``agent.ask``; `swap`, a release each second; `observing`,
what shadow and prediction log cost; `company`, the figure with all roles on. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.bench.asking import Callers, Stage, callers
from tests.bench.asking_faust import measure_faust
from tests.bench.bench_echo import WARM_S, Client, prepare
from tests.bench.feeding import fed
from tests.bench.flood import flood
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.bench.payments import Payments
from tests.bench.scored_project import MODEL, Past, Scored, questions, scored_project
from tests.bench.scoring_stages import highest_rate, hot_swap, overload, paired, steady
from tests.bench.timing import percentiles

STAGES = ("steady", "ramp", "overload", "faust", "swap", "observing", "company")
FAUST_RATE, SWAP_RATE, OBSERVING_RATE = 200, 500, 500
LEARNING_ROLES = ("scoring", "features", "learning", "monitoring")


@contextmanager
def floor_of(kafka: str) -> Iterator[Client]:
    """Have the bare echo of `bench_echo` answer for as long as the block lasts."""
    topic = f"floor-{uuid.uuid4().hex[:8]}"
    asyncio.run(prepare(kafka, [topic]))
    command = [sys.executable, "-m", "tests.bench.bench_echo", "--kafka", kafka, "--serve", "floor", "--topic", topic]
    process, client = Popen(command), Client(kafka, topic)
    try:
        client.wait_until_answered(60)
        client.run(200, WARM_S / 2)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(15)


@contextmanager
def answering(made: Scored, roles: tuple[str, ...], rate: int) -> Iterator[tuple[Callers, int]]:
    """Have roles up, fed, and callers whose requests are answered; yield them and the pid of ``headrace run``."""
    with ExitStack() as opened:
        supervisor = opened.enter_context(made.running(*roles))
        opened.enter_context(fed(made.kafka, f"{made.name}.payments", rate))
        asking = opened.enter_context(callers(made.kafka, made.name, MODEL))
        asking.until_answered()
        yield asking, supervisor


def measure(made: Scored, trained: list[str], asked: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of every stage that was asked for."""
    found: dict[str, Any] = {}
    stages = set(asked.only)
    with answering(made, ("scoring", "features"), asked.events_per_s) as (asking, supervisor):
        if "steady" in stages:
            with floor_of(made.kafka) as floor:
                pid = made.pid_of("scoring", supervisor)
                found |= steady(made, asking, floor, pid, rate=asked.rate, seconds=asked.seconds)
        if stages & {"ramp", "overload"}:
            cards = Payments(count=100_000).card.tolist()
            with flood(made.kafka, made.name, MODEL, questions(cards, seed=2)) as flooding:
                found |= highest_rate(flooding, seconds=asked.step_seconds) if "ramp" in stages else {}
                capacity = asked.capacity or found.get("max_rate_p99_50ms", 0)
                if "overload" in stages and capacity:
                    found |= overload(flooding, capacity, seconds=asked.seconds)
        if "swap" in stages:
            found |= hot_swap(made, asking, trained, rate=SWAP_RATE, seconds=asked.seconds)
    if "observing" in stages:
        found |= measure_observing(made, trained[0], asked)
    if "company" in stages:
        found |= measure_company(made, asked)
    if "faust" in stages:
        found |= measure_faust(made, trained[0], rate=FAUST_RATE, seconds=min(30.0, asked.seconds))
    return found


def measure_observing(made: Scored, release: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return what shadow and prediction log cost, with a role that can do without."""
    with ExitStack() as opened:
        pid = opened.enter_context(made.running(module=("tests.bench.quiet_role",)))
        asking = opened.enter_context(callers(made.kafka, made.name, MODEL, seed=3))
        asking.until_answered()
        stage = Stage(rate=min(OBSERVING_RATE, asked.rate), seconds=asked.pair_seconds)
        return paired(made, asking, release, pid, stage=stage, pairs=asked.pairs)


def measure_company(made: Scored, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the figure with all roles on."""
    with answering(made, LEARNING_ROLES, asked.events_per_s) as (asking, _):
        asking.ask(Stage(rate=asked.rate, seconds=2))
        told = asking.ask(Stage(rate=asked.rate, seconds=asked.seconds))
    replies = {f"company_{status}": count for status, count in told.by_status.items()}
    return {**percentiles("company", told.latencies_ms), "company_requests": len(told.told), **replies}


def profiled(made: Scored, asked: argparse.Namespace) -> None:
    """Answer one stage under cProfile; the file is for ``python -m pstats`` and its like."""
    module = ("cProfile", "-o", str(asked.profile.resolve()), "-m", "headrace.role")
    with ExitStack() as opened:
        opened.enter_context(made.running("scoring", module=module))
        asking = opened.enter_context(callers(made.kafka, made.name, MODEL))
        asking.until_answered()
        told = asking.ask(Stage(rate=asked.rate, seconds=asked.seconds))
    say(f"under the profiler: {percentiles('', told.latencies_ms)}; python -m pstats {asked.profile}")


def prepared(made: Scored, asked: argparse.Namespace) -> list[str]:
    """Publish the past, have it read, and train two releases; return them, the one in force first."""
    made.fill(asked.questions)
    begun_s = time.monotonic()
    with made.running("features"):
        made.until_read(made.past.count)
    say(f"{made.past.count:,} events read in {time.monotonic() - begun_s:.0f} s")
    other = [] if "swap" not in asked.only else [made.train(most=asked.questions * 3 // 4)]
    return [made.train(), *other]


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1_000, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stage")
    parser.add_argument("--step-seconds", type=float, default=6.0, help="of each step of the ramp")
    parser.add_argument("--pair-seconds", type=float, default=8.0, help="of each half of a pair")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--events", type=int, default=200_000, help="published before")
    parser.add_argument("--events-per-s", type=int, default=500, help="published beside")
    parser.add_argument("--questions", type=int, default=20_000, help="that the release is trained on")
    parser.add_argument("--capacity", type=float, help="that is overloaded; else what the ramp finds")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--only", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--without", nargs="*", choices=STAGES, default=[])
    parser.add_argument("--quick", action="store_true", help="a smoke of a few seconds a stage")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the scoring role there, and end")
    asked = parser.parse_args()
    if asked.quick:
        asked.seconds, asked.step_seconds, asked.pair_seconds, asked.pairs = 3.0, 1.0, 1.0, 2
        asked.events, asked.questions, asked.rate = 5_000, 800, 200
        asked.without += ["faust", "company", "ramp"]
        asked.capacity = asked.capacity or asked.rate
    asked.only = [stage for stage in asked.only if stage not in asked.without]
    return asked


def main() -> None:
    """Measure what the command line asks for."""
    asked = arguments()
    with local_kafka() as kafka, local_redis() as redis_url:
        past = Past(time.time_ns() // 1_000_000, count=asked.events)
        name = f"scored-{uuid.uuid4().hex[:8]}"
        with scored_project(name, kafka=kafka, redis_url=redis_url, past=past, trees=asked.trees) as made:
            trained = prepared(made, asked)
            if asked.profile is not None:
                profiled(made, asked)
                return
            result = measure(made, trained, asked)
    first = {name: value for name, value in result.items() if name.endswith(("_ratio", "_share"))}
    sys.stdout.write(json.dumps(first | result) + "\n")


if __name__ == "__main__":
    main()
