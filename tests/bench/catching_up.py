"""How fast the features role reads a topic that is already full, what that costs, and whether the result is right."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from streams.store.redis import RedisStore
from tests.bench.card_features import Project, differing, until
from tests.bench.payments import Payments
from tests.bench.processes import Cost, cpu_s, peak_rss_mb

POLL_S = 0.01
"""How often the rows are looked at, and how exact the times are."""

_START_S = 60.0
_LONGEST_S = 600.0
_CHECKED = 200
_SAMPLED = 1_000


@dataclass(frozen=True, slots=True)
class Caught:
    """One reading of the whole topic."""

    cost: Cost
    redis_cpu_s: float
    steps_ms: Sequence[float]
    """Between one advance of a partition's row and the next: how old a value read meanwhile can be by our doing."""


def catch_up(made: Project, store: RedisStore, count: int, *, profile: Path | None = None) -> Caught:
    """Run the role from the first row's creation, before the first record is read, to the last row's advance."""
    client = redis.Redis.from_url(made.redis)
    with made.running(profile=profile) as pid:
        until(lambda: bool(made.rows(store)), _START_S, "the first row", every_s=POLL_S / 2)
        begun_s, cpu_at, redis_at = time.perf_counter(), cpu_s(pid), _redis_cpu_s(client)
        moved: dict[str, tuple[int, float]] = {}
        steps_ms: list[float] = []
        while True:
            rows, now_s = made.rows(store), time.perf_counter()
            for name, row in rows.items():
                at, since_s = moved.get(name, (0, begun_s))
                if row.next > at:
                    steps_ms.append((now_s - since_s) * 1_000)
                    moved[name] = (row.next, now_s)
            if sum(row.read for row in rows.values()) >= count:
                break
            if now_s - begun_s > _LONGEST_S:
                raise TimeoutError(f"the role did not read {count} events in {_LONGEST_S:.0f} s: {made.said()[-2000:]}")
            time.sleep(POLL_S)
        cost = Cost(count, now_s - begun_s, cpu_s(pid) - cpu_at, peak_rss_mb(pid), {})
        redis_s = _redis_cpu_s(client) - redis_at
    client.close()
    return Caught(cost, redis_s, steps_ms)


def prove(made: Project, store: RedisStore, payments: Payments) -> None:
    """Check the tallies against the events, and 200 cards, the busiest and any, against a plain recomputation.

    Raises:
        ValueError: something is not right.
    """
    rows = made.rows(store).values()
    expected = {"applied": payments.count, "late": 0, "duplicate": 0, "too_late": 0, "no_entity": 0, "dead": 0}
    got = {tally: sum(getattr(row, tally) for row in rows) for tally in expected}
    if got != expected:
        raise ValueError(f"tallies: expected {expected}, got {got}")
    chance, cards = random.Random(payments.seed), sorted(set(payments.card.tolist()))
    chosen = sorted({*cards[: _CHECKED // 2], *chance.sample(cards, _CHECKED)})[:_CHECKED]
    for as_of_ms in (payments.last_ms, payments.last_ms + 2 * 3_600_000):
        wrong = differing(made, store, payments, chosen, as_of_ms)
        if wrong:
            raise ValueError(f"{len(wrong)} values of {_CHECKED} cards are wrong as of {as_of_ms}: {wrong[:3]}")


def redis_size(made: Project) -> Mapping[str, float]:
    """Return what Redis keeps per entity: MEMORY USAGE of sampled cells, and the size of their values."""
    client = redis.Redis.from_url(made.redis)
    keys = sorted(client.scan_iter(f"{made.name}:*{made.view.key}:*", count=10_000))
    sampled = random.Random(1).sample(keys, min(_SAMPLED, len(keys)))
    pipeline = client.pipeline(transaction=False)
    for key in sampled:
        pipeline.memory_usage(key, samples=0)
    used: list[Any] = pipeline.execute()
    for key in sampled:
        pipeline.hvals(key)
    values: list[Any] = pipeline.execute()
    peak = client.info("memory")["used_memory"]
    client.close()
    return {
        "redis_bytes_per_entity": round(statistics.fmean(used)),
        "redis_bytes_per_entity_largest": max(used),
        "redis_value_bytes_per_entity": round(statistics.fmean(sum(map(len, each)) for each in values)),
        "redis_entities": len(keys),
        "redis_used_memory_mb": round(peak / 1e6, 1),
    }


def _redis_cpu_s(client: redis.Redis) -> float:
    found = client.info("cpu")
    return float(found["used_cpu_sys"]) + float(found["used_cpu_user"])
