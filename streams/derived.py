"""Where a derived record comes from: the headers that every record which headrace derives carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec

from streams.records import LOG_APPEND_TIME, Partition

POSITION_HEADER = "headrace-position"
COPIED_HEADER = "headrace-copied"
"""What a copy of an event says beside its position: ``[topic id, behind, LogAppendTime]``, see `CopiedFrom`."""

_NO_STAMP = (0, 0)
_Offset = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Index = Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)]
_Position = tuple[str, _Index, _Offset, int]
_Copied = tuple[str, _Offset, _Offset | None]
_encode = msgspec.json.Encoder().encode
_position_of = msgspec.json.Decoder(_Position).decode
_copied_of = msgspec.json.Decoder(_Copied).decode


def position_header(source: Partition, after: int, index: int = 0) -> tuple[str, bytes]:
    """Return the header: the source's topic and partition, the offset after its record, and the place among equals.

    Example:
        >>> position_header(Partition("labels", 3, "t"), 18)
        ('headrace-position', b'["labels",3,18,0]')
    """
    return POSITION_HEADER, _encode((source.topic, source.index, after, index))


class CopiedFrom(NamedTuple):
    """Which record of a source topic a copy is of."""

    topic_id: str
    partition: int
    """The source's."""
    after: int
    """The offset behind the source record."""
    behind: int
    """The ``after`` of the copy that was sent to the same place just before this one and was not acknowledged yet; 0
    where all before it were."""
    stamp: tuple[int, int]
    """The source record's timestamp: its type and epoch ms."""
    is_replay: bool = False
    """It was a dead letter of the copy topic, and people put it back (`streams.dead_letters`)."""

    @property
    def source_id(self) -> str:
        """The source record: topic id, partition and offset."""
        return f"{self.topic_id}/{self.partition}/{self.after - 1}"


class CopyHeaders:
    """The headers of the copies of one source partition, to be put behind the records' own.

    Example:
        >>> CopyHeaders(Partition("visits", 3, "t"))(18, 0, (LOG_APPEND_TIME, 77))
        [('headrace-position', b'["visits",3,18,0]'), ('headrace-copied', b'["t",0,77]')]
    """

    def __init__(self, source: Partition) -> None:
        # One copy's differ from the next one's in three numbers alone.
        self._position = _encode((source.topic, source.index))[:-1] + b",%d,0]"
        self._copied = _encode((source.topic_id,))[:-1] + b",%d,%s]"

    def __call__(self, after: int, behind: int, stamp: tuple[int, int]) -> list[tuple[str, bytes]]:
        """Return the two. Cost: 0.6 us.

        Args:
            after: the offset behind the source record.
            behind: as `CopiedFrom.behind`.
            stamp: the source record's timestamp.
        """
        kind, at_ms = stamp
        appended = b"%d" % at_ms if kind == LOG_APPEND_TIME else b"null"
        return [(POSITION_HEADER, self._position % after), (COPIED_HEADER, self._copied % (behind, appended))]


def copied_from(headers: Sequence[tuple[str, bytes | None]]) -> CopiedFrom | None:
    """Return what the record with these headers is a copy of, None if it does not say so. Cost: 2 us."""
    # What stands before the last two is the source record's own, whatever its name.
    said = dict(headers[-2:])
    try:
        _, index, after, _ = _position_of(said[POSITION_HEADER] or b"")
        topic_id, behind, appended_ms = _copied_of(said[COPIED_HEADER] or b"")
    except (KeyError, msgspec.DecodeError):
        return None
    stamp = _NO_STAMP if appended_ms is None else (LOG_APPEND_TIME, appended_ms)
    return CopiedFrom(topic_id, index, after, behind, stamp)
