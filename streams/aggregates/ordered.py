"""Values in the order of their events: event time, then source partition, then offset."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from definitions.values import Value
from streams.aggregates.columns import Column, Operand, Values, present

_TIME = itemgetter(0)
_AGE = itemgetter(0)


def _older(held: Any, given: Any) -> Any:
    return given if given[0] < held[0] else held


def _newer(held: Any, given: Any) -> Any:
    return given if given[0] >= held[0] else held


@dataclass(frozen=True, slots=True)
class First:
    """The oldest value by event time, then partition, then offset."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the oldest value with its time; of equal times the earlier offset stays."""
        return (Column(self.source.named("first"), self.source.inputs(), _older, timed=True),)

    def finalise(self, *columns: Values) -> Value:
        """Return the oldest, None for none."""
        oldest: Any = None
        for held in present(columns[0]):
            if oldest is None or held[0] > oldest[0]:
                oldest = held
        value: Value = None if oldest is None else oldest[1]
        return value


@dataclass(frozen=True, slots=True)
class Last:
    """The newest value by event time, then partition, then offset."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the newest value with its time; of equal times the later offset has replaced the earlier."""
        return (Column(self.source.named("last"), self.source.inputs(), _newer, timed=True),)

    def finalise(self, *columns: Values) -> Value:
        """Return the newest, None for none."""
        newest: Any = None
        for held in present(columns[0]):
            if newest is None or held[0] <= newest[0]:
                newest = held
        value: Value = None if newest is None else newest[1]
        return value


@dataclass(frozen=True, slots=True)
class LastK:
    """The newest values by event time, then partition, then offset, newest first."""

    source: Operand
    k: int

    def columns(self) -> tuple[Column, ...]:
        """Return the tile's newest values in order, each with its ms after the first that the tile was given."""
        name = self.source.named(f"last_{self.k}")
        return (Column(name, self.source.inputs(), _keep_newest(self.k), timed=True, begin=_begin_newest),)

    def finalise(self, *columns: Values) -> tuple[Value, ...]:
        """Return the newest ``k``, None behind the oldest there is."""
        aged = [(age_ms - ahead_ms, value) for age_ms, kept in present(columns[0]) for ahead_ms, value in kept]
        aged.sort(key=_AGE, reverse=True)  # stable in reverse too: of equal ages the later is behind the earlier
        newest = [value for _, value in aged[-self.k :]][::-1]
        return (*newest, *[None] * (self.k - len(newest)))


def _begin_newest(given: Any) -> Any:
    return [given[0], [[0, given[1]]]]


def _keep_newest(k: int) -> Callable[[Any, Any], Any]:
    def fold(held: Any, given: Any) -> Any:
        first_ms, kept = held
        ahead_ms = given[0] - first_ms
        kept.insert(bisect_right(kept, ahead_ms, key=_TIME), [ahead_ms, given[1]])
        if len(kept) > k:
            del kept[0]
        return held

    return fold
