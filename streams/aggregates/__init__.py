"""The statistics a view may keep: what a tile stores of each, and how tiles become one value.

A kind of aggregate is one class: the *columns* that its tiles need, and `finalise`, which is given each column's
values of every tile in the window, of every source partition, and returns the value; a kind of several features
returns them all. Kinds share columns: a mean and a sum of one field over one grid keep one sum. To add a kind, write
its class beside its like and name it in `KINDS`; what its class is told beside its source are the declared options.

Within a tile, values are folded one by one in log order. Across tiles and partitions sums of floats are exact
(`math.fsum`), so the order in which they meet does not show; where it would, it is fixed: partition, then tile.

======================================  ==========================================================================
`streams.aggregates.columns`            what a tile keeps in one place, and which events bring something to it
`streams.aggregates.numbers`            count, sum, mean, variance, std, min, max, ratio
`streams.aggregates.ordered`            first, last, last_k
`streams.aggregates.decayed`            decayed_count, decayed_mean
`streams.aggregates.sketches`           distinct, quantile, top_k
======================================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from definitions.declared import Aggregate, EventDefinition
from definitions.identity import fields_of
from definitions.values import ValueType
from streams.aggregates.columns import COUNT, Column, Kind, Operand, Values
from streams.aggregates.decayed import DecayedCount, DecayedMean
from streams.aggregates.numbers import Count, Max, Mean, Min, Ratio, StandardDeviation, Sum, Variance
from streams.aggregates.ordered import First, Last, LastK
from streams.aggregates.sketches import Distinct, Quantile, TopK

__all__ = ["COUNT", "KINDS", "Column", "Kind", "Operand", "Values", "kind_of"]


KINDS: Mapping[str, Callable[..., Kind]] = {
    "count": Count,
    "sum": Sum,
    "mean": Mean,
    "variance": Variance,
    "std": StandardDeviation,
    "min": Min,
    "max": Max,
    "first": First,
    "last": Last,
    "last_k": LastK,
    "distinct": Distinct,
    "quantile": Quantile,
    "top_k": TopK,
    "decayed_count": DecayedCount,
    "decayed_mean": DecayedMean,
}
"""The kinds that take in events; a ratio takes in two of them."""


def kind_of(aggregate: Aggregate, event: EventDefinition) -> Kind:
    """Return how the aggregate works on its event's field."""
    if aggregate.of:
        return Ratio(*(kind_of(each, event) for each in aggregate.of))
    field = None if aggregate.field is None else event.field(aggregate.field)
    source = Operand(
        None if field is None else field.name,
        nullable=field is not None and field.nullable,
        floats=field is not None and field.type is ValueType.FLOAT,
        where=aggregate.where,
        read=tuple(sorted(fields_of(aggregate))),
    )
    return KINDS[aggregate.kind](source, **dict(aggregate.options))
