"""The worst case of a store per entity: every event belongs to another of 50,000 cards, so each is a cell to write."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import redis

from tests.bench.card_features import forget, project
from tests.bench.catching_up import catch_up, prove, redis_size
from tests.bench.local_kafka import say
from tests.bench.payments import Payments, fill
from tests.bench.peers import run_peer

CARDS = 50_000
PIPELINED = 1_000


def measure_uniform(kafka: str, redis_url: str, *, count: int) -> Mapping[str, Any]:
    """Return our rate, the floor's, and how many bare writes of such cells one Python client does in a second."""
    name, payments = f"uniform-{uuid.uuid4().hex[:8]}", Payments(count=count, cards=CARDS, skew=None)
    fill(kafka, name, payments.records())
    with project(name, name, kafka=kafka, redis_url=redis_url) as made, made.store() as store:
        found = catch_up(made, store, count)
        prove(made, store, payments)
        size = redis_size(made)
    floor, _ = run_peer("floor", kafka, name, count, seconds=0, rounds=1)
    bare = bare_writes_per_s(redis_url, int(size["redis_value_bytes_per_entity"]))
    ours = found.cost.per_s
    say(f"uniform: {ours:,.0f}/s; bare writes of {size['redis_value_bytes_per_entity']} bytes: {bare:,.0f}/s")
    return {
        "uniform_floor_ratio": round(ours / floor["floor"].per_s, 3) if floor else None,
        "uniform_limit_ratio": round(ours / bare, 3),
        "uniform_per_s": round(ours),
        "uniform_cpu_s_per_100k": round(found.cost.cpu_s_per_100k, 3),
        "uniform_redis_cpu_s_per_100k": round(found.redis_cpu_s / count * 100_000, 3),
        "uniform_redis_bytes_per_entity": size["redis_bytes_per_entity"],
        "uniform_limit_per_s": round(bare),
        "uniform_events": count,
        "uniform_entities": payments.seen,
    }


def bare_writes_per_s(redis_url: str, size: int) -> float:
    """Return how many hash fields of ``size`` bytes one client writes a second, each to another key, pipelined."""
    client, namespace, value = redis.Redis.from_url(redis_url), f"bare-{uuid.uuid4().hex[:8]}", b"x" * size
    begun_s = time.perf_counter()
    for first in range(0, CARDS, PIPELINED):
        pipeline = client.pipeline(transaction=False)
        for card in range(first, first + PIPELINED):
            pipeline.hset(f"{namespace}:{card}", "field", value)
        pipeline.execute()
    seconds = time.perf_counter() - begun_s
    client.close()
    forget(redis_url, namespace)
    return CARDS / seconds
