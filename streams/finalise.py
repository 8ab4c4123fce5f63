"""State becomes values here, and only here: live reads, training sets, audits and tests all ask this.

A window of ``length`` over a grid, asked at *t*, is the aggregate of the applied events in the ``length / grid`` tiles
that end with the tile of *t*. Its value changes with the clock, with no new event.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from definitions.declared import Feature, ViewDefinition
from definitions.expressions import ASKED_AT, Evaluator, evaluator
from definitions.values import Value
from streams.aggregates import Kind, kind_of
from streams.cells import DROPPED, ORIGIN, CellLayout, CellState, SeriesLayout
from streams.retention import floor_of


@dataclass(frozen=True, slots=True)
class _Finalised:
    """One aggregate of a window: what finalises it, and which of the window's columns it takes."""

    finalise: Callable[..., Any]
    columns: tuple[int, ...]
    features: tuple[tuple[str, int | None], ...]
    """The names of its features, each with its place from 1 where there are several values."""


@dataclass(frozen=True, slots=True)
class _WindowPlan:
    """One window over a series."""

    tiles: int
    columns: tuple[int, ...]
    """The places in a row of the columns that its aggregates need, each once."""
    timed: tuple[int, ...]
    """Which of these columns are timed."""
    aggregates: tuple[_Finalised, ...]
    names: tuple[str, ...]
    """The names of the features that are read from the window."""


@dataclass(frozen=True, slots=True)
class _SeriesPlan:
    """One series of a source, and the windows that are read from it."""

    source: int
    """Which of the view's sources."""
    series: SeriesLayout
    width: int
    grid_ms: int
    windows: tuple[_WindowPlan, ...]


@dataclass(frozen=True, slots=True)
class _Derived:
    """A feature that is an expression, and the features it reads."""

    name: str
    evaluator: Evaluator


class Held(NamedTuple):
    """What is held of one entity in one source of a view."""

    states: Sequence[CellState] | None
    """Its cells, in order of source partition, not empty ones; None where the source has not started."""
    oldest_ms: int | None = None
    """`streams.retention.Retention.oldest_ms` of the rows that were read with the cells."""


class _Series(NamedTuple):
    """A series as one cell holds it."""

    rows: list[Any]
    tiles: list[int]
    origin_ms: int
    dropped: int | None


_Span = tuple[_Series, int, int]
"""What of a cell's series lies in a window: the rows from the first place up to the second."""


class Finaliser:
    """Turns the cells of one entity, of every source partition, into the values of one view's features.

    Args:
        view: whose features.
        layouts: of the cells, one per source of the view.
    """

    def __init__(self, view: ViewDefinition, layouts: Sequence[CellLayout]) -> None:
        self._names = tuple(each.name for each in view.features)
        self._derived = tuple(
            _Derived(each.name, evaluator(each.expression)) for each in view.features if each.expression is not None
        )
        self._asks_time = any(ASKED_AT in each.evaluator.reads for each in self._derived)
        self._plans = _plans(view, layouts)

    def absent(self, as_of_ms: int) -> dict[str, Value]:
        """Return the values of an entity that is not known: none, but what an expression says of that."""
        values: dict[str, Value] = dict.fromkeys(self._names)
        self._derive(values, set(), as_of_ms)
        return values

    def unanswerable(self) -> tuple[dict[str, Value], set[str]]:
        """Return the values where it cannot be told whether the entity is known: none, and the names of all."""
        return dict.fromkeys(self._names), set(self._names)

    def values(self, held: Sequence[Held], as_of_ms: int) -> tuple[dict[str, Value], set[str], bool | None]:
        """Return the values of an entity, the names of those that cannot be answered, and whether it is known.

        The values are in the order of the view's features; those that cannot be answered are None. The entity is known
        at ``as_of_ms`` if some window that ends then holds an event of it; None says that it cannot be told, because a
        window reaches below what is retained.

        Args:
            held: what is held of the entity, per source of the view.
            as_of_ms: the time asked about.

        Cost: 2 us per window and 1 us per feature, and 10 ns per tile in the windows.
        """
        values: dict[str, Value] = dict.fromkeys(self._names)
        unanswerable: set[str] = set()
        is_known, is_doubtful = False, False
        for plan in self._plans:
            of_source = held[plan.source]
            opened = _opened(plan, of_source)
            for window in plan.windows:
                spans = _spans(plan, window, of_source, opened, as_of_ms)
                if spans is None:
                    unanswerable.update(window.names)
                    is_doubtful = is_doubtful or of_source.states is not None
                    continue
                is_known = is_known or bool(spans)
                slices = [
                    [series.rows[start + place : stop : plan.width] for series, start, stop in spans]
                    for place in window.columns
                ]
                for column in window.timed:
                    slices[column] = _aged(spans, slices[column], as_of_ms)
                for aggregate in window.aggregates:
                    found = aggregate.finalise(*[slices[column] for column in aggregate.columns])
                    for name, item in aggregate.features:
                        values[name] = found if item is None else found[item - 1]
        self._derive(values, unanswerable, as_of_ms)
        return values, unanswerable, True if is_known else None if is_doubtful else False

    def ages_ms(self, held: Sequence[Held], as_of_ms: int) -> dict[str, int | None]:
        """Return how old each value is: from the start of the newest tile with events in its window, None for none.

        The age of an expression is that of its oldest input. Cost: 1 us per window and 0.5 us per cell.
        """
        ages: dict[str, int | None] = dict.fromkeys(self._names)
        for plan in self._plans:
            retained, newest = _newest(plan, held[plan.source], as_of_ms)
            for window in plan.windows:
                inside = [age_ms for behind, age_ms in newest if behind < window.tiles]
                if inside and window.tiles <= retained:
                    ages.update(dict.fromkeys(window.names, min(inside)))
        for derived in self._derived:
            read = [age for name in derived.evaluator.reads if (age := ages.get(name)) is not None]
            ages[derived.name] = max(read, default=None)
        return ages

    def _derive(self, values: dict[str, Value], unanswerable: set[str], as_of_ms: int) -> None:
        if self._asks_time:
            values[ASKED_AT] = as_of_ms
        for derived in self._derived:
            if unanswerable and not unanswerable.isdisjoint(derived.evaluator.reads):
                unanswerable.add(derived.name)
            else:
                values[derived.name] = derived.evaluator.one(values)
        if self._asks_time:
            del values[ASKED_AT]


