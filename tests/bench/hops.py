"""Where a request's time went, hop by hop, by the stamps of everyone it passed.

The caller stamps due, sent and arrived; the broker stamps the request and the reply as it appends them; the role says
in the reply how long it waited, read, assembled and predicted. All on one machine, so by one clock, but the broker's
stamps and the role's wait are whole ms: only means of many are told, and half a ms is added to a broker's stamp.

Nothing is defined as what is left over, so the sum may miss the whole: ``budget_unexplained`` says by how much.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from streams import topics
from tests.bench.asking import Asked

_TRUNCATED_MS = 0.5
_LONGEST_READ_S = 30.0
_IN_THE_ROLE = ("read", "assemble", "predict")


class _Body(msgspec.Struct):
    request_id: str


def budget(kafka: str, namespace: str, model: str, asked: Asked) -> Mapping[str, float | None]:
    """Return the mean of each hop, ms, and the share of the whole that their sum misses.

    ``late`` is the caller's own lateness; ``send`` reaches from the caller to the broker's stamp; ``queue`` from there
    to the role; ``reply`` from the role back to the caller: its way to the broker is taken to last as long as the
    caller's own, its way from there is stamped.
    """
    appended = {
        f"{each.topic()}/{each.partition()}@{each.offset()}": float(each.timestamp()[1]) + _TRUNCATED_MS
        for each in _records(kafka, topics.requests_of(namespace, model))
    }
    replied = dict(map(_reply, _records(kafka, topics.replies(namespace))))
    told = [each for each in asked.told if each.request_id in appended and each.request_id in replied]
    whole = statistics.fmean(asked.latencies_ms)
    send = statistics.fmean(appended[each.request_id] - each.sent_ms for each in told)
    hops = {
        "late": whole - statistics.fmean(each.arrived_ms - each.sent_ms for each in asked.told),
        "send": send,
        "queue": statistics.fmean(each.timings["queue_ms"] for each in told),
        **{hop: statistics.fmean(each.timings.get(f"{hop}_ms", 0.0) for each in told) for hop in _IN_THE_ROLE},
        "reply": send + statistics.fmean(each.arrived_ms - replied[each.request_id] for each in told),
    }
    missed = (whole - sum(hops.values())) / whole
    return {
        **{f"budget_{hop}_ms": round(mean, 3) for hop, mean in hops.items()},
        "budget_whole_ms": round(whole, 3),
        "budget_unexplained": round(missed, 3),
        "budget_requests": len(told),
    }


def _reply(record: Message) -> tuple[str, float]:
    body = msgspec.json.decode(record.value() or b"{}", type=_Body)
    return body.request_id, float(record.timestamp()[1]) + _TRUNCATED_MS


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
