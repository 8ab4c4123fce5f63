"""Where a request's time went, hop by hop, by the stamps of everyone it passed.

The caller stamps due, sent and arrived; the broker stamps the request as it appends it; the role says in the reply how
long it waited, read, assembled and predicted, and when it was done. All on one machine, so by one clock, but the
broker's stamp and the role's wait are whole ms: only means of many are told, and half a ms is added to the stamp.

Nothing is defined as what is left over, so the sum may miss the whole: ``budget_unexplained`` says by how much.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from streams import topics
from tests.bench.asking import Asked

_TRUNCATED_MS = 0.5
_LONGEST_READ_S = 30.0
_IN_THE_ROLE = ("read", "assemble", "predict")


def budget(kafka: str, namespace: str, model: str, asked: Asked) -> Mapping[str, float | None]:
    """Return the mean of each hop, ms, and the share of the whole that their sum misses.

    ``late`` is the caller's own lateness; ``send`` reaches from the caller to the broker's stamp; ``queue`` from there
    to the role; ``reply`` from the role's own stamp, once the reply was put together, back to the caller. Of those that
    were answered with a score: what expired has passed no hop.
    """
    appended = {
        f"{each.topic()}/{each.partition()}@{each.offset()}": float(each.timestamp()[1]) + _TRUNCATED_MS
        for each in _records(kafka, topics.requests_of(namespace, model))
    }
    told = [each for each in asked.told if each.request_id in appended and each.timings["total_ms"]]
    took = statistics.fmean(each.arrived_ms - each.sent_ms for each in asked.told)
    late = statistics.fmean(asked.latencies_ms) - took
    whole = late + statistics.fmean(each.arrived_ms - each.sent_ms for each in told)
    send = statistics.fmean(appended[each.request_id] - each.sent_ms for each in told)
    hops = {
        "late": late,
        "send": send,
        "queue": statistics.fmean(each.timings["queue_ms"] for each in told),
        **{hop: statistics.fmean(each.timings.get(f"{hop}_ms", 0.0) for each in told) for hop in _IN_THE_ROLE},
        "reply": statistics.fmean(
            each.arrived_ms - appended[each.request_id] - each.timings["total_ms"] for each in told
        ),
    }
    missed = (whole - sum(hops.values())) / whole
    return {
        **{f"budget_{hop}_ms": round(mean, 3) for hop, mean in hops.items()},
        "budget_whole_ms": round(whole, 3),
        "budget_unexplained": round(missed, 3),
        "budget_requests": len(told),
    }


def records(kafka: str, topic: str) -> Sequence[Message]:
    """Return everything in a topic."""
    return list(_records(kafka, topic))


def _records(kafka: str, topic: str) -> Iterator[Message]:
    settings: dict[str, Any] = {"bootstrap.servers": kafka, "group.id": topic, "enable.auto.commit": False}
    reader = Consumer({**settings, "queued.min.messages": 400_000})
    try:
        indexes = reader.list_topics(topic, timeout=10).topics[topic].partitions
        bounds = {index: reader.get_watermark_offsets(TopicPartition(topic, index), timeout=10) for index in indexes}
        left = {index for index, (first, end) in bounds.items() if end > first}
        reader.assign([TopicPartition(topic, index, bounds[index][0]) for index in left])
        while left:
            found = reader.consume(10_000, _LONGEST_READ_S)
            if not found:
                raise TimeoutError(f"{topic}: nothing more comes of partitions {sorted(left)}")
            for message in found:
                index, offset = message.partition(), message.offset()
                if message.error() is None and index is not None and offset is not None:
                    yield message
                    if offset + 1 >= bounds[index][1]:
                        left.discard(index)
    finally:
        reader.close()
