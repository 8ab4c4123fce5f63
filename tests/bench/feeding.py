"""``python -m tests.bench.feeding KAFKA TOPIC RATE``: payments as they happen, until its standard input ends."""

from __future__ import annotations

import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from tests.bench.payments import Payments, value_of

_FIRST = 5_000_000
"""Ids of these payments are above those of the past."""


@contextmanager
def fed(kafka: str, topic: str, rate: int) -> Iterator[None]:
    """Publish so many payments a second by another process for as long as the block lasts; none if the rate is 0."""
    if not rate:
        yield
        return
    command = [sys.executable, "-m", "tests.bench.feeding", kafka, topic, str(rate)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        process.wait(30)


def main() -> None:
    """Feed."""
    kafka, topic, rate = sys.argv[1], sys.argv[2], int(sys.argv[3])
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "partitioner": "murmur2_random"})
    cards, chance = Payments(count=100_000).card.tolist(), random.Random()
    number, begun_s = _FIRST + chance.randrange(1_000_000), time.monotonic()
    sent = 0
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        while sent < (time.monotonic() - begun_s) * rate:
            key = b"c%05d" % cards[chance.randrange(len(cards))]
            value = value_of(number + sent, key, chance.randrange(100, 100_000), time.time_ns() // 1_000_000)
            producer.produce(topic, value, key=key)
            sent += 1
        producer.poll(0)
    producer.flush(10)


if __name__ == "__main__":
    main()
