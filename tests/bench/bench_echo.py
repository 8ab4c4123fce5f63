"""How long an echo takes, client to client: a bare librdkafka process against an agent on the transport.

``python -m tests.bench.bench_echo``. Both echo processes are up all the time and get the load in turns. The load is an
open loop: each request has its time, and its latency counts from then, whether or not the client was late in sending.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence

from confluent_kafka import Consumer, Producer, TopicPartition

from agents.host import host
from agents.metrics import Metrics
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from agents.transport.kafka import KafkaLog
from agents.transport.positions import hinted
from streams.records import Partition, RecordBatch
from streams.topics import TopicConfig
from tests.bench.local_kafka import local_kafka, say
from tests.bench.timing import without_collections

LOW_LATENCY = {"fetch.queue.backoff.ms": 1, "fetch.wait.max.ms": 100, "socket.nagle.disable": True}
WARM_S = 4.0


class EchoRole:
    """Answers every record with its own value."""

    name = "echo"

    def __init__(self, log: KafkaLog, topic: str) -> None:
        self._topic = topic
        self._producer = log.producer()

    def subscription(self) -> Subscription:
        return Subscription(f"{self._topic}-echo", (f"{self._topic}-in",), CommitPolicy.ON_TAKE, StartAt.END)

    async def open(self, given: Assigned) -> int:
        return hinted(given, StartAt.END)

    async def apply(self, batch: RecordBatch) -> None:
        for record in batch.records:
            self._producer.send(f"{self._topic}-out", record.value())

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        pass

    async def close(self, partition: Partition) -> None:
        pass


async def serve_agent(bootstrap: str, topic: str) -> None:
    """Echo by an agent until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = KafkaLog(bootstrap)
    await host(log, EchoRole(log, topic), stop=stop, metrics=Metrics("bench"))
    await log.close()


def serve_floor(bootstrap: str, topic: str) -> None:
    """Echo by librdkafka and nothing else until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False, **LOW_LATENCY})
    consumer.assign([TopicPartition(f"{topic}-in", 0, 0)])
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all", "enable.idempotence": True})
    gc.disable()
    while not stop.is_set():
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            producer.produce(f"{topic}-out", message.value())
        producer.poll(0)
    consumer.close()
    producer.flush(1)


class Client:
    """Sends numbered requests at their times and notes when the answers come."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False, **LOW_LATENCY}
        )
        self._consumer.assign([TopicPartition(f"{topic}-out", 0, 0)])
        self._arrived: dict[int, float] = {}
        self._sent = 0
        self._ending = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def run(self, rate: int, seconds: float) -> list[float]:
        """Return the latencies in ms of ``rate`` requests a second; raise if one stays unanswered for 10 s."""
        first, count = self._sent, int(rate * seconds)
        self._sent += count
        start_s = time.perf_counter() + 0.05
        due = {first + number: start_s + number / rate for number in range(count)}
        for number, due_s in due.items():
            while (left_s := due_s - time.perf_counter()) > 0:
                time.sleep(left_s)
            self._producer.produce(f"{self._topic}-in", b"%d" % number)
            self._producer.poll(0)
        until_s = time.perf_counter() + 10
        while any(number not in self._arrived for number in due):
            if time.perf_counter() > until_s:
                raise TimeoutError(f"{self._topic}: not all of {count} requests answered")
            time.sleep(0.01)
        return [(self._arrived.pop(number) - due_s) * 1_000 for number, due_s in due.items()]

    def wait_until_answered(self, deadline_s: float) -> None:
        """Return when the echo process answers."""
        until_s = time.perf_counter() + deadline_s
        while not self._arrived:
            if time.perf_counter() > until_s:
                raise TimeoutError(f"{self._topic}: no answer in {deadline_s} s")
            self._producer.produce(f"{self._topic}-in", b"-1")
            self._producer.flush(1)
            time.sleep(0.1)

    def close(self) -> None:
        """Stop listening."""
        self._producer.flush(5)
        self._ending = True
        self._thread.join()

    def _listen(self) -> None:
        while not self._ending:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self._arrived[int(message.value() or b"-1")] = time.perf_counter()
        self._consumer.close()


async def prepare(bootstrap: str, topics: Sequence[str]) -> None:
    """Create the request and reply topics."""
    log = KafkaLog(bootstrap)
    configs = [TopicConfig(f"{topic}-{way}", partitions=1) for topic in topics for way in ("in", "out")]
    await log.create_topics(configs)
    await log.close()


def measure(bootstrap: str, rate: int, seconds: float, rounds: int) -> dict[str, float]:
    """Return the figures of both echo processes under the same load, in turns."""
    run = uuid.uuid4().hex[:8]
    topics = {kind: f"echo-{kind}-{run}" for kind in ("floor", "agent")}
    asyncio.run(prepare(bootstrap, list(topics.values())))
    command = [sys.executable, "-m", "tests.bench.bench_echo", "--kafka", bootstrap]
    processes = [subprocess.Popen([*command, "--serve", kind, "--topic", topic]) for kind, topic in topics.items()]
    clients = {kind: Client(bootstrap, topic) for kind, topic in topics.items()}
    latencies: dict[str, list[list[float]]] = {kind: [] for kind in topics}
    try:
        for client in clients.values():
            client.wait_until_answered(30)
            client.run(rate, WARM_S)
        with without_collections():
            for round_ in range(rounds):
                for kind, client in clients.items():
                    found = client.run(rate, seconds)
                    latencies[kind].append(found)
                    say(f"round {round_ + 1}/{rounds} {kind}: p50 {statistics.median(found):.2f} ms")
    finally:
        for client in clients.values():
            client.close()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(15)
    return figures(latencies["floor"], latencies["agent"]) | {"rate": rate, "rounds": rounds}


def figures(floor: Sequence[list[float]], ours: Sequence[list[float]]) -> dict[str, float]:
    """Return percentiles, each the median over the rounds, so that a disturbed round does not decide."""
    found = {}
    for kind, rounds in (("floor", floor), ("ours", ours)):
        cuts = [statistics.quantiles(each, n=100) for each in rounds]
        for at in (50, 90, 99):
            found[f"{kind}_p{at}_ms"] = round(statistics.median(cut[at - 1] for cut in cuts), 3)
    return found | {"p50_ratio": round(found["ours_p50_ms"] / found["floor_p50_ms"], 3)}


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--serve", choices=["floor", "agent"])
    parser.add_argument("--kafka")
    parser.add_argument("--topic")
    asked = parser.parse_args()
    if asked.serve == "agent":
        asyncio.run(serve_agent(asked.kafka, asked.topic))
    elif asked.serve == "floor":
        serve_floor(asked.kafka, asked.topic)
    else:
        with local_kafka() as bootstrap:
            result = measure(bootstrap, asked.rate, asked.seconds, asked.rounds)
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
