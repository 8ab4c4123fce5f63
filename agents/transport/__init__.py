"""The transport's contract, below Faust: an ordered log, members of consumer groups, and what a role is to them.

Two implementations pass ``tests/contracts/log_contract.py``: `agents.transport.kafka` on librdkafka, hosted by Faust,
and `agents.transport.in_process`, an ordered log in memory with groups, rebalances and a manual clock.

How a batch travels: a member polls whole `RecordBatch` values; `agents.runner.Runner` applies one only if its ``first``
is the runner's next position for that partition, and else finds out by the assignment number whether the batch is stale
(dropped) or a gap (rewind). Safety does not rest on that: every effect is a link of a chain (`streams.store`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from streams.records import Partition, Record, RecordBatch
from streams.topics import TopicConfig

Headers = Sequence[tuple[str, bytes]]

LINGER_MS = 5
"""How long a record that nobody waits for may wait for company, where no role says otherwise."""


class LogUnavailable(Exception):  # noqa: N818  # the counterpart of StoreUnavailable
    """The log did not answer in time. One line for people: what was asked, of which address, what to do."""


class PartitionPaused(Exception):  # noqa: N818  # likewise
    """One partition may not be read on, for a reason that time alone does not mend. All others go on.

    Args:
        reason: a word or two for the metric, such as ``poison``.
        message: one line for people: what could not be done, where, why, and the command that resolves it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CommitPolicy(StrEnum):
    """When a batch counts as consumed."""

    AFTER_DURABLE = "after_durable"
    """When the role has made its effects durable: features, learning, monitoring, archive."""
    ON_TAKE = "on_take"
    """When the role takes it: scoring, whose redelivered requests would be answered too late to be of use."""


class StartAt(StrEnum):
    """Where a group without history begins. Always by seek, never by a reset policy."""

    FIRST = "first"
    END = "end"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a member of a group reads, and by which rules."""

    group: str
    topics: tuple[str, ...]
    policy: CommitPolicy
    start: StartAt
    patience_ms: int = 0
    """How long a record may wait for others where one was applied just before; none waits while the group is behind."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition newly given to this member, with what the log knows about it."""

    partition: Partition
    assignment: int
    first: int
    """Offset of the oldest retained record."""
    end: int
    """Offset that the next record will get."""
    committed: int | None
    """The group's hint, None where the group has no history."""


class Listener(Protocol):
    """What a member tells about its partitions. Implemented by `agents.runner.Runner`."""

    async def assigned(self, given: Assigned) -> int | None:
        """Return the position to resume from, None to read nothing until a seek. Called before the first batch."""
        ...

    async def revoked(self, partition: Partition) -> None:
        """Finish or drop what is in flight and forget the partition. Called with a deadline, before it moves."""
        ...

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """The partition was read to its end: told soon after it came to be so, then once a second while it stays so.

        Every record appended before ``broker_ms`` lies below ``end``.
        """
        ...

    async def lost_place(self, partition: Partition, first: int, end: int) -> None:
        """The partition's position is not in ``first..end``, what the log holds: it is not read until a seek."""
        ...


class Member(Protocol):
    """One member of one consumer group."""

    async def start(self, listener: Listener) -> None:
        """Join the group."""
        ...

    async def poll(self, timeout_s: float) -> RecordBatch | None:
        """Return the next batch, None if there was none in time."""
        ...

    def assignment(self, partition: Partition) -> int | None:
        """Return the partition's current assignment number, None if it is not this member's."""
        ...

    def seek(self, partition: Partition, position: int) -> None:
        """Rewind (or skip) the partition; raises its assignment number, so that batches under way become stale."""
        ...

    def hold(self, partition: Partition) -> None:
        """Read no more of the partition until the next `seek`. Batches under way still come."""
        ...

    def commit(self, partition: Partition, position: int) -> None:
        """Note the group's hint. Sent asynchronously, at most every 50 ms, and before the partition moves."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Drain within ``drain_s`` seconds, commit, leave the group."""
        ...


