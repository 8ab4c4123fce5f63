"""How fast labels become weights, and how soon after a label the weights that contain it serve.

``python -m tests.bench.bench_learning [--quick] [--profile FILE]``. An outcomes topic that is already full of
predictions and labels is worked off by ``headrace run learning``, one process bound to one core: joined, examples
written to Kafka and read again, tested and learned, progress and snapshots kept. River alone learns the same vectors in
alternating rounds on the same core. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.store.redis import RedisStore
from tests.bench.card_features import until
from tests.bench.learned_project import LEARNER, Asked, Learned, learned_project
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.bench.personal_update import update_costs
from tests.bench.processes import cpu_s, peak_rss_mb
from tests.bench.serving_labels import measure_serving
from tests.canonical import digest_of

POLL_S = 0.01
_START_S = 60.0
_LONGEST_S = 600.0
_ALONE_S = 300.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What one round came to."""

    count: int
    seconds: float
    cpu_s: float
    rss_mb: float = 0.0

    @property
    def per_s(self) -> float:
        """Examples a second."""
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time an example, microseconds."""
        return self.cpu_s / self.count * 1e6


@contextmanager
def on_one_core() -> Iterator[None]:
    """Let what is started meanwhile run on the last core only; this process may use all."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def learn_ours(made: Learned, store: RedisStore, asked: Asked, *, profile: Path | None = None) -> Rate:
    """Let the learning role work off the outcomes, from its first rows to the last example learned."""
    module = () if profile is None else ("cProfile", "-o", str(profile), "-m", "headrace.role")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        with made.running("learning", module=module) as pid:
            os.sched_setaffinity(0, cores)
            until(lambda: made.has_begun(store), _START_S, f"the role's rows: {made.said()[-500:]}", every_s=POLL_S / 2)
            begun_s, cpu_at = time.perf_counter(), cpu_s(pid)
            until(lambda: made.learned(store) >= asked.count, _LONGEST_S, f"{asked.count} examples", every_s=POLL_S)
            found = Rate(asked.count, time.perf_counter() - begun_s, cpu_s(pid) - cpu_at, peak_rss_mb(pid))
            until(lambda: made.snapshot_at(store) >= asked.count, _START_S, "the last snapshot", every_s=POLL_S)
            return found
    finally:
        os.sched_setaffinity(0, cores)


def learn_alone(asked: Asked) -> Rate:
    """Let River learn the same vectors in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.river_alone", str(asked.count), str(asked.seed)]
    with on_one_core():
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ALONE_S)
    told = json.loads(said.stdout)
    return Rate(told["count"], told["seconds"], told["cpu_s"])


def prove(made: Learned, store: RedisStore, asked: Asked) -> None:
    """Check that every label became one example, and that the snapshot in force is what River makes of them.

    Raises:
        ValueError: something is not right.
    """
    examples = made.examples()
    keys = {each.label_key: each.label for each in examples}
    expected = {f"e{number:07d}": label for number, label in enumerate(asked.labels)}
    if keys != expected or len(examples) != asked.count:
        raise ValueError(f"examples: expected {asked.count} with their labels, got {len(examples)}, {len(keys)} keys")
    if (found := digest_of(made.estimator(store))) != digest_of(made.replayed(examples)):
        raise ValueError(f"{LEARNER}: the snapshot in force is not what River makes of the examples: {found[:12]}")


def throughput(kafka: str, redis_url: str, count: int, rounds: int) -> dict[str, Any]:
    """Return ours and River's rate: medians over alternating rounds, each of ours from nothing."""
    ours, alone, asked = list[Rate](), list[Rate](), Asked(count=count)
    for place in range(rounds):
        alone.append(learn_alone(asked))
        with (
            learned_project(f"learn-{uuid.uuid4().hex[:8]}", kafka=kafka, redis_url=redis_url) as made,
            made.store() as store,
        ):
            made.fill(asked)
            ours.append(learn_ours(made, store, asked))
            prove(made, store, asked)
        say(
            f"round {place + 1}/{rounds}: ours {ours[-1].per_s:,.0f}/s, {ours[-1].cpu_us:.0f} us of CPU each, "
            f"{ours[-1].rss_mb:.0f} MB; River alone {alone[-1].per_s:,.0f}/s; proven right"
        )
    mine_us, river_us = (statistics.median(each.cpu_us for each in found) for found in (ours, alone))
    return {
        "examples_per_s": round(statistics.median(each.per_s for each in ours)),
        "river_alone_per_s": round(statistics.median(each.per_s for each in alone)),
        "cpu_us_per_example": round(mine_us, 1),
        "river_alone_cpu_us_per_example": round(river_us, 1),
        "share_ours": round(1 - river_us / mine_us, 3),
        "rss_mb": round(max(each.rss_mb for each in ours)),
        "examples": count,
    }


def profiled(kafka: str, redis_url: str, count: int, profile: Path) -> None:
    """Work the outcomes off once under cProfile; the file is for ``python -m pstats`` and its like."""
    asked = Asked(count=count)
    with (
        learned_project(f"learn-{uuid.uuid4().hex[:8]}", kafka=kafka, redis_url=redis_url) as made,
        made.store() as store,
    ):
        made.fill(asked)
        found = learn_ours(made, store, asked, profile=profile.resolve())
    say(f"under the profiler: {found.per_s:,.0f}/s; python -m pstats {profile}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000, help="of each round; 0 leaves them out")
    parser.add_argument("--rounds", type=int, default=3, help="of ours and River alone; the median counts")
    parser.add_argument("--labels", type=int, default=200, help="whose way to serving is timed; 0 leaves it out")
    parser.add_argument("--quick", action="store_true", help="a smoke: one round of a few examples")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the learning role there, and end")
    asked = parser.parse_args()
    if asked.quick:
        asked.examples, asked.rounds, asked.labels = 10_000, 1, 20
    with local_kafka() as kafka, local_redis() as redis_url:
        if asked.profile is not None:
            profiled(kafka, redis_url, asked.examples, asked.profile)
            return
        result = throughput(kafka, redis_url, asked.examples, asked.rounds) if asked.examples else {}
        if asked.labels:
            with learned_project(f"serve-{uuid.uuid4().hex[:8]}", kafka=kafka, redis_url=redis_url) as made:
                result |= measure_serving(made, labels=asked.labels)
    result |= {"personal_update_us": update_costs()["update_us"]}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
