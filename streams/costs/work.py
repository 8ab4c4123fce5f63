"""What it takes to read a view, counted, and the time for it: a linear model whose constants were measured.

``python -m tests.bench.bench_read_cost`` times real cells of views that differ in windows, statistics, partitions and
tiles: read from a real Redis over loopback, decoded and finalised by the code that serves. `MEASURED` are its figures,
and whenever it runs it compares them with what it measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

from definitions.declared import Aggregate, Source, ViewDefinition
from streams.aggregates import COUNT, kind_of
from streams.costs.sizes import FIELD_BYTES, POSITION_BYTES, CellSizes, Size
from streams.store import MARK_BYTES

ROW_BYTES = MARK_BYTES + 56
"""What the resume row of one partition holds, its mark included: numbers of a log of some millions of records."""


COPIED_BYTES, COPIED_EACH_BYTES = 35, 5
"""What the row of a copy says beside of its source: the topic's id, and of each partition how far it is contained."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one read takes, by what it is proportional to. Also the time of one of each, where it says so."""

    fields: float = 0
    """Cells and rows of single partitions that Redis sends."""
    bytes: float = 0
    """What it sends."""
    values: float = 0
    """Values decoded from cells."""
    spans: float = 0
    """Windows, each in each cell."""
    numbers: float = 0
    """Numbers merged, one per tile, column and cell."""
    items: float = 0
    """Values merged where a tile holds several: buckets, counts by value, moments, hashes."""
    statistics: float = 0
    """Statistics finalised, each over one window."""
    features: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def times(self, factor: float) -> Work:
        """Return so much work so many times."""
        return Work(*(each * factor for each in astuple(self)))

    def cost_ms(self, each_ns: Work) -> float:
        """Return how long it takes, where ``each_ns`` says how long one of each takes."""
        ns: float = sum(one * two for one, two in zip(astuple(self), astuple(each_ns), strict=True))
        return ns / 1e6


WORK_NAMES = tuple(each.name for each in fields(Work))


def read_work(
    view: ViewDefinition, sizes: Mapping[str, CellSizes], partitions: Mapping[str, int], *, few: bool
) -> Work:
    """Return the work of reading one entity's features.

    Args:
        view: what is read, whole: a view is finalised as a whole.
        sizes: the sizes of its sources' cells, by source key.
        partitions: in how many partitions the entity's events lie, by source key.
        few: whether the entity is a quiet one; else it is as hot as can be.
    """
    total = Work(features=len(view.features))
    for source in view.sources:
        own = sizes[source.key]
        cell = own.typical() if few else own.full()
        total += _transferred(cell, partitions[source.key])
        total += _merged(source, own, few=few).times(partitions[source.key])
        total += Work(statistics=sum(len(each.windows) for each in source.aggregates))
    return total


def _transferred(cell: Size, partitions: int) -> Work:
    each_bytes = FIELD_BYTES + POSITION_BYTES + cell.bytes
    return Work(fields=1, bytes=each_bytes, values=cell.values).times(partitions)


def rows_work(source: Source, partitions: int) -> Work:
    """Return the work of reading one fold's rows, which are read of every partition of the topic."""
    copied = COPIED_BYTES + COPIED_EACH_BYTES * partitions if source.rekey else 0
    return Work(fields=1, bytes=FIELD_BYTES + ROW_BYTES + copied).times(partitions)


def _merged(source: Source, sizes: CellSizes, *, few: bool) -> Work:
    total = Work()
    for window in dict.fromkeys(each for one in source.aggregates for each in one.windows):
        series = sizes.layout.series_of(window)
        tiles = min(window.length_ms // window.grid_ms, sizes.few_tiles(series) if few else series.span_tiles)
        total += Work(spans=1)
        for aggregate in source.aggregates:
            if window in aggregate.windows:
                total += _aggregated(aggregate, source, sizes.values_of(series, few=few)).times(tiles)
    return total


def _aggregated(aggregate: Aggregate, source: Source, values: Mapping[str, int]) -> Work:
    """Return the work of one tile of one statistic."""
    held = [
        1 if column.name == COUNT.name else values[column.name] for column in kind_of(aggregate, source.event).columns()
    ]
    return Work(numbers=sum(each == 1 for each in held), items=sum(each for each in held if each > 1))


MEASURED = Work(fields=2_500, bytes=1.2, values=98, spans=2_500, numbers=4, items=10.5, statistics=27_000)
"""In ns, on a 2-core machine. Of 126 reads nine in ten take 0.7 to 2.2 times what these say."""
