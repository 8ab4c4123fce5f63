"""Summaries of a stated error: how many different values, which value at a quantile, which values most often.

A tile's summary is plain values and a function of its inputs in log order: no random numbers, no sketch library's
bytes. Summaries of tiles and partitions are merged when they are read, each from the whole of what was kept.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from definitions.values import Value
from streams.aggregates.columns import Column, Operand, Values, present

_HASH_BITS = 64
_BUCKET_OF_ONE = 40_000
"""Lies beyond the logarithm of any double in steps of 2 %, so that a bucket's sign is its value's."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different values."""

    source: Operand
    exact: int
    """How many different values a tile keeps one by one, as hashes."""
    precision: int
    """With more, it keeps 2 ** precision registers, of a standard error of 1.04 / sqrt(2 ** precision)."""

    def columns(self) -> tuple[Column, ...]:
        """Return the tile's values as sorted hashes of 64 bits, or the registers of a HyperLogLog, a byte each."""
        name = self.source.named(f"distinct_{self.exact}_{self.precision}")
        fold = _count_different(self.exact, self.precision)
        return (Column(name, self.source.inputs(_hash), fold, begin=lambda given: [given]),)

    def finalise(self, *columns: Values) -> Value:
        """Return the number: exact where every tile is, else estimated from the registers of the union."""
        tiles = present(columns[0])
        hashes = {each for held in tiles if isinstance(held, list) for each in held}
        registers = [held for held in tiles if not isinstance(held, list)]
        if not registers:
            return len(hashes)
        registers.append(_registers(hashes, self.precision))
        return _estimate(np.maximum.reduce([np.frombuffer(each, np.uint8) for each in registers]), self.precision)


@dataclass(frozen=True, slots=True)
class Quantile:
    """The value at a quantile, by DDSketch: values counted in buckets of equal relative width."""

    source: Operand
    accuracy: float
    q: float

    def columns(self) -> tuple[Column, ...]:
        """Return the tile's counts by bucket, a negative number's bucket negative, that of zero 0."""
        name = self.source.named(f"quantile_{self.accuracy!r}")
        return (Column(name, self.source.inputs(_bucket_of(self.accuracy)), _count_one, begin=_begin_count),)

    def finalise(self, *columns: Values) -> Value:
        """Return the value within ``accuracy`` of the one at place floor(q (n - 1)), None for none.

        Cost: 0.2 us a bucket in use.
        """
        buckets = sorted(_merged(columns[0]).items())
        if not buckets:
            return None
        ends = list(accumulate(count for _, count in buckets))
        bucket = next(
            bucket for (bucket, _), end in zip(buckets, ends, strict=True) if end > int(self.q * (ends[-1] - 1))
        )
        if bucket == 0:
            return 0.0
        try:
            value = math.exp((abs(bucket) - _BUCKET_OF_ONE) * _width(self.accuracy)) * (1 - self.accuracy)
        except OverflowError:
            return None
        return math.copysign(value, bucket)


@dataclass(frozen=True, slots=True)
class TopK:
    """The most frequent values, most frequent first, equally frequent ones in order of value."""

    source: Operand
    capacity: int
    """How many different values a tile counts. With more, no count is short by more than n / (capacity + 1)."""
    k: int

    def columns(self) -> tuple[Column, ...]:
        """Return the tile's counts by value, by Misra and Gries: where a count is wanting, every one gives up one."""
        name = self.source.named(f"top_{self.capacity}")
        return (Column(name, self.source.inputs(), _count_frequent(self.capacity), begin=_begin_count),)

    def finalise(self, *columns: Values) -> tuple[Value, ...]:
        """Return the ``k`` most frequent, None behind the last there is."""
        counts = _merged(columns[0])
        top: list[Value] = sorted(counts, key=lambda value: (-counts[value], value))[: self.k]
        return (*top, *[None] * (self.k - len(top)))


def _begin_count(given: Any) -> dict[Any, int]:
    return {given: 1}


