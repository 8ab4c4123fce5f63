"""Whether a partition of a source topic may be read on: by what is in the store, by what its records are worth.

What is refused here stands still until a command or the world mends it; nothing of it is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.context import RoleContext
from agents.dead_letters import Sending
from agents.transport import Assigned, LogUnavailable, PartitionPaused
from streams import sources
from streams.breaker import WINDOW_RECORDS
from streams.records import Partition
from streams.repairs import Fault, fault_of
from streams.store import Pointer, StoredRow


class SourceGuard:
    """Refuses partitions whose rows do not fit the log, that are full of poison, or whose copies find no topic."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._plain: set[str] = set()
        self._poisoned: dict[Partition, tuple[int, PartitionPaused]] = {}
        self._unsent: dict[Partition, tuple[str, PartitionPaused]] = {}

    async def admit(self, given: Assigned, rows: Sequence[StoredRow | None]) -> int:
        """Return up to which offset dead records are accepted, if the partition may be read.

        Args:
            given: the partition.
            rows: as read before this call, the intake's first.

        Raises:
            PartitionPaused: it may not, now.
            LogUnavailable: the log did not say what it knows of the topic.
        """
        partition = given.partition
        source, accepted = sources.read_pointers(self._context.store, partition)
        fault = await self._fault(given, rows, source)
        if fault is not None:
            raise PartitionPaused(fault.reason, fault.message)
        await self._refuse_again(partition, accepted)
        if source is None:
            count = len(await self._context.log.partitions(partition.topic))
            sources.pin(self._context.store, partition.topic_id, partition.topic, count)
        return accepted

    def poisoned(self, partition: Partition, offset: int) -> PartitionPaused:
        """Return the refusal of a partition whose breaker tripped at an offset; `admit` repeats it until resumed."""
        topic, index = partition.topic, partition.index
        pause = PartitionPaused(
            "poison",
            f"cannot go on: {topic}[{index}]: expected events, got more than half dead of the last {WINDOW_RECORDS} "
            f"records up to offset {offset}; look with `headrace dlq list {topic}`, mend the producer or the "
            f"definition, then run `headrace dlq resume {topic} {index}`",
        )
        self._poisoned[partition] = (offset, pause)
        return pause

    async def arrived(self, partition: Partition, going: Sequence[Sending]) -> None:
        """Return when all that was sent aside is acknowledged.

        Raises:
            PartitionPaused: something was not; `admit` repeats it while its topic is missing.
        """
        for each in going:
            try:
                await each.arrived()
            except LogUnavailable as error:
                pause = PartitionPaused(
                    each.what,
                    f"cannot go on: {partition.topic}[{partition.index}]: expected {each.topic} to take what goes "
                    f"aside, got: {error}; a missing topic is created by `headrace run`; "
                    "the partition waits and tries again",
                )
                self._unsent[partition] = (each.topic, pause)
                raise pause from error

    async def _fault(self, given: Assigned, rows: Sequence[StoredRow | None], source: Pointer | None) -> Fault | None:
        log, partition = self._context.log, given.partition
        policy = "delete" if partition.topic in self._plain else await log.cleanup_policy(partition.topic)
        if "compact" not in policy:
            self._plain.add(partition.topic)

        def judged(bounds: tuple[int, int]) -> Fault | None:
            was_read = given.committed is not None
            return fault_of(partition, rows, bounds, source=source, policy=policy, was_read=was_read)

        fault = judged((given.first, given.end))
        if fault is not None and fault.reason in {"log_start", "log_end"}:
            # What was known when the partition was given may be old by now.
            [bounds] = await log.bounds([partition])
            fault = judged(bounds)
        return fault

    async def _refuse_again(self, partition: Partition, accepted: int) -> None:
        offset, poisoned = self._poisoned.get(partition, (-1, None))
        if poisoned is not None and accepted <= offset:
            raise poisoned
        self._poisoned.pop(partition, None)
        topic, unsent = self._unsent.get(partition, ("", None))
        # Asked first: a send to a topic that is not there keeps the whole role waiting for its timeout.
        if unsent is not None and not await self._context.log.partitions(topic):
            raise unsent
        self._unsent.pop(partition, None)
