"""What a log hands out: records, whole batches of them, and where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Protocol

LOG_APPEND_TIME = 2
"""The timestamp type of a record whose time was given by the broker (Kafka's number)."""

_HEADERS = methodcaller("headers")


class Record(Protocol):
    """One record of a partition. `confluent_kafka.Message` is one as it is, so nothing is copied."""

    def value(self) -> bytes | None:
        """Return the bytes, None for a tombstone."""
        ...

    def key(self) -> bytes | None:
        """Return the key's bytes."""
        ...

    def offset(self) -> int:
        """Return the place in the partition."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Return (timestamp type, epoch ms); the type is `LOG_APPEND_TIME` where the broker gave the time."""
        ...

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return the headers in order, None where there are none."""
        ...


def headers_of(record: Record) -> Sequence[tuple[str, bytes]]:
    """Return the record's headers, none at all where the name of one is no UTF-8: other clients may write such names.

    confluent_kafka answers those with a list and an error at once. A plain call in a hot function lets that error come
    up somewhere later, which a call by `methodcaller` does not; and the list it keeps ends the process that touches it.

    Cost: 1 us.
    """
    try:
        found: Sequence[tuple[str, bytes]] | None = _HEADERS(record)
    except (SystemError, UnicodeDecodeError):
        forget = getattr(record, "set_headers", None)
        if forget is not None:
            forget([])
        return ()
    return found or ()


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of one topic. ``topic_id`` tells a recreated topic from the old one."""

    topic: str
    index: int
    topic_id: str

    @property
    def field(self) -> str:
        """The partition's name in rows and cells: ``<topic id>/<index>``."""
        return f"{self.topic_id}/{self.index}"


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The records of the half-open range ``[first, next)`` of one partition.

    ``first`` is the ``next`` of the batch before it, so ranges join without gaps even where offsets do not.
    ``assignment`` grows with every assignment and every rewind of the partition: a batch of an older number is stale.
    """

    partition: Partition
    assignment: int
    first: int
    next: int
    records: Sequence[Record]

    def before(self, end: int) -> RecordBatch:
        """Return the part below offset ``end``."""
        records = [record for record in self.records if record.offset() < end]
        return RecordBatch(self.partition, self.assignment, self.first, min(self.next, end), records)
