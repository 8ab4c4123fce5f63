"""Where a member of a Kafka group stands in each of its partitions, and how polled messages become batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Message, TopicPartition

from streams.records import Partition, RecordBatch

QUIET_S = 0.02
"""How long a partition must have stood at its end before that is told."""

_END_EVERY_S = 1.0


@dataclass(slots=True)
class Lane:
    """One partition in the hands of the polling thread."""

    partition: Partition
    assignment: int
    next: int
    stopped: bool = False
    """Assigned, but not read: its resume position lies outside the log."""
    confirmed: bool = False
    """The first record after an assignment or a seek was the one asked for, or asked for twice."""
    end: int | None = None
    """Where the log ended when it was read to its end; None while there is more."""
    moved_s: float = 0.0
    """When it last moved, on the monotonic clock."""
    told_s: float | None = None
    """When its end was last told."""
    told: int | None = None
    """The end that was told last."""

    def at(self, position: int) -> TopicPartition:
        """Return the partition and a position as the client library names them."""
        return TopicPartition(self.partition.topic, self.partition.index, position)

    def place(self, position: int, assignment: int) -> None:
        """Go on from another position, under a new assignment number."""
        self.next, self.assignment = position, assignment
        self.stopped, self.confirmed, self.end, self.told = False, False, None, None

    def batch(self, messages: Sequence[Message], now_s: float) -> RecordBatch | None:
        """Return the batch that ``messages`` make, None where they do not begin at ``next`` and must be asked again.

        A log may have gaps; a seek that the client library mixed up with what it had fetched before looks the same.
        So the first gap after a seek is asked for once more, and believed the second time.
        """
        first = messages[0].offset()
        if first is None or first < self.next or (first > self.next and not self.confirmed):
            self.confirmed = True
            return None
        self.confirmed = True
        begin, self.next = self.next, (messages[-1].offset() or 0) + 1
        self.end, self.moved_s = None, now_s
        return RecordBatch(self.partition, self.assignment, begin, self.next, messages)  # type: ignore[arg-type]

    def reach(self, end: int, now_s: float) -> RecordBatch | None:
        """Note the end of the log; return an empty batch where offsets without records lie before it."""
        skipped = None
        if end > self.next:
            skipped = RecordBatch(self.partition, self.assignment, self.next, end, ())
            self.next = end
            self.moved_s = now_s
        if end == self.next:
            self.end = end
        return skipped

    def tells_its_end(self, now_s: float, apart_s: float) -> bool:
        """Return whether the end is to be told now: it was reached and nothing came since, or once more each second.

        Each telling asks the broker; so ends are told ``apart_s`` apart at least where a record comes now and then.
        """
        if self.stopped or self.end != self.next or now_s - self.moved_s < QUIET_S:
            return False
        return self.told_s is None or now_s - self.told_s >= (_END_EVERY_S if self.told == self.end else apart_s)


def ends_to_tell(lanes: Iterable[Lane], now_s: float, apart_s: float) -> list[tuple[Partition, int]]:
    """Return the ends that are to be told now, and note that they are."""
    due = [lane for lane in lanes if lane.tells_its_end(now_s, apart_s)]
    for lane in due:
        lane.told, lane.told_s = lane.end, now_s
    return [(lane.partition, lane.next) for lane in due]


def by_partition(messages: Sequence[Message]) -> Iterator[tuple[tuple[str, int], list[Message]]]:
    """Yield the messages of each partition, in order; errors belong to the partition they are about."""
    keys = list(zip(map(Message.topic, messages), map(Message.partition, messages), strict=True))
    if keys.count(keys[0]) == len(keys):
        yield keys[0], list(messages)  # type: ignore[misc]
        return
    found: dict[tuple[str, int], list[Message]] = {}
    for key, run in itertools.groupby(zip(keys, messages, strict=True), key=lambda pair: pair[0]):
        found.setdefault(key, []).extend(message for _, message in run)
    yield from found.items()
