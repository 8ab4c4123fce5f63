"""The floor: a plain loop over a dict, librdkafka tuned, that keeps nothing.

No state outlives it, no position is kept, nothing is late, duplicate or unusable: what a feature engine cannot be
faster than in Python. Says what ``tests.bench.processes.run_measured`` reads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import msgspec
from confluent_kafka import Consumer, TopicPartition

MINUTE_MS = 60_000


class Payment(msgspec.Struct, gc=False):
    """What the features read of an event."""

    card: str
    amount: float
    at: int


def main() -> None:
    """Fold the topic to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    asked = parser.parse_args()
    tuned = {"queued.min.messages": 400_000, "fetch.queue.backoff.ms": 5}
    consumer = Consumer({"bootstrap.servers": asked.kafka, "group.id": "floor", "enable.auto.commit": False, **tuned})
    partitions = consumer.list_topics(asked.topic, timeout=10).topics[asked.topic].partitions
    consumer.assign([TopicPartition(asked.topic, index, 0) for index in partitions])
    decode = msgspec.json.Decoder(Payment).decode
    windows = [(10 * MINUTE_MS, {}), (60 * MINUTE_MS, {}), (1440 * MINUTE_MS, {})]  # length, cells
    tell(say="begin")
    begun_s, seen = time.perf_counter(), 0
    while seen < asked.events:
        messages = consumer.consume(10_000, 0.1)
        for message in messages:
            payment = decode(message.value())
            card, amount, at = payment.card, payment.amount, payment.at
            for length, cells in windows:
                key = (card, at // length)
                cell = cells.get(key)
                if cell is None:
                    cells[key] = [1, amount]
                else:
                    cell[0] += 1
                    cell[1] += amount
        seen += len(messages)
    seconds = time.perf_counter() - begun_s
    counted = [sum(cell[0] for cell in cells.values()) for _, cells in windows]
    tell(say="end", events=seen, seconds=seconds, counted=counted, cells=sum(len(cells) for _, cells in windows))
    sys.stdin.read()


def tell(**said: object) -> None:
    """Say one object to whoever measures."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
