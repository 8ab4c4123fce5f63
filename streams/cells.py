"""The state of one (view, entity, source partition): sparse tiles in columns, one series per grid.

In memory and in the store a cell is the same nested list, so that coding it is one call::

    [origin_ms, series, series, …]              a series per distinct grid of the view, in order of first use
    series = [dropped, tiles, counts, *columns] sorted tile numbers, and per tile a value in every column

Tile ``n`` of a grid is ``[origin_ms + n * grid, origin_ms + (n + 1) * grid)``; the origin is a multiple of every grid,
fixed by the cell's first event. ``dropped`` is the newest tile that the series gave up, None if it has them all: a
window that would need it, or an older one, cannot be answered from the cell.

A series gives up the tiles that no question newer than (newest event time - disorder) can ask for. It does so when a
record opens a tile, judged by the partition's newest event time at that record: the state is a function of the records
in log order, however they were cut into batches.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from definitions.declared import ViewDefinition, Window
from streams.aggregates import COUNT, Column, kind_of

CellState = list[Any]
"""The nested list of the module's text. An entity without events has origin None."""

ORIGIN, FIRST_SERIES = 0, 1
DROPPED, TILES, COUNTS, FIRST_COLUMN = 0, 1, 2, 3

_WIDE_INT = 1
"""MessagePack's extension type of a whole number beyond 64 bits."""


@dataclass(frozen=True, slots=True)
class SeriesLayout:
    """What one grid of a view keeps."""

    place: int
    """Where the series lies in a cell."""
    grid_ms: int
    span_tiles: int
    """Tiles in the longest window over this grid."""
    columns: tuple[Column, ...]
    """The columns behind the counts."""

    def column_place(self, name: str) -> int:
        """Return where a column lies in the series."""
        if name == COUNT.name:
            return COUNTS
        return FIRST_COLUMN + [column.name for column in self.columns].index(name)


_Fold = tuple[int, int, Callable[[Any], Any], Callable[[Any, Any], Any]]
"""A column's place in the series, its input's place in the inputs, and how the column begins and goes on with one."""

_Plan = tuple[int, int, int, tuple[Any, ...], tuple[_Fold, ...], tuple[_Fold, ...]]
"""A series as `CellLayout.add` works on it: place, grid, span, an empty tile from the counts on, folds, timed."""


class CellLayout:
    """How the cells of one view are laid out, and how a record is added to one."""

    def __init__(self, view: ViewDefinition) -> None:
        self.series = _series_of(view)
        self.inputs: tuple[Column, ...] = tuple(
            {column.name: column for each in self.series for column in each.columns}.values()
        )
        """The columns whose inputs `add` takes, in order."""
        self._disorder_ms = view.on.disorder_ms
        self._align_ms = math.lcm(*(each.grid_ms for each in self.series))
        places = {column.name: place for place, column in enumerate(self.inputs)}
        self._plans = [_plan(each, places) for each in self.series]

    def empty(self) -> CellState:
        """Return the state of an entity without events."""
        return [None, *([None, [], [], *([] for _ in each.columns)] for each in self.series)]

    def series_of(self, window: Window) -> SeriesLayout:
        """Return the series that a window is read from."""
        return next(each for each in self.series if each.grid_ms == window.grid_ms)

    def add(self, state: CellState, at_ms: int, inputs: Sequence[Any], newest_ms: int) -> None:
        """Add one event to the state, in place. Cost: 0.3 us per grid and 0.1 us per grid and column.

        Args:
            state: the cell.
            at_ms: the event's time.
            inputs: what the event brings to each of `inputs`.
            newest_ms: the partition's newest event time after this record.
        """
        origin_ms = state[ORIGIN]
        if origin_ms is None:
            origin_ms = state[ORIGIN] = at_ms - at_ms % self._align_ms
        since_ms = at_ms - origin_ms
        disorder_ms = self._disorder_ms
        for place, grid_ms, span_tiles, empty, folds, timed in self._plans:
            series = state[place]
            tiles = series[TILES]
            tile = since_ms // grid_ms
            if tiles and tiles[-1] == tile:
                at = -1
            else:
                floor = (newest_ms - disorder_ms - origin_ms) // grid_ms - span_tiles
                opened = _place(series, tile, floor, empty)
                if opened is None:
                    continue
                at = opened
            series[COUNTS][at] += 1
            for column, source, begin, fold in folds:
                value = inputs[source]
                if value is not None:
                    values = series[column]
                    held = values[at]
                    values[at] = begin(value) if held is None else fold(held, value)
            for column, source, begin, fold in timed:
                value = inputs[source]
                if value is not None:
                    values = series[column]
                    held = values[at]
                    given = (since_ms, value)
                    values[at] = begin(given) if held is None else fold(held, given)


