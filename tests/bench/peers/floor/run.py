"""The floor: a plain loop over a dict, librdkafka tuned, that keeps nothing.

No state outlives it, no position is kept, nothing is late, duplicate or unusable: what a feature engine cannot be
faster than in Python.
"""

from __future__ import annotations

import time

import msgspec
from confluent_kafka import Consumer, TopicPartition
from meter import WINDOWS_MS, arguments, finish, tell


class Payment(msgspec.Struct, gc=False):
    """What the features read of an event."""

    card: str
    amount: float
    at: int


def main() -> None:
    """Fold the topic to its end."""
    asked = arguments()
    tuned = {"queued.min.messages": 400_000, "fetch.queue.backoff.ms": 5}
    consumer = Consumer({"bootstrap.servers": asked.kafka, "group.id": "floor", "enable.auto.commit": False, **tuned})
    partitions = consumer.list_topics(asked.topic, timeout=10).topics[asked.topic].partitions
    consumer.assign([TopicPartition(asked.topic, index, 0) for index in partitions])
    decode = msgspec.json.Decoder(Payment).decode
    windows: list[tuple[int, dict[tuple[str, int], list[float]]]] = [(length, {}) for length in WINDOWS_MS]
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
    finish(seen, seconds, counted=counted, cells=sum(len(cells) for _, cells in windows))


if __name__ == "__main__":
    main()
