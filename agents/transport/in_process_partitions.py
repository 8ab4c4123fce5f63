"""What the log in memory keeps: records, and the partitions that they are appended to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agents.transport import Headers
from streams.records import LOG_APPEND_TIME, Partition


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record as the log keeps it: a `streams.records.Record`."""

    _value: bytes | None
    _key: bytes | None
    _headers: tuple[tuple[str, bytes], ...]
    _offset: int
    _timestamp_ms: int

    def value(self) -> bytes | None:
        """Return the bytes, None for a tombstone."""
        return self._value

    def key(self) -> bytes | None:
        """Return the key's bytes."""
        return self._key

    def offset(self) -> int:
        """Return the place in the partition."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Return (timestamp type, epoch ms)."""
        return LOG_APPEND_TIME, self._timestamp_ms

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return the headers in order, None where there are none."""
        return list(self._headers) or None


@dataclass(slots=True)
class KeptPartition:
    """A partition's records, and who waits for more of them."""

    partition: Partition
    records: list[KeptRecord] = field(default_factory=list)
    waiting: set[asyncio.Event] = field(default_factory=set)
    first: int = 0
    """Offset of the oldest record that may still be read."""

    @property
    def end(self) -> int:
        """Offset that the next record will get."""
        return len(self.records)

    def append(self, value: bytes | None, key: bytes | None, headers: Headers, now_ms: int) -> int:
        """Keep one record; return its offset. Cost: about 1 us, and one event for each reader that waits."""
        offset = len(self.records)
        # A broker's append times never go back, whatever its clock does.
        appended_ms = max(now_ms, self.records[-1].timestamp()[1]) if offset else now_ms
        self.records.append(KeptRecord(value, key, tuple(headers), offset, appended_ms))
        for event in self.waiting:
            event.set()
        return offset
