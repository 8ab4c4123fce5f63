"""Records and batches as a log hands them out, made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from streams.records import LOG_APPEND_TIME, Partition, Record, RecordBatch


class GivenRecord:
    """A record that is what it is told to be."""

    __slots__ = ("_appended_ms", "_headers", "_key", "_kind", "_offset", "_value")

    def __init__(
        self,
        offset: int,
        value: bytes | None,
        *,
        appended_ms: int = 2**42,
        kind: int = LOG_APPEND_TIME,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        self._offset = offset
        self._value = value
        self._appended_ms = appended_ms
        self._kind = kind
        self._key = key
        self._headers = headers

    def value(self) -> bytes | None:
        """Return the bytes."""
        return self._value

    def key(self) -> bytes | None:
        """Return the key."""
        return self._key

    def offset(self) -> int:
        """Return the offset."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Return the timestamp's type and ms."""
        return self._kind, self._appended_ms

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return the headers."""
        return self._headers


def json_record(offset: int, event: Any, **given: Any) -> GivenRecord:
    """Return a record of the event as JSON."""
    return GivenRecord(offset, json.dumps(event).encode(), **given)


def batch_of(partition: Partition, records: Sequence[Record], *, first: int = 0, end: int | None = None) -> RecordBatch:
    """Return a batch of ``records`` that begins at ``first`` and ends behind the last of them."""
    behind = (records[-1].offset() + 1 if records else first) if end is None else end
    return RecordBatch(partition, 1, first, behind, records)


def cut(partition: Partition, records: Sequence[Record], places: Iterable[int]) -> list[RecordBatch]:
    """Return the records as batches that end at ``places`` (indices), and at the end."""
    ends = sorted({place for place in places if 0 < place < len(records)} | {len(records)})
    batches: list[RecordBatch] = []
    begin, first = 0, 0
    for end in ends:
        batches.append(batch_of(partition, records[begin:end], first=first))
        begin, first = end, batches[-1].next
    return batches
