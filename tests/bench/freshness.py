"""How long an event takes from its production to being readable in Redis, at a steady rate.

An open loop: an event's time runs from when it was due, whether or not the producer was late. It counts as readable
when the resume row that a reader polls contains it; of every 500th event the entity's own cell is read right then, and
must contain it too. Sender, poller and delivery reports share one thread, so nothing waits for an interpreter lock.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from streams.entities import asked_key
from streams.store import Question
from streams.store.redis import RedisStore
from tests.bench.card_features import Project, project, until
from tests.bench.local_kafka import say
from tests.bench.payments import PARTITIONS, Payments, Produced, fill
from tests.bench.timing import percentiles, without_collections

POLL_S = 0.004
"""How long is waited between two looks: what it adds to an event's time counts as the role's. Looking every millisecond
took so much of two cores that the role was short of them."""
CHECK_EVERY = 500
WARM_S = 5.0

_START_S = 60.0
_DRAIN_S = 120.0


@dataclass(slots=True)
class Seen:
    """What became of the events."""

    pending: dict[int, deque[tuple[int, int]]] = field(default_factory=lambda: defaultdict(deque))
    """Per partition, (offset, number) of the events that the broker has, in order."""
    readable_s: dict[int, float] = field(default_factory=dict)
    """When an event was seen to be readable, by number."""
    polls_s: list[float] = field(default_factory=list)
    checked: int = 0

    def delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        """Note that the broker has an event.

        Raises:
            RuntimeError: the broker has not.
        """
        if error is not None:
            raise RuntimeError(f"cannot produce event {number}: {error}")
        self.pending[message.partition() or 0].append((message.offset() or 0, number))


def measure_freshness(kafka: str, redis_url: str, *, rate: int, seconds: float) -> Mapping[str, Any]:
    """Return percentiles over ``seconds`` at ``rate`` events a second, and what they were measured with.

    Raises:
        TimeoutError: the role did not keep up; two minutes after the last event some were not readable.
    """
    name = f"fresh-{uuid.uuid4().hex[:8]}"
    warm = int(rate * WARM_S)
    payments = Payments(count=warm + int(rate * seconds))
    records = list(payments.records())
    fill(kafka, name, ())
    with (
        project(name, name, kafka=kafka, redis_url=redis_url) as made,
        made.store() as store,
        made.running(),
        without_collections(),
    ):
        until(lambda: len(made.rows(store)) == PARTITIONS, _START_S, "every partition's row")
        due_s, seen = _send(made, store, records, rate)
    late_ms = [(seen.readable_s[number] - due_s[number]) * 1_000 for number in range(warm, len(records))]
    fresh = percentiles("freshness", late_ms, digits=2)
    polled = percentiles("freshness_poll", [each * 1_000 for each in seen.polls_s], digits=2)
    say(f"freshness at {rate:,}/s: {fresh}, {polled}")
    return {
        **fresh,
        "freshness_max_ms": round(max(late_ms), 2),
        "freshness_rate": rate,
        "freshness_events": len(late_ms),
        "freshness_cells_checked": seen.checked,
        **polled,
    }


def _send(made: Project, store: RedisStore, records: Sequence[Produced], rate: int) -> tuple[Sequence[float], Seen]:
    """Send every record at its time; return the times, and when each was readable."""
    producer = Producer({"bootstrap.servers": made.kafka, "linger.ms": 1, "partitioner": "murmur2_random"})
    seen, begun_s, sent = Seen(), time.perf_counter() + 0.1, 0
    due_s = [begun_s + number / rate for number in range(len(records))]
    polled_s = time.perf_counter()
    while len(seen.readable_s) < len(records):
        now_s = time.perf_counter()
        while sent < len(records) and due_s[sent] <= now_s:
            key, value = records[sent]
            producer.produce(made.topic, value, key=key, on_delivery=partial(seen.delivered, sent))
            sent += 1
        producer.poll(0)
        _look(made, store, records, seen)
        now_s, before_s = time.perf_counter(), polled_s
        polled_s = now_s
        seen.polls_s.append(now_s - before_s)
        if now_s > due_s[-1] + _DRAIN_S:
            raise TimeoutError(f"{len(records) - len(seen.readable_s)} events are not readable {_DRAIN_S:.0f} s later")
        time.sleep(POLL_S)
    return due_s, seen


def _look(made: Project, store: RedisStore, records: Sequence[Produced], seen: Seen) -> None:
    """Note which events the rows contain by now."""
    rows, now_s = made.rows(store), time.perf_counter()
    for name, row in rows.items():
        waiting = seen.pending[int(name.rpartition("/")[2])]
        while waiting and waiting[0][0] < row.next:
            offset, number = waiting.popleft()
            seen.readable_s[number] = now_s
            if number % CHECK_EVERY == 0:
                _check(made, store, records[number][0].decode(), offset)
                seen.checked += 1


def _check(made: Project, store: RedisStore, card: str, offset: int) -> None:
    entity = asked_key(made.view.entity_names, {"card": card})
    assert entity is not None
    [cells] = store.read(Question(cells=[(made.view.key, entity)]), timeout_ms=5_000).cells
    if not any(cell.position > offset for cell in cells.values()):
        raise ValueError(f"{card}: the row contains offset {offset}, its cell does not: {cells}")
