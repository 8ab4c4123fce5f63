"""The function that reads a view's windows out of its cells, written out for one view.

As with the loop that adds records to cells (`streams.folding`), the steps cost a fraction where they stand there one
after the other. They are written out as Python source, once per view. Of a view with a count and a mean over the last
ten minutes, by the minute, the text is::

    def read(held, as_of_ms):
        is_known = is_doubtful = False
        lost = set()
        value_0 = value_1 = None
        states, oldest_ms = held[0]
        is_old = oldest_ms is not None and as_of_ms < oldest_ms
        is_lost_0 = states is None or (is_old and oldest_ms // 60000 - 10 > as_of_ms // 60000 - 10)
        column_0_1, column_0_2 = [], []
        for state in states or ():
            since_ms = as_of_ms - state[0]
            now = since_ms // 60000
            dropped, sealed, newest = state[1:4]
            before = now - 10
            if dropped is not None and dropped > before:
                is_lost_0 = True
            if sealed:
                start, stop = 0, len(sealed)
                if sealed[0] <= before:
                    start = bisect_right(sealed[::3], before) * 3
                if sealed[-3] > now:
                    stop = bisect_right(sealed[::3], now) * 3
                column_0_1 += sealed[start + 1 : stop : 3]
                column_0_2 += sealed[start + 2 : stop : 3]
            if newest is not None and before < newest <= now:
                column_0_1.append(state[4])
                column_0_2.append(state[5])
        if is_lost_0:
            lost.update(names_0)
            is_doubtful = is_doubtful or states is not None
        else:
            is_known = is_known or bool(column_0_1)
            value_0 = finalise_0_0(column_0_1)
            value_1 = finalise_0_1(column_0_2, column_0_1)
        return {'n_10m': value_0, 'spent_10m': value_1}, lost, True if is_known else None if is_doubtful else False

What else may be there: more sources, series and windows, and timed columns, whose times become ages::

    column_0_2 += [kept and (since_ms - kept[0], kept[1]) for kept in sealed[start + 2 : stop : 3]]

The text of a view can be read: ``print(source_of(plans_of(view, layouts), names))``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Any, NamedTuple, cast

from definitions.declared import Feature, ViewDefinition
from definitions.values import Value
from streams.aggregates import Kind, kind_of
from streams.cells import COUNTED, DROPPED, OPEN, ORIGIN, CellLayout, CellState, SeriesLayout
from streams.written import written


class Held(NamedTuple):
    """What is held of one entity in one source of a view."""

    states: Sequence[CellState] | None
    """Its cells, in order of source partition, not empty ones; None where the source has not started."""
    oldest_ms: int | None = None
    """`streams.retention.Retention.oldest_ms` of the rows that were read with the cells."""


Read = Callable[[Sequence[Held], int], tuple[dict[str, Value], set[str], bool | None]]
"""What is held of an entity, per source, and the time asked about, to the values of the view's windows, the names of
those that cannot be answered, and whether the entity is known: None says that it cannot be told."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One aggregate of a window: what finalises it, and the places in a row of the columns that it takes."""

    kind: Kind
    columns: tuple[int, ...]
    features: tuple[tuple[str, int | None], ...]
    """The names of its features, each with its place from 1 where there are several values."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """One window over a series."""

    tiles: int
    columns: Mapping[int, bool]
    """The places in a row of the columns that its statistics need, and whether they are timed."""
    statistics: tuple[Statistic, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features that are read from the window."""
        return tuple(name for each in self.statistics for name, _ in each.features)


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """One series of a source, and the windows that are read from it."""

    source: int
    """Which of the view's sources."""
    series: SeriesLayout
    windows: tuple[WindowPlan, ...]


