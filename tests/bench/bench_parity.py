"""Whether what is served is what the log says: a million answers from Redis, each had again by a replay, bit for bit.

``python -m tests.bench.bench_parity [--probes N] [--events N] [--worlds N]``. Two views of payments, by card and by
merchant, with every kind of aggregate there is, over four partitions that a card's payments are spread on. Records are
late within the declared disorder and beyond it, too late, there twice, and no events at all.

How probes are drawn: there are several worlds, one a process, each with payments and questions of its own seed. In each
the online path, engine and chain on Redis, takes turns: one view goes on by 1 to 400 records of one partition, so that
the views stand at different prefixes of the log; now and then 400 questions are asked in one read. A question's card is
drawn as the payments' cards are, or (1 in 50) was never seen; its merchant evenly. Its time is the newest event's, or
one up to the disorder before or two minutes after it, or the edge of a tile of some grid, or 1 ms beside it. The last
line is one JSON object; the exit code is 1 unless all are equal.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from typing import Any
from zlib import crc32

import numpy as np

from batch.prove_parity import ParityProof
from batch.replay_exactly import LogReplay
from batch.serve_again import sources_of
from definitions.declared import ViewDefinition
from streams.aggregates import KINDS
from streams.reading import Asked
from streams.store import Row
from streams.store.redis import RedisStore
from tests.bench.card_features import forget
from tests.bench.local_kafka import local_redis, say
from tests.bench.payments import PARTITIONS, Payments, value_of
from tests.builders import declare
from tests.served import Serving
from tests.unit.batch.memory_history import MemoryHistory

SOURCE = """
from datetime import datetime
import headrace as hr

class Payment(hr.Event, topic="payments", id="id", at="at", disorder="30s", dedupe="10m"):
    id: str
    card: str
    merchant: str
    country: str
    amount: float
    at: datetime

class Cards(hr.Features, on=Payment, by="card", version=1):
    n = hr.count().over("10m", "1h")
    spent = hr.sum(Payment.amount).over("10m")
    mean = hr.mean(Payment.amount).over("1h")
    least = hr.min(Payment.amount).over("1h")
    most = hr.max(Payment.amount).over("10m")
    country = hr.last(Payment.country).over("1h")
    rush = n["10m"] / n["1h"]
    spread = hr.std(Payment.amount).over("1h")
    began = hr.first(Payment.country).over("1h")
    lately = hr.last_k(Payment.amount, 3).over("1h")
    countries = hr.distinct(Payment.country).over("1h")
    usual = hr.quantile(Payment.amount, 0.9).over("1h")
    often = hr.top_k(Payment.country, 2).over("1h")
    pace = hr.decayed_count(half_life="10m").over("1h")
    dear = hr.ratio(hr.sum(Payment.amount, where=Payment.amount > 50), hr.sum(Payment.amount)).over("1h")

class Merchants(hr.Features, on=Payment, by="merchant", version=1):
    n = hr.count().over("30m", every="30s")
    mean = hr.mean(Payment.amount).over("30m", every="30s")
    last = hr.last(Payment.amount).over("30m", every="30s")
    spread = hr.variance(Payment.amount).over("30m", every="30s")
    usual = hr.decayed_mean(Payment.amount, half_life="10m").over("30m", every="30s")
"""
GRIDS_MS = (10_000, 60_000, 30_000)
DISORDER_MS = 30_000
CARDS = 5_000
MERCHANTS = 1_000
_READ_TOGETHER = 400
_SAY_EVERY = 50_000
_MADE = declare(SOURCE)
VIEWS: Sequence[ViewDefinition] = (_MADE["Cards"].definition, _MADE["Merchants"].definition)
_TALLIES = ("applied", "late", "duplicate", "too_late", "dead")


def values(payments: Payments) -> list[list[bytes]]:
    """Return what each partition of the topic holds, spread by the payments' ids."""
    chance = np.random.default_rng(payments.seed + 3)
    count = payments.count
    behind_ms = np.zeros(count, dtype=np.int64)
    later, much_later = chance.random(count) < 0.03, chance.random(count) < 0.01
    behind_ms[later] = chance.integers(0, 20 * 60_000, later.sum())
    behind_ms[much_later] = chance.integers(0, 2 * 3_600_000, much_later.sum())
    again, dead = chance.random(count) < 0.01, chance.random(count) < 0.001
    found: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    columns = zip(payments.card.tolist(), payments.cents.tolist(), (payments.at_ms - behind_ms).tolist(), strict=True)
    for number, (card, cents, at_ms) in enumerate(columns):
        partition = found[crc32(b"%d" % number) % PARTITIONS]
        partition.append(b"{oops" if dead[number] else value_of(number, b"c%05d" % card, cents, at_ms))
        if again[number] and len(partition) > 1:
            partition.append(partition[-1 - number % 2])
    return found


