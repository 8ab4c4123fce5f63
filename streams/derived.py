"""Where a derived record comes from: the header that every record which headrace derives carries."""

from __future__ import annotations

import json

from streams.records import Partition

POSITION_HEADER = "headrace-position"


def position_header(source: Partition, after: int, index: int = 0) -> tuple[str, bytes]:
    """Return the header: the source's topic and partition, the offset after its record, and the place among equals.

    Example:
        >>> position_header(Partition("labels", 3, "t"), 18)
        ('headrace-position', b'["labels",3,18,0]')
    """
    return POSITION_HEADER, json.dumps([source.topic, source.index, after, index], separators=(",", ":")).encode()
