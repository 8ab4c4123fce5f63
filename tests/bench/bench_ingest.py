"""How fast JSON events are decoded and summed: an agent on the transport against stock Faust, on the same topic.

``python -m tests.bench.bench_ingest``. Each runs in a process of its own, timed from its first record to its last, in
turns; stock Faust (its own Kafka driver, JSON records) is given a bounded time, and its rate is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

import msgspec
from confluent_kafka import Producer

from agents.host import host
from agents.metrics import Metrics
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from agents.transport.kafka import KafkaLog
from streams.records import Partition, RecordBatch
from streams.topics import TopicConfig
from tests.bench.local_kafka import local_kafka, say

PARTITIONS = 4


class Event(msgspec.Struct):
    """What is on the topic."""

    id: str
    origin: str
    delay_min: float
    departed_at: int


class SummingRole:
    """Decodes and sums; is done when it has seen ``count`` events."""

    name = "summing"

    def __init__(self, topic: str, count: int, done: asyncio.Event) -> None:
        self._topic = topic
        self._left = count
        self._done = done
        self._decode = msgspec.json.Decoder(Event).decode
        self.total = 0.0
        self.first_s = self.last_s = 0.0
        self.batches = 0

    def subscription(self) -> Subscription:
        return Subscription(f"{self._topic}-ours", (self._topic,), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        return given.first

    async def apply(self, batch: RecordBatch) -> None:
        self.first_s = self.first_s or time.perf_counter()
        decode = self._decode
        self.total += sum([decode(record.value() or b"").delay_min for record in batch.records])
        self._left -= len(batch.records)
        self.batches += 1
        self.last_s = time.perf_counter()
        if self._left <= 0:
            self._done.set()

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        pass

    async def close(self, partition: Partition) -> None:
        pass


async def run_ours(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Sum the topic with an agent on the transport."""
    done = asyncio.Event()
    log, role = KafkaLog(bootstrap), SummingRole(topic, count, done)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    await host(log, role, stop=done, metrics=Metrics("bench"))
    await log.close()
    return {
        "per_s": count / (role.last_s - role.first_s),
        "total": role.total,
        "batch": count / role.batches,
        "start_s": role.first_s - started_s,
        "cpu_s": time.process_time() - cpu_s,
    }


async def run_stock(bootstrap: str, topic: str, seconds: float) -> dict[str, float]:
    """Sum as much of the topic as stock Faust can in the time."""
    import faust  # noqa: PLC0415  # stock Faust, in its own process

    class StockEvent(faust.Record, serializer="json"):
        id: str
        origin: str
        delay_min: float
        departed_at: int

    app = faust.App(
        f"{topic}-stock",
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        topic_disable_leader=True,
        datadir=tempfile.mkdtemp(),
    )
    seen: list[float] = [0, 0.0, 0.0, 0.0]  # events, total, first, last

    @app.agent(app.topic(topic, value_type=StockEvent))
    async def add(stream: faust.StreamT[StockEvent]) -> None:
        async for event in stream:
            seen[2] = seen[2] or time.perf_counter()
            seen[0] += 1
            seen[1] += event.delay_min
            seen[3] = time.perf_counter()

    await app.start()
    while not seen[2]:  # noqa: ASYNC110  # Faust has no event for a first record
        await asyncio.sleep(0.05)
    await asyncio.sleep(seconds)
    per_s = seen[0] / (seen[3] - seen[2])
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(app.stop(), 10)
    return {"per_s": per_s, "events": seen[0]}


def fill(bootstrap: str, topic: str, count: int) -> float:
    """Write the events; return their sum."""

    async def create() -> None:
        log = KafkaLog(bootstrap)
        await log.create_topics([TopicConfig(topic, partitions=PARTITIONS)])
        await log.close()

    asyncio.run(create())
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000})
    encode, drawn, total = msgspec.json.Encoder().encode, random.Random(7), 0.0
    for number in range(count):
        event = Event(f"flight-{number:09d}", drawn.choice(("EWR", "JFK", "LGA")), drawn.randrange(-20, 300), number)
        total += event.delay_min
        producer.produce(topic, encode(event), partition=number % PARTITIONS)
        if number % 100_000 == 0:
            say(f"writing {number:,} of {count:,}")
    producer.flush(120)
    return total


def measure(bootstrap: str, count: int, stock_s: float, rounds: int) -> dict[str, float]:
    """Return the rates of both on the same topic."""
    topic = f"ingest-{uuid.uuid4().hex[:8]}"
    expected = fill(bootstrap, topic, count)
    rates: dict[str, list[float]] = {"ours": [], "stock": []}
    for round_ in range(rounds):
        # The role has no rows, so it begins at the first record each time.
        found = child(bootstrap, topic, "ours", count=count)
        if found["total"] != expected:
            raise ValueError(f"summed {found['total']}, expected {expected}")
        rates["ours"].append(found["per_s"])
        say(f"round {round_ + 1}/{rounds} ours: {found['per_s']:,.0f}/s, {found['cpu_s']:.1f} s of processor")
        rates["stock"].append(child(bootstrap, topic, "stock", seconds=stock_s / rounds)["per_s"])
        say(f"round {round_ + 1}/{rounds} stock Faust: {rates['stock'][-1]:,.0f}/s")
    ours, stock = (statistics.median(rates[kind]) for kind in ("ours", "stock"))
    return {
        "ours_per_s": round(ours),
        "stock_faust_per_s": round(stock),
        "ratio": round(ours / stock, 2),
        "events": count,
        "ours_per_s_best": round(max(rates["ours"])),
        "stock_faust_per_s_best": round(max(rates["stock"])),
    }


def child(bootstrap: str, topic: str, kind: str, *, count: int = 0, seconds: float = 0.0) -> dict[str, float]:
    """Run one of the two in a process of its own; return what it measured."""
    command = [sys.executable, "-m", "tests.bench.bench_ingest", "--run", kind, "--kafka", bootstrap, "--topic", topic]
    sizes = ["--events", str(count), "--stock-seconds", str(seconds)]
    said = subprocess.run([*command, *sizes], check=True, capture_output=True, text=True, timeout=300)
    return json.loads(said.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--stock-seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", choices=["ours", "stock"])
    parser.add_argument("--kafka")
    parser.add_argument("--topic")
    asked = parser.parse_args()
    if asked.run == "ours":
        result = asyncio.run(run_ours(asked.kafka, asked.topic, asked.events))
    elif asked.run == "stock":
        result = asyncio.run(run_stock(asked.kafka, asked.topic, asked.stock_seconds))
    else:
        with local_kafka() as bootstrap:
            result = measure(bootstrap, asked.events, asked.stock_seconds, asked.rounds)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
