"""The past of a project's log, for work on it: of Kafka, or of the log in this process's memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from agents.transport.in_process import InProcessLog
from streams.records import Partition, RecordBatch

_BATCH_RECORDS = 10_000


class InProcessHistory:
    """A `batch.history.History` of a log in memory. It sees what is there when it is asked."""

    def __init__(self, log: InProcessLog, partitions: Mapping[str, Sequence[Partition]]) -> None:
        self._log = log
        self._partitions = partitions

    @classmethod
    async def of(cls, log: InProcessLog, topics: Iterable[str]) -> InProcessHistory:
        """Return the history of ``topics``; those that are created later are not in it."""
        return cls(log, {topic: await log.partitions(topic) for topic in topics})

    def partitions(self, topic: str) -> Sequence[Partition]:
        """Return the topic's partitions in order, empty if there is no such topic."""
        return self._partitions.get(topic, ())

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return (first, end) of the partition."""
        kept = self._log.kept(partition)
        return kept.first, kept.end

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        """Return the records of ``[first, end)``."""
        records = self._log.kept(partition).records
        for low in range(first, end, _BATCH_RECORDS):
            high = min(low + _BATCH_RECORDS, end)
            yield RecordBatch(partition, 0, low, high, records[low:high])
