"""Events that count for less the older they are: half as much with every half life.

A tile keeps its sums as of its newest event, so that no weight in it is above one, whatever the half life; they are
scaled to the time asked about when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from definitions.values import Value
from streams.aggregates.columns import Column, Operand, Values, one, present


@dataclass(frozen=True, slots=True)
class DecayedCount:
    """How many events, by weight."""

    source: Operand
    half_life_ms: int

    def columns(self) -> tuple[Column, ...]:
        """Return the weight of the tile's events, as of the newest."""
        name = self.source.named(f"decayed_{self.half_life_ms}")
        fold = _fold(self.half_life_ms, _weight)
        return (Column(name, self.source.inputs(one), fold, timed=True, begin=lambda given: (given[0], [1.0])),)

    def finalise(self, *columns: Values) -> Value:
        """Return the weight at the time asked about, 0.0 for no events."""
        try:
            return math.fsum(held[0] * 2.0 ** (-age_ms / self.half_life_ms) for age_ms, held in present(columns[0]))
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class DecayedMean:
    """The mean of the values that are there, by weight."""

    source: Operand
    half_life_ms: int

    def columns(self) -> tuple[Column, ...]:
        """Return the weight of the tile's values and their weighted sum, as of the newest."""
        name = self.source.named(f"decayed_sums_{self.half_life_ms}")
        fold = _fold(self.half_life_ms, _weight_and_value)
        return (
            Column(
                name,
                self.source.inputs(),
                fold,
                timed=True,
                begin=lambda given: (given[0], _weight_and_value(given[1])),
            ),
        )

    def finalise(self, *columns: Values) -> Value:
        """Return the mean, None for no values.

        The weights are those at the newest value: their ratio is the same at any time, and none is lost to rounding.
        """
        tiles = present(columns[0])
        if not tiles:
            return None
        newest_ms = min(age_ms for age_ms, _ in tiles)
        scales = [2.0 ** ((newest_ms - age_ms) / self.half_life_ms) for age_ms, _ in tiles]
        try:
            weight = math.fsum(scale * held[0] for scale, (_, held) in zip(scales, tiles, strict=True))
            mean = math.fsum(scale * held[1] for scale, (_, held) in zip(scales, tiles, strict=True)) / weight
        except (OverflowError, ValueError):
            return None
        return mean if math.isfinite(mean) else None


def _weight(_: Any) -> list[float]:
    return [1.0]


def _weight_and_value(value: Any) -> list[float]:
    return [1.0, float(value)]


def _fold(half_life_ms: int, sums_of: Callable[[Any], list[float]]) -> Callable[[Any, Any], Any]:
    def fold(held: Any, given: Any) -> Any:
        held_ms, sums = held
        given_ms, added = given[0], sums_of(given[1])
        if given_ms >= held_ms:
            held_ms, given_ms, sums, added = given_ms, held_ms, added, sums
        weight = 2.0 ** ((given_ms - held_ms) / half_life_ms)
        return held_ms, [newer + weight * older for newer, older in zip(sums, added, strict=True)]

    return fold