class Producer(Protocol):
    """Writes records. Equal keys meet in one partition: ``murmur2_random``, Java's partitioner."""

    failed: int
    """How many records sent without waiting could not be delivered."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[int]:
        """Send one record now; await the result for the broker's acknowledgement: the record's offset.

        Raises:
            LogUnavailable: when awaited, if the record was not acknowledged in time.
        """
        ...

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Send one record without waiting; a failed delivery is counted. For replies and other best efforts."""
        ...

    async def flush(self, timeout_s: float) -> int:
        """Wait until everything sent is acknowledged; return how many records are not yet."""
        ...


class Tail(Protocol):
    """Reads partitions by position, in no group: reply consumers, followers of deployments, history."""

    async def poll(self, timeout_s: float) -> Sequence[tuple[Partition, Record]]:
        """Return what has come, in order within each partition; empty if nothing came in time."""
        ...

    async def stop(self) -> None:
        """Stop reading."""
        ...


class Log(Protocol):
    """An ordered, partitioned log: Kafka, or one in memory."""

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Create the topics that are missing; leave the others as they are."""
        ...

    async def partitions(self, topic: str) -> tuple[Partition, ...]:
        """Return the topic's partitions in order, empty if there is no such topic."""
        ...

    async def bounds(self, partitions: Sequence[Partition]) -> list[tuple[int, int]]:
        """Return (first, end) of each partition: its oldest offset, and the one its next record will get."""
        ...

    async def ends(self, partitions: Sequence[Partition]) -> list[int]:
        """Return the end of each partition: the offset that its next record will get. Cheaper than `bounds`."""
        ...

    async def cleanup_policy(self, topic: str) -> str:
        """Return the topic's ``cleanup.policy``: ``delete``, ``compact`` or both with a comma."""
        ...

    async def stop_compacting(self, topic: str) -> None:
        """Let the topic keep every record until its retention passes."""
        ...

    def producer(self) -> Producer:
        """Return the producer of this process; one is made and shared."""
        ...

    def unhurried_producer(self, linger_ms: int = LINGER_MS) -> Producer:
        """Return the process's producer of records that nobody waits for: each may wait so long for others."""
        ...

    def reply_producer(self) -> Producer:
        """Return the process's producer of replies: none waits for another, and one may come twice, or overtake."""
        ...

    def member(self, subscription: Subscription) -> Member:
        """Return a new member of a group, not yet joined."""
        ...

    async def tail(self, positions: Sequence[tuple[Partition, int]]) -> Tail:
        """Return a reader that is ready when this returns: what is appended afterwards is seen."""
        ...

    def now_ms(self) -> int:
        """Return the time that the log gives to records appended now (for Kafka, this machine's estimate of it)."""
        ...

    async def close(self) -> None:
        """Flush and let go of connections."""
        ...


class Role(Protocol):
    """What a role does with its partitions: plain async functions, hosted by Faust or driven bare.

    The runner calls these one at a time. An exception other than `StoreUnavailable`, `ChainBroken`, `LogUnavailable`
    and `PartitionPaused` ends the process: a bad record is the role's own business and becomes a dead letter.
    """

    name: str

    def subscription(self) -> Subscription:
        """Return what the role reads."""
        ...

    async def open(self, given: Assigned) -> int:
        """Read the rows of a partition, forget what was cached of it, return the position to resume from."""
        ...

    async def apply(self, batch: RecordBatch) -> None:
        """Make the batch's effects durable. Only ever called with the batch that follows the last one.

        A batch may hold no records where the log has offsets without any (transaction markers, compaction).
        """
        ...

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """The end of the partition is reached and applied: told soon after, then once a second while it stays so.

        Every record appended before ``broker_ms`` lies below ``end``. A busy partition may never come to rest at its
        end; one that pauses for 20 ms does.
        """
        ...

    async def close(self, partition: Partition) -> None:
        """Flush and forget the partition."""
        ...