class CellCodec:
    """Cell states as bytes, and back. MessagePack of the nested list: equal states, equal bytes.

    Example:
        >>> from tests.builders import view_definition  # doctest: +SKIP
        >>> codec = CellCodec(CellLayout(view_definition()))  # doctest: +SKIP
        >>> codec.decode(codec.encode(codec.empty())) == codec.empty()  # doctest: +SKIP
        True
    """

    def __init__(self, layout: CellLayout) -> None:
        self.empty = layout.empty
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Callable[[bytes], CellState] = msgspec.msgpack.Decoder(list, ext_hook=_narrow).decode

    def encode(self, state: CellState) -> bytes | None:
        """Return the state's bytes, None for that of an entity without events. Cost: 5-10 ns a number."""
        if state[ORIGIN] is None:
            return None
        try:
            return self._encode(state)
        except OverflowError:
            return self._encode(_widened(state))

    def decode(self, data: bytes) -> CellState:
        """Return the state that the bytes were made from."""
        return self._decode(data)


def _series_of(view: ViewDefinition) -> tuple[SeriesLayout, ...]:
    spans: dict[int, int] = {}
    columns: dict[int, dict[str, Column]] = {}
    for aggregate in view.aggregates:
        kind = kind_of(aggregate, view.on)
        for window in aggregate.windows:
            grid = window.grid_ms
            spans[grid] = max(spans.get(grid, 0), window.length_ms // grid)
            columns.setdefault(grid, {}).update({column.name: column for column in kind.columns()})
    return tuple(
        SeriesLayout(place, grid, span, tuple(each for name, each in columns[grid].items() if name != COUNT.name))
        for place, (grid, span) in enumerate(spans.items(), FIRST_SERIES)
    )


def _plan(series: SeriesLayout, places: dict[str, int]) -> _Plan:
    columns = [
        (column.timed, (series.column_place(column.name), places[column.name], column.begin, column.fold))
        for column in series.columns
    ]
    folds = tuple(fold for timed, fold in columns if not timed)
    timed = tuple(fold for timed, fold in columns if timed)
    empty = (0, *(column.empty for column in series.columns))
    return series.place, series.grid_ms, series.span_tiles, empty, folds, timed


def _drop(series: list[Any], tile: int) -> None:
    dropped = series[DROPPED]
    if dropped is None or tile > dropped:
        series[DROPPED] = tile


def _place(series: list[Any], tile: int, floor: int, empty: tuple[Any, ...]) -> int | None:
    """Return the place of ``tile``, made if absent, after giving up the tiles up to ``floor``; None if it is one."""
    if tile <= floor:
        _drop(series, tile)
        return None
    tiles = series[TILES]
    if tiles and tiles[0] <= floor:
        given_up = bisect_right(tiles, floor)
        _drop(series, tiles[given_up - 1])
        for values in series[TILES:]:
            del values[:given_up]
    if not tiles or tile > tiles[-1]:
        tiles.append(tile)
        place = COUNTS
        for value in empty:
            series[place].append(value)
            place += 1
        return -1
    place = bisect_left(tiles, tile)
    if tiles[place] != tile:
        tiles.insert(place, tile)
        for values, value in zip(series[COUNTS:], empty, strict=True):
            values.insert(place, value)
    return place


def _widened(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_widened(each) for each in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_WIDE_INT, value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))
    return value


def _narrow(code: int, data: memoryview) -> int:
    if code != _WIDE_INT:
        raise ValueError(f"cannot decode cell: expected extension type {_WIDE_INT}, got {code}")
    return int.from_bytes(data, "big", signed=True)
