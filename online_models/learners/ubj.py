"""Reads Universal Binary JSON as XGBoost writes it: numbers are exact, and arrays of them stay the bytes they are."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {"i": "i1", "U": "u1", "I": "i2", "l": "i4", "L": "i8", "d": "f4", "D": "f8"}
_NUMBERS = {
    ord(mark): struct.Struct(">" + code)
    for mark, code in {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}.items()
}
_CONSTANTS = {ord("Z"): None, ord("T"): True, ord("F"): False}
_TEXT, _ARRAY, _OBJECT, _COUNTED, _ARRAY_END, _OBJECT_END = b"S[{#]}"
_TYPED = b"[$"


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers of one type, as they lie in the file."""

    kind: str
    raw: bytes

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.raw) // np.dtype(_KINDS[self.kind]).itemsize


def numbers(parts: Sequence[Packed | list[Any]]) -> NDArray[Any]:
    """Return the numbers of all parts behind each other, in this machine's byte order. Parts are of one type.

    Raises:
        ValueError: they are not.
    """
    packed = [each for each in parts if isinstance(each, Packed)]
    kinds = {each.kind for each in packed}
    if len(kinds) != 1 or any(each for each in parts if not isinstance(each, Packed)):
        raise ValueError(f"expected numbers of one type, got {sorted(kinds)}")
    kind = np.dtype(_KINDS[kinds.pop()])
    return np.frombuffer(b"".join(each.raw for each in packed), kind.newbyteorder(">")).astype(kind)


def decoded(data: bytes) -> Any:
    """Return the value that the bytes hold. Cost: 1 us a value, whatever the length of an array of numbers.

    Raises:
        ValueError: they hold none, or end too early.
    """
    try:
        return _value(data, 0)[0]
    except (struct.error, IndexError, KeyError, RecursionError) as error:
        raise ValueError(f"expected UBJ, got {error!r}") from error


def _value(data: bytes, at: int) -> tuple[Any, int]:
    """Return the value whose marker is at a place, and the place behind it."""
    mark = data[at]
    if mark == _ARRAY:
        return _packed(data, at + 2) if data[at : at + 2] == _TYPED else _array(data, at + 1)
    if mark == _TEXT:
        return _text(data, at + 1)
    if mark == _OBJECT:
        return _object(data, at + 1)
    if mark in _CONSTANTS:
        return _CONSTANTS[mark], at + 1
    layout = _NUMBERS[mark]
    return layout.unpack_from(data, at + 1)[0], at + 1 + layout.size


def _end(data: bytes, at: int, each: int) -> tuple[int, int]:
    """Return where so many bytes as the number at a place counts, times ``each``, begin and end."""
    layout = _NUMBERS[data[at]]
    begin = at + 1 + layout.size
    end = begin + layout.unpack_from(data, at + 1)[0] * each
    if not begin <= end <= len(data):
        raise ValueError(f"expected UBJ of {end} bytes, got {len(data)}")
    return begin, end


def _text(data: bytes, at: int) -> tuple[str, int]:
    begin, end = _end(data, at, 1)
    return data[begin:end].decode(), end


def _packed(data: bytes, at: int) -> tuple[Packed, int]:
    begin, end = _end(data, at + 2, _NUMBERS[data[at]].size)
    return Packed(chr(data[at]), data[begin:end]), end


def _array(data: bytes, at: int) -> tuple[list[Any], int]:
    found = []
    if data[at] == _COUNTED:
        begin, end = _end(data, at + 1, 1)
        at = begin
        for _ in range(end - begin):
            value, at = _value(data, at)
            found.append(value)
        return found, at
    while data[at] != _ARRAY_END:
        value, at = _value(data, at)
        found.append(value)
    return found, at + 1


def _object(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    found = {}
    while data[at] != _OBJECT_END:
        name, at = _text(data, at)
        found[name], at = _value(data, at)
    return found, at + 1
