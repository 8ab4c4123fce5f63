"""Reads a whole topic, from its oldest record to what is its end now: for commands, not for roles."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from agents.transport import Log, LogUnavailable
from streams.records import Partition, Record

_POLL_S = 0.2
_STALL_S = 20.0


async def read_topic(
    log: Log, partitions: Sequence[Partition], *, firsts: Mapping[Partition, int] | None = None
) -> list[tuple[Partition, Record]]:
    """Return every record that the partitions have now, in order within each.

    Args:
        log: where they are.
        partitions: of one or several topics.
        firsts: where to begin in those that are named; the others are read from their oldest record on.

    Raises:
        LogUnavailable: the log did not hand them out.
    """
    begins = firsts or {}
    spans = [
        (partition, max(first, begins.get(partition, first)), end)
        for partition, (first, end) in zip(partitions, await log.bounds(partitions), strict=True)
    ]
    # The newest record is never compacted away, and nobody writes these topics in transactions: the end is a record's.
    missing = {partition: end for partition, first, end in spans if first < end}
    found: list[tuple[Partition, Record]] = []
    if not missing:
        return found
    tail = await log.tail([(partition, first) for partition, first, _ in spans if partition in missing])
    until_s = time.monotonic() + _STALL_S
    try:
        while missing:
            read = await tail.poll(_POLL_S)
            if not read and time.monotonic() >= until_s:
                names = ", ".join(sorted({each.topic for each in missing}))
                raise LogUnavailable(f"cannot read: {names}: expected records, got none for {_STALL_S:.0f} s")
            until_s = time.monotonic() + _STALL_S if read else until_s
            for partition, record in read:
                if record.offset() < missing.get(partition, 0):
                    found.append((partition, record))
                if record.offset() + 1 >= missing.get(partition, 2**63):
                    del missing[partition]
    finally:
        await tail.stop()
    return found
