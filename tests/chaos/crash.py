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
from agents.copy_events import CopyRole
from agents.featurize import FeaturesRole
from agents.transport import Assigned, kafka_producer, kafka_reader
from headrace import role
from streams.copies import copier_fold
from streams.derived import copied_from
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
COPY_POINTS = (
    "before-copy",
    "after-copy",
    "before-copied",
    "after-copied",
    "copier-open",
    "copier-revoke",
    "before-commit",
    "after-commit",
)
"""Where a copier dies: at a copy, at its row, at its hint to the group, and where partitions come and go."""

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
        what = "copied" if any(link.key.fold.startswith(copier_fold("")) for link in links) else "write"
        self._trap.reach(f"before-{what}", last=last)
        self._store.write(links)
        self._trap.reach(f"after-{what}", last=last)


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
    """Return the producer, with a trap before a dead letter or a copy is sent, and after it is acknowledged."""

    class TrappedProducer(kafka_producer.KafkaProducer):
        def produce(self, topic: str, value: bytes | None, **given: Any) -> Any:
            what, last = _sent(given.get("headers") or ())
            trap.reach(f"before-{what}", last=last)
            sent = super().produce(topic, value, **given)

            async def acknowledged() -> int:
                found: int = await sent
                trap.reach(f"after-{what}", last=last)
                return found

            return acknowledged()

    return TrappedProducer


def _sent(headers: Sequence[tuple[str, bytes | None]]) -> tuple[str, bool]:
    """Return what is sent, and whether it is of the last record of a partition that comes to that."""
    copied, told = copied_from(headers), dict(headers)
    if copied is not None:
        # The very last one cannot be used: it is not copied.
        return "copy", _is_end(copied.partition, copied.after + 1)
    index, offset = int(told.get("dlq.partition") or b"-1"), int(told.get("dlq.offset") or b"-1")
    return "letter", _is_end(index, offset + 1)


def trap_role(trap: Trap, role: type[FeaturesRole | CopyRole], in_open: str, in_revoke: str) -> None:
    """Set traps where a partition has just been opened, and where one is about to be given up.

    The last opening is the one with which two partitions are in hand, the share of a third process that comes; the last
    to be given up is the only one left.
    """
    opened, closed = role.open, role.close
    held: set[Partition] = set()

    async def trapped_open(self: Any, given: Assigned) -> int:
        found = await opened(self, given)
        held.add(given.partition)
        trap.reach(in_open, last=len(held) == 2)
        return found

    async def trapped_close(self: Any, partition: Partition) -> None:
        trap.reach(in_revoke, last=len(held) == 1)
        held.discard(partition)
        await closed(self, partition)

    role.open = trapped_open  # type: ignore[method-assign]
    role.close = trapped_close  # type: ignore[method-assign]


def main() -> None:
    """Be a features process until the trap springs."""
    trap = Trap(*sys.argv[1:3])
    plain = headrace.session.open_store
    headrace.session.open_store = lambda *given: TrappedStore(plain(*given), trap)
    setattr(kafka_reader, "Consumer", trapped_consumer(trap))  # noqa: B010  # the reader's own name for it
    from agents.transport import kafka  # noqa: PLC0415  # after the names it takes are ours

    setattr(kafka, "KafkaProducer", trapped_producer(trap))  # noqa: B010
    trap_role(trap, FeaturesRole, "in-open", "in-revoke")
    trap_role(trap, CopyRole, "copier-open", "copier-revoke")
    sys.argv[1:] = ["features"]
    role.main()


if __name__ == "__main__":
    main()
