"""``python -m tests.chaos.crash POINT HIT``: a features process that kills itself at a named point.

The role's process as it is in production, but for what lies between it and the world: its store and its Kafka consumer
are wrapped, and SIGKILL their process at the HIT-th time that they come to the point: a number, or ``last``, which is
where the last record of a partition (``ends.json``) is concerned.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

import headrace.session
from agents.featurize import FeaturesRole
from agents.transport import Assigned, kafka_producer, kafka_reader
from headrace import role
from streams.records import Partition
from streams.store import Link, OnlineStore

POINTS = (
    "before-write",
    "after-write",
    "before-letter",
    "after-letter",
    "before-commit",
    "after-commit",
    "in-open",
    "in-revoke",
)
HITS = ("1", "2", "last")


class Trap:
    """Ends this process at one point, as kill -9 does."""

    def __init__(self, point: str, hit: str) -> None:
        self._point = point
        self._hit = hit
        self._hits = 0

    def reach(self, point: str, *, last: bool) -> None:
        """Come to a point."""
        if point != self._point:
            return
        self._hits += 1
        if last if self._hit == "last" else self._hits == int(self._hit):
            os.kill(os.getpid(), signal.SIGKILL)


def ends() -> dict[int, int]:
    """Return where the partitions end, as far as the scenario has told; beyond every offset where it has not."""
    told = Path("ends.json")
    found = json.loads(told.read_text()) if told.exists() else {}
    return {int(index): end for index, end in found.items()}


def _is_end(index: int, position: int) -> bool:
    return ends().get(index) == position


class TrappedStore:
    """The store, with a trap before and after each write."""

    def __init__(self, store: OnlineStore, trap: Trap) -> None:
        self._store = store
        self._trap = trap

    def __getattr__(self, name: str) -> Any:
        """Be the store in all else."""
        return getattr(self._store, name)

    def write(self, links: Sequence[Link]) -> None:
        """Write, if that is survived."""
        last = any(link.row is not None and _is_end(link.key.partition.index, link.row.next) for link in links)
        self._trap.reach("before-write", last=last)
        self._store.write(links)
        self._trap.reach("after-write", last=last)


def trapped_consumer(trap: Trap) -> type[Consumer]:
    """Return the client library's consumer, with a trap before and after each commit."""

    class TrappedConsumer(Consumer):
        def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> Any:  # type: ignore[override]
            del asynchronous  # waited for, so that "after" is after
            last = any(_is_end(each.partition, each.offset) for each in offsets)
            trap.reach("before-commit", last=last)
            super().commit(offsets=list(offsets), asynchronous=False)
            trap.reach("after-commit", last=last)

    return TrappedConsumer


def trapped_producer(trap: Trap) -> type[kafka_producer.KafkaProducer]:
    """Return the producer, with a trap before a dead letter is sent and after it is acknowledged."""

    class TrappedProducer(kafka_producer.KafkaProducer):
        def produce(self, topic: str, value: bytes | None, **given: Any) -> Any:
            headers = dict(given.get("headers") or ())
            index, offset = int(headers.get("dlq.partition", b"-1")), int(headers.get("dlq.offset", b"-1"))
            last = _is_end(index, offset + 1)
            trap.reach("before-letter", last=last)
            sent = super().produce(topic, value, **given)

            async def acknowledged() -> int:
                found: int = await sent
                trap.reach("after-letter", last=last)
                return found

            return acknowledged()

    return TrappedProducer


def trap_role(trap: Trap) -> None:
    """Set traps where a partition has just been opened, and where one is about to be given up.

    The last opening is the one with which two partitions are in hand, the share of a third process that comes; the last
    to be given up is the only one left.
    """
    opened, closed = FeaturesRole.open, FeaturesRole.close
    held: set[Partition] = set()

    async def trapped_open(self: FeaturesRole, given: Assigned) -> int:
        found = await opened(self, given)
        held.add(given.partition)
        trap.reach("in-open", last=len(held) == 2)
        return found

    async def trapped_close(self: FeaturesRole, partition: Partition) -> None:
        trap.reach("in-revoke", last=len(held) == 1)
        held.discard(partition)
        await closed(self, partition)

    FeaturesRole.open = trapped_open  # type: ignore[method-assign]
    FeaturesRole.close = trapped_close  # type: ignore[method-assign]


def main() -> None:
    """Be a features process until the trap springs."""
    trap = Trap(*sys.argv[1:3])
    plain = headrace.session.open_store
    headrace.session.open_store = lambda *given: TrappedStore(plain(*given), trap)
    setattr(kafka_reader, "Consumer", trapped_consumer(trap))  # noqa: B010  # the reader's own name for it
    from agents.transport import kafka  # noqa: PLC0415  # after the names it takes are ours

    setattr(kafka, "KafkaProducer", trapped_producer(trap))  # noqa: B010
    trap_role(trap)
    sys.argv[1:] = ["features"]
    role.main()


if __name__ == "__main__":
    main()