class Asking:
    """Draws questions."""

    def __init__(self, payments: Payments, chance: random.Random) -> None:
        self._cards = payments.card
        self._chance = chance

    def draw(self, newest_ms: int, count: int) -> list[tuple[Asked, int]]:
        """Return so many questions about a time near ``newest_ms``."""
        return [(self._entities(), self._at_ms(newest_ms)) for _ in range(count)]

    def _entities(self) -> Asked:
        chance = self._chance
        is_unseen = chance.random() < 0.02
        card = "nobody" if is_unseen else f"c{self._cards[chance.randrange(len(self._cards))]:05d}"
        return {"card": card, "merchant": f"m{chance.randrange(MERCHANTS):03d}"}

    def _at_ms(self, newest_ms: int) -> int:
        chance = self._chance
        kind = chance.randrange(4)
        if kind == 0:
            return newest_ms
        if kind == 1:
            return newest_ms + chance.randrange(-DISORDER_MS, 120_000)
        grid_ms = chance.choice(GRIDS_MS)
        edge_ms = (newest_ms // grid_ms + chance.randrange(3)) * grid_ms
        return edge_ms + (chance.choice((-1, 1)) if kind == 2 else 0)


def turns(serving: Serving, history: MemoryHistory, reads: int, chance: random.Random) -> Iterator[int]:
    """Let the views go on, one of them in one partition at a time; yield the newest event time, ``reads`` times."""
    places = [(source, each.index) for source in serving.sources for each in history.partitions(source.event.topic)]
    ends = sum(history.bounds(each)[1] for each in history.partitions("payments")) * len(serving.sources)
    newest_ms = 0
    for number in range(1, reads + 1):
        while sum(serving.row(*place).next for place in places) < ends * number // reads:
            # Whoever is furthest behind goes on more often, so that all come to the end together.
            source, index = min(chance.sample(places, 2), key=lambda place: serving.row(*place).next)
            serving.apply(source, index, chance.randint(1, 400))
            newest_ms = max(newest_ms, serving.row(source, index).newest_ms or 0)
        yield newest_ms


def measure(redis_url: str, probes: int, events: int, seed: int) -> dict[str, Any]:
    """Return what one world finds."""
    payments = Payments(count=events, cards=CARDS, seed=7 + 10 * seed)
    history = MemoryHistory({"payments": values(payments)}, batch=5_000)
    namespace, chance = f"bench-{uuid.uuid4().hex[:8]}", random.Random(11 + seed)
    store = RedisStore(redis_url, namespace)
    try:
        serving = Serving(VIEWS, history, store)
        asking, reads = Asking(payments, chance), -(-probes // _READ_TOGETHER)
        proof = ParityProof(
            serving.model,
            lambda: LogReplay(sources_of(serving.model), history, store, hindsight=False),
            hindsight=False,
        )
        served_s, asked = 0.0, 0
        for newest_ms in turns(serving, history, reads, chance):
            since_s = time.perf_counter()
            found = serving.serve_many(asking.draw(newest_ms, min(_READ_TOGETHER, probes - asked)))
            served_s += time.perf_counter() - since_s
            asked += len(found)
            for probe in found:
                proof.take(probe)
            if asked % _SAY_EVERY < _READ_TOGETHER:
                say(f"world {seed}: {asked:,} asked, {proof.found.probes:,} proven: {proof.found.unequal} unequal")
        parity = proof.finish()
        rows = [serving.row(serving.sources[0], each.index) for each in history.partitions("payments")]
    finally:
        store.close()
        forget(redis_url, namespace)
    said = parity.as_json()
    counts = {name: said[name] for name in ("probes", "unequal", "equal", "version", "fault")}
    counts["skipped"] = sum(parity.skipped.values())
    return {**counts, "asked": asked, "served_s": served_s, "prefixes": reads, **tallies(rows)}


def measure_all(redis_url: str, probes: int, events: int, worlds: int) -> dict[str, Any]:
    """Return every figure, of worlds side by side."""
    shares = [probes // worlds + (number < probes % worlds) for number in range(worlds)]
    begun_s = time.perf_counter()
    with get_context("spawn").Pool(worlds) as pool:
        found = pool.starmap(measure, [(redis_url, share, events, seed) for seed, share in enumerate(shares)])
    total: dict[str, Any] = {name: sum(each[name] for each in found) for name in found[0]}
    served_s = total.pop("served_s")
    return {
        **total,
        "seconds": round(time.perf_counter() - begun_s, 1),
        "serve_us_a_probe": round(served_s / total["asked"] * 1_000_000, 1),
        "worlds": worlds,
        "partitions": PARTITIONS,
        "features": sum(len(view.features) for view in VIEWS),
        "kinds": sorted({each.kind for view in VIEWS for each in view.aggregates}),
        "kinds_missing": sorted(set(KINDS) - {each.kind for view in VIEWS for each in view.aggregates}),
    }


def tallies(rows: Sequence[Row]) -> dict[str, int]:
    """Return what became of the records, in the first view."""
    return {name: sum(getattr(row, name) for row in rows) for name in _TALLIES} | {"read": sum(r.read for r in rows)}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=60_000, help="in each world")
    parser.add_argument("--worlds", type=int, default=2, help="processes, each with a log of its own")
    asked = parser.parse_args()
    with local_redis() as redis_url:
        result = measure_all(redis_url, asked.probes, asked.events, asked.worlds)
    sys.stdout.write(json.dumps(result) + "\n")
    if result["unequal"] or result["equal"] != asked.probes:
        sys.exit(1)


if __name__ == "__main__":
    main()