def plans_of(view: ViewDefinition, layouts: Sequence[CellLayout]) -> tuple[SeriesPlan, ...]:
    """Return what is to be read of a view's cells, of which there is a layout per source."""
    plans: list[SeriesPlan] = []
    for number, (source, layout) in enumerate(zip(view.sources, layouts, strict=True)):
        aggregates = {each.name: each for each in source.aggregates}
        read: dict[tuple[str, str], list[Feature]] = {}
        for feature in view.features:
            if feature.aggregate in aggregates and feature.window is not None:
                read.setdefault((feature.aggregate, feature.window), []).append(feature)
        windows: dict[int, dict[int, list[_Asked]]] = {}
        for (name, text), features in read.items():
            aggregate = aggregates[name]
            window = next(each for each in aggregate.windows if each.text == text)
            kind, grid_ms = kind_of(aggregate, source.event), window.grid_ms
            windows.setdefault(grid_ms, {}).setdefault(window.length_ms // grid_ms, []).append((kind, features))
        series = {each.grid_ms: each for each in layout.series}
        for grid_ms, found in windows.items():
            own = series[grid_ms]
            plans.append(SeriesPlan(number, own, tuple(_window(own, *each) for each in found.items())))
    return tuple(plans)


_Asked = tuple[Kind, Sequence[Feature]]
"""An aggregate's kind, and the features that are read from it over one window."""


def _window(series: SeriesLayout, tiles: int, asked: Sequence[_Asked]) -> WindowPlan:
    columns: dict[int, bool] = {}
    statistics = []
    for kind, features in asked:
        kept = {series.column_place(column.name): column.timed for column in kind.columns()}
        places = tuple(series.column_place(column.name) for column in kind.columns())
        columns |= kept
        statistics.append(Statistic(kind, places, tuple((each.name, each.item) for each in features)))
    return WindowPlan(tiles, columns, tuple(statistics))


def compiled(view: str, plans: Sequence[SeriesPlan], names: Sequence[str]) -> Read:
    """Return the function that reads the windows of a view.

    Args:
        view: the view's key, for tracebacks.
        plans: what is read.
        names: of all features of the view; those that are no windows are given as None.

    Cost of a call: 1 us a series in each cell, 0.5 us a statistic, and 10 ns per tile in the windows.
    """
    given: dict[str, Any] = {"bisect_right": bisect_right}
    for number, window in enumerate(each for plan in plans for each in plan.windows):
        given[f"names_{number}"] = window.names
        for place, statistic in enumerate(window.statistics):
            given[f"finalise_{number}_{place}"] = statistic.kind.finalise
    return cast("Read", written("read", source_of(plans, names), given, of=f"the windows of {view}"))


_FUNCTION = """\
def read(held, as_of_ms):
    is_known = is_doubtful = False
    lost = set()
{nothing}{sources}    return {values}, lost, True if is_known else None if is_doubtful else False
"""

_SOURCE = """\
    states, oldest_ms = held[{source}]
    is_old = oldest_ms is not None and as_of_ms < oldest_ms
"""

_SERIES = """\
{begun}    for state in states or ():
        since_ms = as_of_ms - state[{origin}]
        now = since_ms // {grid_ms}
        dropped, sealed, newest = state[{place}:{counted}]
{windows}{ended}"""

_BEGUN = """\
    is_lost_{number} = states is None or (is_old and oldest_ms // {grid_ms} - {span} > as_of_ms // {grid_ms} - {tiles})
    {columns} = {lists}
"""

_WINDOW = """\
        before = now - {tiles}
        if dropped is not None and dropped > before:
            is_lost_{number} = True
        if sealed:
            start, stop = 0, len(sealed)
            if sealed[0] <= before:
                start = bisect_right(sealed[::{width}], before) * {width}
            if sealed[-{width}] > now:
                stop = bisect_right(sealed[::{width}], now) * {width}
{sealed}        if newest is not None and before < newest <= now:
{open}"""

_AGED = "kept and (since_ms - kept[0], kept[1])"
"""What a timed column holds, with its age for its time."""

_ENDED = """\
    if is_lost_{number}:
        lost.update(names_{number})
        is_doubtful = is_doubtful or states is not None
    else:
        is_known = is_known or bool({first})
{statistics}"""


def source_of(plans: Sequence[SeriesPlan], names: Sequence[str]) -> str:
    """Return the text of the function: `compiled`."""
    values = {name: f"value_{place}" for place, name in enumerate(names)}
    sources, number, source = "", 0, -1
    for plan in plans:
        if plan.source != source:
            source = plan.source
            sources += _SOURCE.format(source=source)
        sources += _series(plan, number, values)
        number += len(plan.windows)
    return _FUNCTION.format(
        nothing=f"    {' = '.join(values.values())} = None\n" if values else "",
        sources=sources,
        values="{" + ", ".join(f"{name!r}: {value}" for name, value in values.items()) + "}",
    )


def _series(plan: SeriesPlan, first: int, values: Mapping[str, str]) -> str:
    series, numbered = plan.series, list(enumerate(plan.windows, first))
    return _SERIES.format(
        begun="".join(_begun(series, number, window) for number, window in numbered),
        origin=ORIGIN,
        grid_ms=series.grid_ms,
        place=series.place + DROPPED,
        counted=series.place + OPEN + COUNTED,
        windows="".join(_read(series, number, window) for number, window in numbered),
        ended="".join(_ended(number, window, values) for number, window in numbered),
    )


def _begun(series: SeriesLayout, number: int, window: WindowPlan) -> str:
    columns = [f"column_{number}_{place}" for place in window.columns]
    return _BEGUN.format(
        number=number,
        grid_ms=series.grid_ms,
        span=series.span_tiles,
        tiles=window.tiles,
        columns=", ".join(columns),
        lists=", ".join("[]" for _ in columns),
    )


def _read(series: SeriesLayout, number: int, window: WindowPlan) -> str:
    sealed, opened = "", ""
    for place, timed in window.columns.items():
        column, slice_ = f"column_{number}_{place}", f"sealed[start + {place} : stop : {series.width}]"
        last = f"state[{series.place + OPEN + place}]"
        if timed:
            sealed += f"{column} += [{_AGED} for kept in {slice_}]\n"
            opened += f"kept = {last}\n{column}.append({_AGED})\n"
        else:
            sealed += f"{column} += {slice_}\n"
            opened += f"{column}.append({last})\n"
    return _WINDOW.format(
        tiles=window.tiles,
        number=number,
        width=series.width,
        sealed=indent(sealed, " " * 12),
        open=indent(opened, " " * 12),
    )


def _ended(number: int, window: WindowPlan, values: Mapping[str, str]) -> str:
    found = ""
    for place, statistic in enumerate(window.statistics):
        given = ", ".join(f"column_{number}_{column}" for column in statistic.columns)
        call = f"finalise_{number}_{place}({given})"
        for name, item in statistic.features:
            if item is None:
                found += f"{values[name]} = {call}\n"
        if any(item is not None for _, item in statistic.features):
            found += f"found = {call}\n"
            found += "".join(f"{values[name]} = found[{item - 1}]\n" for name, item in statistic.features if item)
    first = f"column_{number}_{next(iter(window.columns))}"
    return _ENDED.format(number=number, first=first, statistics=indent(found, " " * 8))
