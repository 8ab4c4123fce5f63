"""Numbers that tiles add up or compare. Whole numbers are exact; no sum shows in which order its tiles met."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from definitions.values import Value
from streams.aggregates.columns import Column, Kind, Operand, Values, known, present


@dataclass(frozen=True, slots=True)
class Count:
    """How many events."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the number of events that are let in."""
        return (known(self.source),)

    def finalise(self, *columns: Values) -> Value:
        """Return the number, 0 for none."""
        (counts,) = columns
        number: int = sum(counts)
        return number


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of the values that are there."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the sum."""
        return (_sum(self.source),)

    def finalise(self, *columns: Values) -> Value:
        """Return the sum, 0 for none."""
        (sums,) = columns
        return _total(sums, floats=self.source.floats)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of the values that are there."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the sum, and the number of values."""
        return (_sum(self.source), known(self.source))

    def finalise(self, *columns: Values) -> Value:
        """Return the mean, None for none."""
        sums, counts = columns
        number: int = sum(counts)
        total = _total(sums, floats=self.source.floats)
        return None if not number or total is None else total / number


@dataclass(frozen=True, slots=True)
class Variance:
    """The sample variance of the values that are there."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the tile's number of values, their mean, and their sum of squared distances from it (Welford)."""
        return (Column(self.source.named("moments"), self.source.inputs(), _fold_moments, begin=_begin_moments),)

    def finalise(self, *columns: Values) -> Value:
        """Return the variance over n - 1, None for fewer than two values. Tiles are merged by Chan's rule, in order."""
        number, mean, squares = 0, 0.0, 0.0
        for other, other_mean, other_squares in present(columns[0]):
            both, distance = number + other, other_mean - mean
            squares += other_squares + distance * distance * (number * other / both)
            mean += distance * (other / both)
            number = both
        return _finite(squares / (number - 1)) if number > 1 else None


@dataclass(frozen=True, slots=True)
class StandardDeviation:
    """The sample standard deviation of the values that are there: the root of their variance."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return those of the variance."""
        return Variance(self.source).columns()

    def finalise(self, *columns: Values) -> Value:
        """Return the root of the variance, None where there is none."""
        variance = Variance(self.source).finalise(*columns)
        return math.sqrt(variance) if isinstance(variance, float) else None


@dataclass(frozen=True, slots=True)
class Min:
    """The least value."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the least value."""
        return (Column(self.source.named("min"), self.source.inputs(), min),)

    def finalise(self, *columns: Values) -> Value:
        """Return the least, None for none."""
        least: Value = min(_held(columns[0], self.source), default=None)
        return least


@dataclass(frozen=True, slots=True)
class Max:
    """The greatest value."""

    source: Operand

    def columns(self) -> tuple[Column, ...]:
        """Return the greatest value."""
        return (Column(self.source.named("max"), self.source.inputs(), max),)

    def finalise(self, *columns: Values) -> Value:
        """Return the greatest, None for none."""
        greatest: Value = max(_held(columns[0], self.source), default=None)
        return greatest


@dataclass(frozen=True, slots=True)
class Ratio:
    """One statistic divided by another."""

    numerator: Kind
    denominator: Kind

    def columns(self) -> tuple[Column, ...]:
        """Return the columns of both."""
        return (*self.numerator.columns(), *self.denominator.columns())

    def finalise(self, *columns: Values) -> Value:
        """Return the ratio, None where one of them has no value or the denominator is zero."""
        first = len(self.numerator.columns())
        above: Any = self.numerator.finalise(*columns[:first])
        below: Any = self.denominator.finalise(*columns[first:])
        if above is None or not below:
            return None
        try:
            return _finite(above / below)
        except OverflowError:
            return None


def _sum(source: Operand) -> Column:
    return Column(source.named("sum"), source.inputs(), empty=0.0 if source.floats else 0)


def _held(values: Values, source: Operand) -> Iterable[Any]:
    return present(values) if source.has_gaps else values


def _begin_moments(value: Any) -> list[Any]:
    return [1, float(value), 0.0]


def _fold_moments(held: Any, value: Any) -> Any:
    number, mean, squares = held
    distance = value - mean
    mean += distance / (number + 1)
    held[:] = number + 1, mean, squares + distance * (value - mean)
    return held


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _total(values: Values, *, floats: bool) -> int | float | None:
    if not floats:
        whole: int = sum(values)
        return whole
    try:
        total = math.fsum(values)
    except (OverflowError, ValueError):
        return None
    return total if math.isfinite(total) else None
