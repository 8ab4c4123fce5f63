"""A history in memory: topics to partitions to records, for tests of work on the past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from streams.records import Partition, RecordBatch


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record whose time was given by its producer."""

    at: int
    data: bytes | None

    def value(self) -> bytes | None:
        """Return the bytes."""
        return self.data

    def key(self) -> bytes | None:
        """Return nothing."""
        return None

    def offset(self) -> int:
        """Return the place in the partition."""
        return self.at

    def timestamp(self) -> tuple[int, int]:
        """Return that the broker gave no time."""
        return (0, -1)

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return nothing."""
        return None


@dataclass(slots=True)
class MemoryHistory:
    """A `batch.history.History` of what a test put in."""

    topics: Mapping[str, Sequence[Sequence[bytes | None]]]
    batch: int = 3
    reads: list[str] = field(default_factory=list)

    def partitions(self, topic: str) -> Sequence[Partition]:
        """Return the topic's partitions."""
        return [Partition(topic, index, f"id-{topic}") for index in range(len(self.topics.get(topic, ())))]

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return (0, number of records)."""
        return 0, len(self.topics[partition.topic][partition.index])

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        """Return the records in batches of a few."""
        self.reads.append(partition.topic)
        values = self.topics[partition.topic][partition.index]
        for low in range(first, end, self.batch):
            high = min(low + self.batch, end)
            records = [KeptRecord(offset, values[offset]) for offset in range(low, high)]
            yield RecordBatch(partition, 0, low, high, records)
