"""The events of the feature benchmarks: one million payments by skewed cards, the same bytes in every run.

A card's share falls with its rank to the power of 1.18, a discrete Pareto law: of 20,000 cards about 18,900 are seen in
a million events, the first of them in a fifth. Event time spans three hours, so that a card meets 18 ten-minute
windows, 3 of an hour and 1 of a day, about 170,000 window cells in all. An event's time is up to 5 s behind its place.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from agents.transport.kafka import KafkaLog
from streams.topics import TopicConfig
from tests.bench.local_kafka import say

PARTITIONS = 4
START_MS = 1_767_247_200_000  # 2026-01-01T06:00Z: no window of a day is cut in two
SPAN_MS = 3 * 3_600_000
DISORDER_MS = 5_000
COUNTRIES = ("DE", "FR", "NL", "SE")

Produced = tuple[bytes, bytes]
"""Key and value of a record."""


@dataclass(frozen=True)
class Payments:
    """A reproducible run of payments. ``skew`` is the exponent of the cards' shares; None gives each card its turn."""

    count: int = 1_000_000
    cards: int = 20_000
    skew: float | None = 1.18
    seed: int = 7

    @cached_property
    def card(self) -> NDArray[np.int64]:
        """The card of each event."""
        chance = np.random.default_rng(self.seed)
        if self.skew is None:
            rounds = -(-self.count // self.cards)
            return np.concatenate([chance.permutation(self.cards) for _ in range(rounds)])[: self.count]
        weight = np.arange(1, self.cards + 1, dtype=np.float64) ** -self.skew
        return chance.choice(self.cards, self.count, p=weight / weight.sum())

    @cached_property
    def cents(self) -> NDArray[np.int64]:
        """The amount of each event, in hundredths."""
        return np.random.default_rng(self.seed + 1).integers(100, 100_000, self.count)

    @cached_property
    def at_ms(self) -> NDArray[np.int64]:
        """The time of each event."""
        place = np.arange(self.count, dtype=np.int64) * SPAN_MS // self.count
        behind = np.random.default_rng(self.seed + 2).integers(0, DISORDER_MS, self.count)
        return START_MS + DISORDER_MS + place - behind

    @property
    def last_ms(self) -> int:
        """The newest event time."""
        return int(self.at_ms.max())

    @cached_property
    def seen(self) -> int:
        """How many cards have an event."""
        return len(np.unique(self.card))

    def records(self) -> Iterator[Produced]:
        """Return key and value of every record, in order."""
        columns = zip(self.card.tolist(), self.cents.tolist(), self.at_ms.tolist(), strict=True)
        for number, (card, cents, at_ms) in enumerate(columns):
            key = b"c%05d" % card
            yield key, value_of(number, key, cents, at_ms)

    def windows(self, card: int, spans: Mapping[str, tuple[int, int]], as_of_ms: int) -> dict[str, tuple[int, float]]:
        """Return count and sum of a card per window, plainly: events in the tiles that end with that of ``as_of_ms``.

        ``spans`` has the length of each window and of its tiles, ms.
        """
        own = self.card == card
        at_ms, amounts = self.at_ms[own], self.cents[own] / 100
        found = {}
        for name, (length_ms, tile_ms) in spans.items():
            last = as_of_ms // tile_ms
            tile = at_ms // tile_ms
            inside = amounts[(tile > last - length_ms // tile_ms) & (tile <= last)]
            found[name] = (len(inside), math.fsum(inside))
        return found


def value_of(number: int, card: bytes, cents: int, at_ms: int) -> bytes:
    """Return the bytes of a payment, about 117 of them."""
    return (
        b'{"id":"e%07d","card":"%s","amount":%d.%02d,"merchant":"m%03d","country":"%s","channel":"web","at":%d}'
    ) % (
        number,
        card,
        cents // 100,
        cents % 100,
        number * 7919 % 1_000,
        COUNTRIES[number % len(COUNTRIES)].encode(),
        at_ms,
    )


def fill(bootstrap: str, topic: str, records: Iterator[Produced] | Sequence[Produced]) -> int:
    """Create a topic and write the records to it, keyed; return the bytes of their values."""

    async def create() -> None:
        log = KafkaLog(bootstrap)
        await log.create_topics([TopicConfig(topic, partitions=PARTITIONS)])
        await log.close()

    asyncio.run(create())
    settings = {"linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "partitioner": "murmur2_random"}
    producer = Producer({"bootstrap.servers": bootstrap, **settings})
    written = 0
    for number, (key, value) in enumerate(records):
        while True:
            try:
                producer.produce(topic, value, key=key)
                break
            except BufferError:
                producer.poll(0.1)
        written += len(value)
        if number % 10_000 == 0:
            producer.poll(0)
        if number % 250_000 == 0:
            say(f"{topic}: writing {number:,}")
    if producer.flush(120):
        raise TimeoutError(f"{topic}: not all records were acknowledged in 120 s")
    return written
