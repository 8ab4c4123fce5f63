"""Callers that cost next to nothing, for the rates at which a client's own work would be what is measured.

Requests are due at fixed times; their bytes are made before the first is. The outcome of each is worked out afterwards
by the client's rule: the first reply by its deadline, else ``expired``. Times count from when a request was due.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from streams import topics
from streams.messages import ScoreReply, ScoreRequest, encode
from streams.request_reply import CORRELATION_ID, ReplyTo
from streams.request_reply.writer import request_headers
from tests.bench.bench_echo import LOW_LATENCY

BODIES = 5_000
"""Different requests; of more, the same bytes are sent again."""

_AFTER_S = 1.0
_ID_BYTES = 8


@dataclass(frozen=True)
class Flooded:
    """What became of the requests of one stage, in the order in which they were due."""

    rate: float
    timeout_ms: int
    due_s: Sequence[float]
    sent_s: Sequence[float]
    arrived_s: Sequence[float | None]
    status: Sequence[str]
    """As replied, ``expired`` where no reply came in time."""
    replies: int
    """How many came in all, late ones and any second one included."""

    @property
    def by_status(self) -> Mapping[str, int]:
        """How many outcomes of each status."""
        return Counter(self.status)

    def latencies_ms(self, *status: str) -> list[float]:
        """Return how long the outcomes of some statuses took, all if none is named; an expired one its whole budget."""
        return [
            self.timeout_ms if arrived_s is None else (arrived_s - due_s) * 1_000
            for due_s, arrived_s, each in zip(self.due_s, self.arrived_s, self.status, strict=True)
            if not status or each in status
        ]

    def per_s(self, *status: str) -> float:
        """Return outcomes of some statuses per second."""
        return sum(self.by_status.get(each, 0) for each in status) * self.rate / len(self.status)

    @property
    def behind_ms(self) -> float:
        """How late the sender was at the worst: much of it, and the rate was not reached."""
        return max(sent_s - due_s for due_s, sent_s in zip(self.due_s, self.sent_s, strict=True)) * 1_000


@dataclass
class Flood:
    """The sender and its one reply partition."""

    topic: str
    reply_topic: str
    producer: Producer
    consumer: Consumer
    bodies: Sequence[bytes]
    partition: int
    instance: bytes = field(default_factory=lambda: os.urandom(_ID_BYTES))
    numbers: Iterator[int] = field(default_factory=itertools.count)
    arrived: dict[bytes, list[tuple[float, bytes]]] = field(default_factory=dict)
    ending: bool = False

    def ask(self, rate: float, seconds: float, timeout_ms: int) -> Flooded:
        """Ask ``rate * seconds`` requests, each at its time; return when all had time to be answered."""
        count = max(1, round(rate * seconds))
        begun_s = time.perf_counter() + 0.05
        due_s, sent_s, ids = [begun_s + place / rate for place in range(count)], [0.0] * count, [b""] * count
        for place in range(count):
            ids[place] = ident = self.instance + next(self.numbers).to_bytes(_ID_BYTES, "big")
            while (left_s := due_s[place] - time.perf_counter()) > 0:
                time.sleep(left_s)
            sent_s[place] = time.perf_counter()
            headers = request_headers(ReplyTo(self.reply_topic, ident, self.partition), timeout_ms)
            self.producer.produce(self.topic, self.bodies[place % BODIES], headers=list(headers))
            if place % 16 == 0:
                self.producer.poll(0)
        self.producer.flush(10)
        time.sleep(timeout_ms / 1_000 + _AFTER_S)
        return self._outcomes(rate, timeout_ms, (due_s, sent_s, ids))

    def _outcomes(
        self, rate: float, timeout_ms: int, asked: tuple[Sequence[float], Sequence[float], Sequence[bytes]]
    ) -> Flooded:
        due_s, sent_s, ids = asked
        decode = msgspec.json.Decoder(ScoreReply).decode
        arrived_s: list[float | None] = []
        status: list[str] = []
        replies = 0
        for ident, sent in zip(ids, sent_s, strict=True):
            came = self.arrived.pop(ident, [])
            replies += len(came)
            in_time = came[:1] if came and (came[0][0] - sent) * 1_000 <= timeout_ms else []
            arrived_s.append(in_time[0][0] if in_time else None)
            status.append(decode(in_time[0][1]).status if in_time else "expired")
        return Flooded(rate, timeout_ms, due_s, sent_s, arrived_s, status, replies)

    def listen(self) -> None:
        """Note when replies come, until `ending`."""
        while not self.ending:
            message = self.consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            ident = dict(message.headers() or ()).get(CORRELATION_ID)
            if isinstance(ident, bytes) and ident.startswith(self.instance):
                self.arrived.setdefault(ident, []).append((time.perf_counter(), message.value() or b""))
        self.consumer.close()


@contextmanager
def flood(kafka: str, namespace: str, model: str, questions: Iterator[Mapping[str, Any]]) -> Iterator[Flood]:
    """Open callers of a model."""
    made = [
        ScoreRequest(
            model=model,
            entities=each["entities"],
            inputs=each["inputs"],
            label_key=each["label_key"],
        )
        for each in itertools.islice(questions, BODIES)
    ]
    reply_topic, partition = topics.replies(namespace), random.randrange(topics.REPLY_PARTITIONS)
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": os.urandom(4).hex(), "enable.auto.commit": False, **LOW_LATENCY}
    )
    _, end = consumer.get_watermark_offsets(TopicPartition(reply_topic, partition), timeout=10)
    consumer.assign([TopicPartition(reply_topic, partition, end)])
    settings = {"linger.ms": 0, "acks": "all", "queue.buffering.max.messages": 1_000_000}
    producer = Producer({"bootstrap.servers": kafka, **settings})
    opened = Flood(
        topics.requests_of(namespace, model), reply_topic, producer, consumer, list(map(encode, made)), partition
    )
    listening = threading.Thread(target=opened.listen, daemon=True)
    listening.start()
    try:
        yield opened
    finally:
        opened.ending = True
        listening.join()
        producer.flush(5)
