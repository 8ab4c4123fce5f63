"""The types a value may have, and the spans of time authors write as text."""

from __future__ import annotations

import re
from enum import StrEnum

from definitions.errors import DefinitionError

Value = int | float | bool | str | None
"""A feature, an input or a field of an event, once decoded. ``None`` is "no value"."""

_SPAN = re.compile(r"(\d+)(ms|s|m|h|d)\Z")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class ValueType(StrEnum):
    """The type of a field, a request input or a feature."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    CATEGORY = "category"
    TIME = "time"  # fields of events only: RFC 3339 with offset, or integer epoch ms


def parse_span(text: str, *, where: str) -> int:
    """Return the length in milliseconds of a span such as ``"90s"``, ``"15m"``, ``"24h"`` or ``"7d"``.

    Raises:
        DefinitionError: the text is no span, or an empty one.
    """
    match = _SPAN.match(text)
    if match is None or int(match[1]) == 0:
        raise DefinitionError(f"cannot read span: {where}: expected a number and ms, s, m, h or d, got {text!r}")
    return int(match[1]) * _UNIT_MS[match[2]]
