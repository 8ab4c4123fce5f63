"""The statistics a view may keep: what a tile stores of each, and how tiles become one value.

A kind of aggregate is one class: the *columns* that its tiles need, and `finalise`, which is given each column's
values of every tile in the window, of every source partition, and returns the feature. Kinds share columns: a mean and
a sum of one field over one grid keep one sum. To add a kind, write its class and name it in `KINDS`.

Within a tile, values are folded one by one in log order. Across tiles and partitions sums of floats are exact
(`math.fsum`), so the order in which they meet does not show.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Protocol

from definitions.declared import Aggregate, EventDefinition
from definitions.values import Value, ValueType

Slices = Sequence[Sequence[Any]]
"""One column's values: per source partition in fixed order, per tile in order of time."""


@dataclass(frozen=True, slots=True)
class Column:
    """What one tile keeps in one place.

    ``inputs`` gives what each event brings, None for nothing. A tile starts as ``empty``; where that is None the first
    input becomes ``begin(input)``, by default the input itself, and every other one is folded: ``fold(held, input)``.
    Where ``timed``, begin and fold are given (ms since the cell's origin, input).
    """

    name: str
    inputs: Callable[[Sequence[Any]], Sequence[Any]]
    fold: Callable[[Any, Any], Any] = operator.add
    empty: Any = None
    timed: bool = False
    begin: Callable[[Any], Any] | None = None


class Kind(Protocol):
    """How one kind of aggregate works on one field of one event."""

    def columns(self) -> tuple[Column, ...]:
        """Return the columns that the aggregate's tiles keep."""
        ...

    def finalise(self, *columns: Slices) -> Value:
        """Return the value over a window, from the slices of each of `columns`, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class _OfField:
    """What a kind is told of its field."""

    name: str
    nullable: bool
    floats: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many events."""

    field: _OfField | None = None

    def columns(self) -> tuple[Column, ...]:
        """Return the number of events."""
        return (COUNT,)

    def finalise(self, *columns: Slices) -> Value:
        """Return the number, 0 for none."""
        (counts,) = columns
        return sum(map(sum, counts))


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of the values that are there."""

    field: _OfField

    def columns(self) -> tuple[Column, ...]:
        """Return the sum."""
        return (_sum(self.field),)

    def finalise(self, *columns: Slices) -> Value:
        """Return the sum, 0 for none."""
        (sums,) = columns
        return _total(sums, floats=self.field.floats)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of the values that are there."""

    field: _OfField

    def columns(self) -> tuple[Column, ...]:
        """Return the sum, and the number of values."""
        return (_sum(self.field), _known(self.field))

    def finalise(self, *columns: Slices) -> Value:
        """Return the mean, None for none."""
        sums, counts = columns
        known: int = sum(map(sum, counts))
        total = _total(sums, floats=self.field.floats)
        return None if not known or total is None else total / known


@dataclass(frozen=True, slots=True)
class Min:
    """The least value."""

    field: _OfField

    def columns(self) -> tuple[Column, ...]:
        """Return the least value."""
        return (Column(f"min.{self.field.name}", _values(self.field.name), min),)

    def finalise(self, *columns: Slices) -> Value:
        """Return the least, None for none."""
        least: Value = min(_present(columns[0], nullable=self.field.nullable), default=None)
        return least


@dataclass(frozen=True, slots=True)
class Max:
    """The greatest value."""

    field: _OfField

    def columns(self) -> tuple[Column, ...]:
        """Return the greatest value."""
        return (Column(f"max.{self.field.name}", _values(self.field.name), max),)

    def finalise(self, *columns: Slices) -> Value:
        """Return the greatest, None for none."""
        greatest: Value = max(_present(columns[0], nullable=self.field.nullable), default=None)
        return greatest


@dataclass(frozen=True, slots=True)
class Last:
    """The newest value by event time, then partition, then offset."""

    field: _OfField

    def columns(self) -> tuple[Column, ...]:
        """Return the newest value with its time; of equal times the later offset has replaced the earlier."""
        return (Column(f"last.{self.field.name}", _values(self.field.name), _later, timed=True),)

    def finalise(self, *columns: Slices) -> Value:
        """Return the newest, None for none. The times in the slices are epoch ms."""
        newest: Any = None
        for held in _present(columns[0], nullable=self.field.nullable):
            if newest is None or held[0] >= newest[0]:
                newest = held
        value: Value = None if newest is None else newest[1]
        return value


KINDS: Mapping[str, Callable[[_OfField], Kind]] = {
    "count": Count,
    "sum": Sum,
    "mean": Mean,
    "min": Min,
    "max": Max,
    "last": Last,
}


def kind_of(aggregate: Aggregate, event: EventDefinition) -> Kind:
    """Return how the aggregate works on its event's field."""
    field = None if aggregate.field is None else event.field(aggregate.field)
    if field is None:
        return Count()
    return KINDS[aggregate.kind](_OfField(field.name, field.nullable, field.type is ValueType.FLOAT))


def _later(held: Any, given: Any) -> Any:
    """Return the newer of two (time, value) pairs, of equal times the one that came later."""
    return given if given[0] >= held[0] else held


def _ones(events: Sequence[Any]) -> Sequence[int]:
    return list(repeat(1, len(events)))


COUNT = Column("count", _ones, empty=0)
"""The number of events: kept by every tile, whatever else is asked of it, so that an audit can tell what is missing."""


def _values(name: str) -> Callable[[Sequence[Any]], Sequence[Any]]:
    value_of = attrgetter(name)
    return lambda events: list(map(value_of, events))


def _sum(field: _OfField) -> Column:
    return Column(f"sum.{field.name}", _values(field.name), empty=0.0 if field.floats else 0)


def _known(field: _OfField) -> Column:
    if not field.nullable:
        return COUNT
    value_of = attrgetter(field.name)
    return Column(
        f"known.{field.name}",
        lambda events: [None if value is None else 1 for value in map(value_of, events)],
        empty=0,
    )


def _present(slices: Slices, *, nullable: bool) -> Any:
    values = chain.from_iterable(slices)
    return (value for value in values if value is not None) if nullable else values


def _total(slices: Slices, *, floats: bool) -> int | float | None:
    if not floats:
        return sum(map(sum, slices))
    try:
        total = math.fsum(chain.from_iterable(slices))
    except (OverflowError, ValueError):
        return None
    return total if math.isfinite(total) else None
