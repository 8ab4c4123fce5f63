"""The state of one (view, entity, source partition): sparse tiles, one series of them per grid, in one flat list.

In memory and in the store a cell is the same list, so that coding it is one call, and the numbers that most events
change lie side by side::

    [origin_ms, series…, series…, …]           a series per distinct grid of the view, in order of first use
    series… = dropped, sealed, tile, count, *columns
    sealed  = [tile, count, *columns, tile, count, *columns, …]     older tiles, row by row, in order of time

Tile ``n`` of a grid is ``[origin_ms + n * grid, origin_ms + (n + 1) * grid)``; the origin is a multiple of every grid,
fixed by the cell's first event. The newest tile of a series lies open in the cell, None if it has none. ``dropped`` is
the newest tile that the series gave up, None if it has them all: a window that would need it, or an older one, cannot
be answered from the cell.

A series gives up the tiles that no question newer than (newest event time - disorder) can ask for. It does so when a
record opens a tile, judged by the partition's newest event time at that record: the state is a function of the records
in log order, however they were cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from definitions.declared import Source, Window
from streams.aggregates import COUNT, Column, kind_of

CellState = list[Any]
"""The list of the module's text. An entity without events has origin None."""

ORIGIN, FIRST_SERIES = 0, 1
DROPPED, SEALED, OPEN = 0, 1, 2
"""Places from a series' first on; a row begins at `OPEN`."""
TILE, COUNTED, FIRST_COLUMN = 0, 1, 2
"""Places in a row, the open one or a sealed one."""

_WIDE_INT = 1
"""MessagePack's extension type of a whole number beyond 64 bits."""


@dataclass(frozen=True, slots=True)
class SeriesLayout:
    """What one grid of a view keeps."""

    place: int
    """Where the series begins in a cell."""
    grid_ms: int
    span_tiles: int
    """Tiles in the longest window over this grid."""
    columns: tuple[Column, ...]
    """The columns behind the counts."""

    @property
    def width(self) -> int:
        """How long a row is."""
        return FIRST_COLUMN + len(self.columns)

    @property
    def empty_row(self) -> tuple[Any, ...]:
        """A row without events, from its count on."""
        return (0, *(column.empty for column in self.columns))

    def column_place(self, name: str) -> int:
        """Return where a column lies in a row."""
        if name == COUNT.name:
            return COUNTED
        return FIRST_COLUMN + [column.name for column in self.columns].index(name)

    def rows(self, state: CellState) -> list[Any]:
        """Return every row of the series in one list, in order of time; the open one last."""
        opened = self.place + OPEN
        sealed: list[Any] = state[self.place + SEALED]
        return sealed if state[opened] is None else sealed + state[opened : opened + self.width]

    def newest_tile(self, state: CellState) -> int | None:
        """Return the tile of the newest row, None where there is none; no row is copied for that."""
        opened: int | None = state[self.place + OPEN]
        if opened is not None:
            return opened
        sealed: list[Any] = state[self.place + SEALED]
        return sealed[-self.width] if sealed else None


class CellLayout:
    """How the cells of one source of a view are laid out. `streams.folding` adds records to them."""

    def __init__(self, source: Source) -> None:
        self.name = source.key
        self.series = _series_of(source)
        self.inputs: tuple[Column, ...] = tuple(
            {column.name: column for each in self.series for column in each.columns}.values()
        )
        """The columns whose inputs a record brings, in order."""
        self._empty = [None, *(part for each in self.series for part in (None, (), None, *each.empty_row))]
        self._sealed = [each.place + SEALED for each in self.series]
        self.disorder_ms = source.event.disorder_ms
        self.align_ms = math.lcm(*(each.grid_ms for each in self.series))
        """What a cell's origin is a multiple of."""
        self.longest = max((each for one in source.aggregates for each in one.windows), key=lambda each: each.length_ms)

    def empty(self) -> CellState:
        """Return the state of an entity without events."""
        state = self._empty.copy()
        for place in self._sealed:
            state[place] = []
        return state

    def series_of(self, window: Window) -> SeriesLayout:
        """Return the series that a window is read from."""
        return next(each for each in self.series if each.grid_ms == window.grid_ms)


class CellCodec:
    """Cell states as bytes, and back. MessagePack of the nested list: equal states, equal bytes.

    Example:
        >>> from tests.builders import view_definition  # doctest: +SKIP
        >>> codec = CellCodec(CellLayout(view_definition().sources[0]))  # doctest: +SKIP
        >>> codec.decode(codec.encode(codec.empty())) == codec.empty()  # doctest: +SKIP
        True
    """

    def __init__(self, layout: CellLayout) -> None:
        self.empty = layout.empty
        self._encode = msgspec.msgpack.Encoder().encode
        self.decode: Callable[[bytes], CellState] = msgspec.msgpack.Decoder(list, ext_hook=_narrow).decode
        """Returns the state that bytes were made from."""

    def encode(self, state: CellState) -> bytes | None:
        """Return the state's bytes, None for that of an entity without events. Cost: 5-10 ns a number."""
        if state[ORIGIN] is None:
            return None
        try:
            return self._encode(state)
        except OverflowError:
            return self._encode(_widened(state))


def _series_of(source: Source) -> tuple[SeriesLayout, ...]:
    spans: dict[int, int] = {}
    columns: dict[int, dict[str, Column]] = {}
    for aggregate in source.aggregates:
        kind = kind_of(aggregate, source.event)
        for window in aggregate.windows:
            grid = window.grid_ms
            spans[grid] = max(spans.get(grid, 0), window.length_ms // grid)
            columns.setdefault(grid, {}).update({column.name: column for column in kind.columns()})
    series: list[SeriesLayout] = []
    place = FIRST_SERIES
    for grid, span in spans.items():
        kept = tuple(each for name, each in columns[grid].items() if name != COUNT.name)
        series.append(SeriesLayout(place, grid, span, kept))
        place += OPEN + series[-1].width
    return tuple(series)


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
