"""The canonical digest of an estimator: equal for equal states, whatever process, pickling or hash seed they come from.

Pickles of equal estimators differ: by the order of sets, by which equal texts happen to be one object, by the history
of dictionaries. Canonical state is what pickling would save, written down in one way: dictionaries and sets sorted,
floats in hexadecimal, and an object that several places share once, at its first place, with its number at the others.
Whether two places share one random generator is state; whether they share one text is not.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from online_models import restricted
from online_models.errors import LearnerUnusable

_PLAIN = frozenset({type(None), bool, int, str, bytes})
_MANY = 64
"""A tuple of more whole numbers, such as the state of a random generator, is written in one go."""
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType)


def canonical_digest(estimator: object) -> str:
    """Return the SHA-256 of the estimator's canonical state, 64 hex digits.

    Cost: about 2 us a value: 0.5 ms for a scaled logistic regression of 25 inputs, a second for a large forest.

    Raises:
        LearnerUnusable: it holds something that has no state to be written down, such as a generator.
    """
    return hashlib.sha256(b"".join(_Writing().parts(estimator))).hexdigest()


def objects_of(estimator: object) -> list[object]:
    """Return each object that the estimator is made of and that can change, once, in canonical order."""
    writing = _Writing()
    writing.parts(estimator)
    return writing.met


class _Writing:
    """Writes one state down. Every part has its kind and its length in front, so no two states read the same.

    What waits lies on a stack, not in calls: a tree may be as deep as it has nodes.
    """

    def __init__(self) -> None:
        self.met: list[object] = []
        """What was numbered, which keeps it alive: else its identity could become another's on the way."""
        self._numbers: dict[int, int] = {}
        self._waiting: list[object] = []
        self._written: list[bytes] = []

    def parts(self, value: object) -> list[bytes]:
        """Return the canonical bytes of a value, in parts."""
        self._waiting.append(value)
        while self._waiting:
            self._write(self._waiting.pop())
        return self._written

    def _write(self, value: Any) -> None:
        kind = type(value)
        if kind is float or isinstance(value, np.floating):
            self._tag(b"f", float(value).hex())
        elif kind in _PLAIN:
            self._tag(kind.__name__.encode(), repr(value))
        elif isinstance(value, _NAMED):
            self._tag(b"n", f"{value.__module__}.{value.__qualname__}")
        elif kind is tuple:
            if len(value) > _MANY and all(type(each) is int for each in value):
                self._tag(b"r", repr(value))
            else:
                self._sequence(b"t", value)
        elif kind is frozenset:
            self._sequence(b"z", _sorted(value))
        elif id(value) in self._numbers:
            self._tag(b"@", str(self._numbers[id(value)]))
        else:
            self._numbers[id(value)] = len(self.met)
            self.met.append(value)
            self._changeable(kind, value)

    def _changeable(self, kind: type, value: Any) -> None:
        if kind is list:
            self._sequence(b"l", value)
        elif kind is dict:
            self._mapping(value)
        elif kind is set:
            self._sequence(b"s", _sorted(value))
        elif kind is np.ndarray and value.dtype != object:
            self._tag(b"a", f"{value.dtype.str}{value.shape}")
            self._tag(b"b", value.tobytes().hex())
        else:
            self._reduced(value)

    def _reduced(self, value: Any) -> None:
        """Write what pickling would save: how it is made, its state, its items."""
        try:
            reduced = restricted.reduce(value)
        except (TypeError, AttributeError) as error:
            raise LearnerUnusable(
                f"cannot digest estimator: {type(value).__name__}: expected a state that can be saved, got {error}"
            ) from error
        if isinstance(reduced, str):
            self._tag(b"n", f"{type(value).__module__}.{reduced}")
            return
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        if isinstance(value, partial):
            # Its dictionary is there only once somebody has looked at it.
            state = (*state[:3], state[3] or None)
        self._written.append(b"o")
        self._mapping({} if pairs is None else dict(pairs))
        self._sequence(b"i", () if items is None else tuple(items))
        self._waiting += (state, arguments, make)

    def _tag(self, tag: bytes, content: str) -> None:
        data = content.encode("utf-8", "surrogatepass")
        self._written.append(b"%b%d:%b" % (tag, len(data), data))

    def _sequence(self, tag: bytes, values: Sequence[object]) -> None:
        self._tag(tag, str(len(values)))
        self._waiting += reversed(values)

    def _mapping(self, mapping: Mapping[object, object]) -> None:
        self._tag(b"d", str(len(mapping)))
        for key in reversed(_sorted(mapping)):
            self._waiting += (mapping[key], key)


def _sorted(values: Iterable[object]) -> list[object]:
    """Return the values in the order of their own canonical bytes, whatever else there is."""
    placed = [(b"".join(_Writing().parts(each)), each) for each in values]
    return [each for _, each in sorted(placed, key=_first)]


def _first(placed: tuple[bytes, object]) -> bytes:
    return placed[0]
