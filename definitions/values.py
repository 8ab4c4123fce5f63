"""The types a value may have, and the spans of time authors write as text."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from enum import StrEnum

from definitions.errors import DefinitionError

Scalar = int | float | bool | str | None
Value = Scalar | list[float]
"""A feature, an input or a field of an event, once decoded. ``None`` is "no value"; a list is never changed."""

_SPAN = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_SHOWN_CHARACTERS = 80
# A value may come from anywhere: nested as deep as Python allows, or a list of a million.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 3 * _SHOWN_CHARACTERS
LONGEST_SPAN_MS = 3_650 * 86_400_000
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class ValueType(StrEnum):
    """The type of a field, a request input or a feature."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    CATEGORY = "category"
    TIME = "time"  # epoch ms inside; on the wire of an event RFC 3339 with offset, or integer epoch ms
    EMBEDDING = "embedding"  # numbers of a declared length, which mean something only together

    @property
    def written(self) -> str:
        """How authors write the type: a category is a ``str``."""
        return _WRITTEN.get(self.value, self.value)


_WRITTEN = {"category": "str", "time": "datetime", "embedding": "list[float]"}

PLAIN_TYPES: Mapping[ValueType, frozenset[type]] = {
    ValueType.INT: frozenset({int}),
    ValueType.FLOAT: frozenset({float, int}),
    ValueType.BOOL: frozenset({bool}),
    ValueType.CATEGORY: frozenset({str}),
    ValueType.TIME: frozenset({int}),
    ValueType.EMBEDDING: frozenset({list}),
}
"""The Python types that a decoded value of each type may have. A bool is no number, an int serves as a float."""

LARGEST_NUMBER = 3.4028234663852886e38
"""The largest float32: a larger number would be an infinity in a model's matrix."""


def misfit(kind: ValueType, value: object, length: int | None = None) -> str:
    """Return why ``value`` is no value of ``kind``, ``expected float, got 'x'``; nothing where it is one, or None.

    An embedding has to have ``length`` numbers, each of them finite.
    """
    if value is None:
        return ""
    if kind is ValueType.EMBEDDING:
        return _embedding_misfit(value, length)
    if type(value) not in PLAIN_TYPES[kind]:
        return f"expected {kind.written}, got {shown(value)}"
    if isinstance(value, int | float) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        return f"expected a finite number, got {shown(value)}"
    return ""


def _embedding_misfit(value: object, length: int | None) -> str:
    if not isinstance(value, list) or len(value) != length:
        got = f"{len(value)}" if isinstance(value, list) else shown(value)
        return f"expected a list of {length} numbers, got {got}"
    return next((wrong for each in value if (wrong := _number_misfit(each))), "")


def _number_misfit(value: object) -> str:
    return "expected a number, got null" if value is None else misfit(ValueType.FLOAT, value)


def magnitude(value: Value) -> float:
    """Return the number that stands for a value where one is needed: an embedding's Euclidean length, 0 for None."""
    return math.hypot(*value) if isinstance(value, list) else float(value or 0)


def shown(value: object) -> str:
    """Return a value as an error shows it, cut at 80 characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def parse_span(text: str, *, where: str) -> int:
    """Return the length in milliseconds of a span such as ``"90s"``, ``"15m"``, ``"24h"`` or ``"7d"``.

    Raises:
        DefinitionError: the text is no span, an empty one, or one of more than ten years.
    """
    match = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) == 0:
        raise DefinitionError(f"cannot read span: {where}: expected a number and ms, s, m, h or d, got {text!r}")
    length_ms = int(match[1]) * _UNIT_MS[match[2]]
    if length_ms > LONGEST_SPAN_MS:
        raise DefinitionError(f"cannot read span: {where}: expected at most 3650d, got {text!r}")
    return length_ms