def _count_one(held: Any, given: Any) -> Any:
    held[given] = held.get(given, 0) + 1
    return held


def _count_frequent(capacity: int) -> Callable[[Any, Any], Any]:
    def fold(held: Any, given: Any) -> Any:
        if given in held or len(held) < capacity:
            return _count_one(held, given)
        return {value: count - 1 for value, count in held.items() if count > 1}

    return fold


def _merged(values: Values) -> Counter[Any]:
    merged: Counter[Any] = Counter()
    for held in present(values):
        merged.update(held)
    return merged


def _width(accuracy: float) -> float:
    """Return the width of a bucket on the logarithmic scale."""
    return math.log((1 + accuracy) / (1 - accuracy))


def _bucket_of(accuracy: float) -> Callable[[Any], int]:
    """Return what gives a number's bucket. ``(1 - accuracy)`` times its upper end is within accuracy of all in it."""
    width = _width(accuracy)

    def bucket(value: Any) -> int:
        if value == 0:
            return 0
        place = math.ceil(math.log(abs(value)) / width) + _BUCKET_OF_ONE
        return place if value > 0 else -place

    return bucket


def _hash(value: Any) -> int:
    """Return 64 bits that are the same in every process. A field has one type, so the text need not say it."""
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
    else:
        data = repr(value + 0.0 if isinstance(value, float) else value).encode()  # -0.0 is 0.0
    return int.from_bytes(hashlib.blake2b(data, digest_size=_HASH_BITS // 8).digest(), "big")


def _place_and_rank(value: int, precision: int) -> tuple[int, int]:
    """Return the hash's register, and how many zeros lead its other bits, plus one."""
    rest_bits = _HASH_BITS - precision
    return value >> rest_bits, rest_bits + 1 - (value & ((1 << rest_bits) - 1)).bit_length()


def _registers(hashes: Iterable[int], precision: int) -> bytearray:
    registers = bytearray(1 << precision)
    for value in hashes:
        place, rank = _place_and_rank(value, precision)
        registers[place] = max(rank, registers[place])
    return registers


def _count_different(exact: int, precision: int) -> Callable[[Any, Any], Any]:
    def fold(held: Any, given: Any) -> Any:
        if isinstance(held, list):
            at = bisect_left(held, given)
            if at == len(held) or held[at] != given:
                held.insert(at, given)
            return held if len(held) <= exact else _registers(held, precision)
        place, rank = _place_and_rank(given, precision)
        if rank > held[place]:
            held = bytearray(held)  # it is bytes after decoding
            held[place] = rank
        return held

    return fold


def _estimate(registers: Any, precision: int) -> int:
    """Return the number of different hashes: Ertl's improved raw estimator (arXiv 1702.01284), no bias tables."""
    registers_in_all, rest_bits = 1 << precision, _HASH_BITS - precision
    of_rank = np.bincount(registers, minlength=rest_bits + 2).tolist()
    total = registers_in_all * _tau(1 - of_rank[rest_bits + 1] / registers_in_all)
    for rank in range(rest_bits, 0, -1):
        total = 0.5 * (total + of_rank[rank])
    total += registers_in_all * _sigma(of_rank[0] / registers_in_all)
    return round(registers_in_all * registers_in_all / (2 * math.log(2) * total))


def _sigma(x: float) -> float:
    """Return the sum of x ** (2 ** k) * 2 ** (k - 1) over k from 1 on, and x."""
    if x == 1:
        return math.inf
    power, scale, total, before = x, 1.0, x, -1.0
    while total != before:
        power, before = power * power, total
        total += power * scale
        scale *= 2
    return total


def _tau(x: float) -> float:
    """Return a third of 1 - x less the sum of (1 - x ** (2 ** -k)) ** 2 * 2 ** -k over k from 1 on."""
    if x in {0, 1}:
        return 0.0
    root, scale, total, before = x, 1.0, 1 - x, -1.0
    while total != before:
        root, before = math.sqrt(root), total
        scale *= 0.5
        total -= (1 - root) ** 2 * scale
    return total / 3
