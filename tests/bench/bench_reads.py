"""How long a read of finalised features takes: 20 of one entity, and 20 of each of 100 in one call.

``python -m tests.bench.bench_reads``. The store is filled by the features role itself. The round trip of this machine
is measured bare in the same run; what it is short of 200 us, that of a network, is added in the ``at_200us`` figures.
Also the size of an entity with five events in four windows. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import hiredis

from streams.entities import asked_key
from streams.reading import FeatureReader
from streams.store import Question
from streams.store.redis import RedisStore
from tests.bench.card_features import Project, project
from tests.bench.catching_up import catch_up, redis_size
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.bench.payments import START_MS, Payments, fill, value_of
from tests.bench.timing import percentiles, without_collections

TWENTY = """
    n = hr.count().over("10m", "1h", "3h", "24h")
    spent = hr.sum(Payment.amount).over("10m", "1h", "3h", "24h")
    mean = hr.mean(Payment.amount).over("10m", "1h", "3h", "24h")
    least = hr.min(Payment.amount).over("10m", "1h", "3h", "24h")
    most = hr.max(Payment.amount).over("10m", "1h", "3h", "24h")
"""
FOUR_WINDOWS = """
    n = hr.count().over("10m", "1h", "24h", "7d")
    spent = hr.sum(Payment.amount).over("10m", "1h", "24h", "7d")
"""
ROUND_TRIP_MS = 0.2
MANY = 100
MINUTES_OF_FIVE = (0, 3, 20, 50, 170)
"""When the five events of the small entity happen: each in a tile of its own in most windows."""


def measure_reads(kafka: str, redis_url: str, reads: int) -> dict[str, Any]:
    """Return percentiles of reads of one and of 100 entities, and of the bare round trip."""
    name, payments = f"reads-{uuid.uuid4().hex[:8]}", Payments(count=100_000, cards=1_000)
    fill(kafka, name, payments.records())
    with project(name, name, kafka=kafka, redis_url=redis_url, features=TWENTY) as made, made.store() as store:
        catch_up(made, store, payments.count)
        cards = [f"c{card:05d}" for card in sorted(set(payments.card.tolist()))]
        bare = bare_round_trips_ms(made, reads)
        added_ms = max(0.0, ROUND_TRIP_MS - bare["ping_p50_ms"])
        one_ms = timed_ms(reads, _read(made, store, cards, 1, payments.last_ms))
        many_ms = timed_ms(reads // 10, _read(made, store, cards, MANY, payments.last_ms))
        one, many = with_network("read", one_ms, added_ms), with_network(f"read_{MANY}", many_ms, added_ms)
        size = redis_size(made)
    features = len(made.view.features)
    say(f"{features} features: p99 {one['read_p99_ms']} ms, of {MANY} entities {many['read_100_p99_ms']} ms; {bare}")
    return {
        **one,
        **many,
        **bare,
        "added_ms": round(added_ms, 3),
        "features": features,
        "entities": len(cards),
        "reads": reads,
        "reads_redis_value_bytes": size["redis_value_bytes_per_entity"],
    }


def _read(made: Project, store: RedisStore, cards: Sequence[str], count: int, as_of_ms: int) -> Callable[[], None]:
    """Return one read of some of ``cards``, every value finalised."""
    reader, chance = FeatureReader([made.view]), random.Random(3)

    def read() -> None:
        question = reader.question([{"card": card} for card in chance.sample(cards, count)])
        answer = store.read(question, timeout_ms=5_000)
        for index in range(count):
            served = reader.serve(question, answer, index, as_of_ms)
            if served.absent or len(served.values) != len(made.view.features):
                raise ValueError(f"not all features were served: {served}")

    return read


def bare_round_trips_ms(made: Project, count: int) -> dict[str, float]:
    """Return the round trip of a PING and of the HGETALL of one cell on a bare socket."""
    at = urlsplit(made.redis)
    [key, *_] = _keys(made)
    with closing(socket.create_connection((at.hostname, at.port or 6379))) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        commands = {
            "ping": hiredis.pack_command(("PING",)),
            "hgetall": hiredis.pack_command(("HGETALL", key)),  # type: ignore[arg-type]  # its stub knows one word
        }
        found: dict[str, float] = {}
        for name, command in commands.items():
            took_ms = timed_ms(count, lambda command=command: _asked(wire, command))  # type: ignore[misc]
            found |= percentiles(name, took_ms, digits=4)
    return found


def _asked(wire: socket.socket, command: bytes) -> None:
    reader = hiredis.Reader()
    wire.sendall(command)
    while reader.gets() is False:
        reader.feed(wire.recv(65_536))


def _keys(made: Project) -> list[bytes]:
    import redis  # noqa: PLC0415  # only to find a key: reads are timed on our store and on a bare socket

    with closing(redis.Redis.from_url(made.redis)) as client:
        return sorted(client.scan_iter(f"{made.name}:*{made.view.key}:*", count=10_000))


def measure_five_events(kafka: str, redis_url: str) -> dict[str, Any]:
    """Return what an entity with five events in four windows takes: encoded state, and in Redis."""
    name, card = f"five-{uuid.uuid4().hex[:8]}", b"c00001"
    times = [START_MS + minute * 60_000 for minute in MINUTES_OF_FIVE]
    fill(kafka, name, [(card, value_of(number, card, 1_999, at_ms)) for number, at_ms in enumerate(times)])
    with project(name, name, kafka=kafka, redis_url=redis_url, features=FOUR_WINDOWS) as made, made.store() as store:
        catch_up(made, store, len(times))
        entity = asked_key(made.view.entity_names, {"card": card.decode()})
        assert entity is not None
        [cells] = store.read(Question(cells=[(made.view.key, entity)]), timeout_ms=5_000).cells
        used = redis_size(made)["redis_bytes_per_entity"]
    return {
        "five_events_state_bytes": sum(len(cell.state) for cell in cells.values()),
        "five_events_redis_bytes": used,
        "five_events_ids_kept": False,
    }


def timed_ms(count: int, call: Callable[[], None]) -> list[float]:
    """Return how long each of ``count`` calls took, after a tenth as many to warm up."""
    for _ in range(max(1, count // 10)):
        call()
    found = []
    with without_collections():
        for _ in range(count):
            begun_s = time.perf_counter()
            call()
            found.append((time.perf_counter() - begun_s) * 1_000)
    return found


def with_network(name: str, took_ms: Sequence[float], added_ms: float) -> dict[str, float]:
    """Return percentiles as measured, and over a round trip of 200 us."""
    over_network = [each + added_ms for each in took_ms]
    return {**percentiles(name, took_ms), **percentiles(f"{name}_at_200us", over_network)}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=5_000)
    asked = parser.parse_args()
    with local_kafka() as kafka, local_redis() as redis_url:
        result = measure_reads(kafka, redis_url, asked.reads) | measure_five_events(kafka, redis_url)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