def _plans(view: ViewDefinition, layouts: Sequence[CellLayout]) -> tuple[_SeriesPlan, ...]:
    plans: list[_SeriesPlan] = []
    for number, (source, layout) in enumerate(zip(view.sources, layouts, strict=True)):
        aggregates = {each.name: each for each in source.aggregates}
        read: dict[tuple[str, str], list[Feature]] = {}
        for feature in view.features:
            if feature.aggregate in aggregates and feature.window is not None:
                read.setdefault((feature.aggregate, feature.window), []).append(feature)
        windows: dict[int, dict[int, list[_Read]]] = {}
        for (name, text), features in read.items():
            aggregate = aggregates[name]
            window = next(each for each in aggregate.windows if each.text == text)
            kind, grid_ms = kind_of(aggregate, source.event), window.grid_ms
            windows.setdefault(grid_ms, {}).setdefault(window.length_ms // grid_ms, []).append((kind, features))
        series = {each.grid_ms: each for each in layout.series}
        plans += [_series_plan(number, series[grid_ms], found) for grid_ms, found in windows.items()]
    return tuple(plans)


_Read = tuple[Kind, Sequence[Feature]]
"""An aggregate's kind, and the features that are read from it over one window."""


def _series_plan(source: int, series: SeriesLayout, read: Mapping[int, Sequence[_Read]]) -> _SeriesPlan:
    windows = tuple(_window_plan(series, tiles, found) for tiles, found in read.items())
    return _SeriesPlan(source, series, series.width, series.grid_ms, windows)


def _window_plan(series: SeriesLayout, tiles: int, read: Sequence[_Read]) -> _WindowPlan:
    columns: dict[int, int] = {}
    timed: set[int] = set()
    aggregates = []
    for kind, features in read:
        kept = kind.columns()
        taken = tuple(columns.setdefault(series.column_place(column.name), len(columns)) for column in kept)
        timed.update(number for number, column in zip(taken, kept, strict=True) if column.timed)
        aggregates.append(_Finalised(kind.finalise, taken, tuple((each.name, each.item) for each in features)))
    names = tuple(name for each in aggregates for name, _ in each.features)
    return _WindowPlan(tiles, tuple(columns), tuple(timed), tuple(aggregates), names)


def _opened(plan: _SeriesPlan, held: Held) -> list[_Series]:
    """Return the plan's series as each cell holds it."""
    place = plan.series.place + DROPPED
    opened = []
    for state in held.states or ():
        rows = plan.series.rows(state)
        opened.append(_Series(rows, rows[:: plan.width], state[ORIGIN], state[place]))
    return opened


def _spans(
    plan: _SeriesPlan, window: _WindowPlan, held: Held, opened: Sequence[_Series], as_of_ms: int
) -> list[_Span] | None:
    """Return what lies in the window of each cell that has something there.

    None if some of it is not retained, or if the source has not started.
    """
    if held.states is None:
        return None
    oldest_ms, grid_ms, width = held.oldest_ms, plan.grid_ms, plan.width
    if oldest_ms is not None and as_of_ms < oldest_ms:
        before = as_of_ms // grid_ms - window.tiles
        if floor_of(plan.series, oldest_ms) > before:
            return None
    spans: list[_Span] = []
    for series in opened:
        newest = (as_of_ms - series.origin_ms) // grid_ms
        before = newest - window.tiles
        if series.dropped is not None and series.dropped > before:
            return None
        start, stop = bisect_right(series.tiles, before), bisect_right(series.tiles, newest)
        if start < stop:
            spans.append((series, start * width, stop * width))
    return spans


def _newest(plan: _SeriesPlan, held: Held, as_of_ms: int) -> tuple[float, list[tuple[int, int]]]:
    """Return how many tiles up to now are retained, and of each cell how far back its newest one is: in tiles, in ms.

    By these it is known which windows `_spans` would find something in, at a fraction of the cost.
    """
    grid_ms, place = plan.grid_ms, plan.series.place + DROPPED
    retained, newest = math.inf, list[tuple[int, int]]()
    if held.oldest_ms is not None and as_of_ms < held.oldest_ms:
        retained = as_of_ms // grid_ms - floor_of(plan.series, held.oldest_ms)
    for state in held.states or ():
        since_ms, dropped, tile = as_of_ms - state[ORIGIN], state[place], plan.series.newest_tile(state)
        now = since_ms // grid_ms
        if dropped is not None:
            retained = min(retained, now - dropped)
        if tile is not None and tile > now:
            tile = max((each for each in plan.series.rows(state)[:: plan.width] if each <= now), default=None)
        if tile is not None:
            newest.append((now - tile, since_ms - tile * grid_ms))
    return retained, newest


def _aged(spans: Sequence[_Span], slices: Sequence[list[Any]], as_of_ms: int) -> list[list[Any]]:
    """Return a timed column's values with ages for times."""
    return [
        [held and (as_of_ms - series.origin_ms - held[0], held[1]) for held in values]
        for values, (series, _, _) in zip(slices, spans, strict=True)
    ]
