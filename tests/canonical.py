"""What a model's state comes to, whoever pickled it: the tests' own canonical digest, against which ours is held.

Two equal estimators pickle differently: sets in the order of their hashes, dicts in the order of their growth. Here
sets and dicts are sorted, floats are hexadecimal, random generators are their state, and what is shared stays shared:
an object met again is only named, so that a copy which lost its sharing is another state.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from river.proba.base import Distribution


def digest_of(state: object) -> str:
    """Return the SHA-256 of the canonical state, 64 hex digits. Cost: about 2 us a number."""
    return hashlib.sha256("\n".join(lines_of(state)).encode()).hexdigest()


def lines_of(state: object) -> Iterator[str]:
    """Yield the canonical state, a value a line: what to compare where two digests differ."""
    return _Walk().walk(state)


class _Walk:
    """One walk through an object graph."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._alive: list[object] = []
        """What was met, so that no other object gets its id meanwhile."""

    def walk(self, each: Any) -> Iterator[str]:
        kind = type(each)
        if each is None or kind in (bool, int, str, bytes):
            yield f"{kind.__name__} {each!r}"
        elif kind is float:
            yield f"float {each.hex()}"
        elif kind is complex:
            yield f"complex {each.real.hex()} {each.imag.hex()}"
        elif isinstance(each, type | FunctionType | BuiltinFunctionType | ModuleType):
            yield f"name {getattr(each, '__module__', '')}.{getattr(each, '__qualname__', each.__name__)}"
        elif isinstance(each, np.generic):
            yield f"numpy {each.dtype} {each.tobytes().hex()}"
        elif kind is tuple:
            yield from self._several("tuple", each)
        elif id(each) in self._met:
            yield f"again {self._met[id(each)]}"
        else:
            self._met[id(each)] = len(self._met)
            self._alive.append(each)
            yield from self._shared(each)

    def _shared(self, each: Any) -> Iterator[str]:
        kind = type(each)
        if kind in (list, deque):
            yield from self._several(kind.__name__, each)
        elif kind is dict:
            yield from self._items(each)
        elif kind in (set, frozenset):
            yield from (kind.__name__, *sorted("\t".join(lines_of(item)) for item in each), "end")
        elif isinstance(each, np.ndarray):
            yield f"array {each.dtype} {each.shape}"
            yield from self._several("items", each.tolist()) if each.dtype == object else (each.tobytes().hex(),)
        elif isinstance(each, random.Random):
            yield f"random {each.getstate()!r}"
        else:
            yield from self._reduced(each)

    def _several(self, name: str, items: Any) -> Iterator[str]:
        yield name
        for item in items:
            yield from self.walk(item)
        yield "end"

    def _items(self, each: dict[Any, Any]) -> Iterator[str]:
        yield "dict"
        for key in sorted(each, key=lambda key: "\t".join(lines_of(key))):
            yield from self.walk(key)
            yield from self.walk(each[key])
        yield "end"

    def _reduced(self, each: Any) -> Iterator[str]:
        """Take apart what is neither: as a pickle would, with dicts for the items that a pickle has in order."""
        reduced = each.__reduce_ex__(4)
        if isinstance(reduced, str):
            yield f"name {type(each).__module__}.{reduced}"
            return
        made_by, args, *rest = reduced
        state, items, pairs = (*rest, None, None, None)[:3]
        if isinstance(each, Distribution) and each.seed is None:
            # Nobody seeded its generator, and nobody draws from it: River keeps one for those who ask for samples.
            state = {name: value for name, value in state.items() if name != "_rng"}
        if isinstance(each, partial):
            # Its dictionary is there only once somebody has looked at it.
            state = (*state[:3], state[3] or None)
        yield f"object {type(each).__module__}.{type(each).__qualname__}"
        yield from self.walk(made_by)
        yield from self.walk(args)
        yield from self.walk(state)
        yield from self.walk(None if items is None else list(items))
        yield from self.walk(None if pairs is None else dict(pairs))
        yield "end"
