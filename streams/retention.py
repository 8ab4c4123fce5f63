"""What a view may still be asked, and which cells no such question needs any more.

A partition retains what a question not older than (its newest event time - the declared disorder) can ask for: per grid
the tiles above a *floor*. A window that reaches to or below the floor is unanswerable, whatever is still stored; a cell
without a tile above any floor is *dead*, and may be removed at any time: no answer shows whether it was. So answers are
a function of (prefix, time asked about), never of when cells were removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from definitions.declared import Source
from streams.cells import (
    COUNTED,
    OPEN,
    ORIGIN,
    TILE,
    CellLayout,
    CellState,
    SeriesLayout,
)
from streams.store import Row


def floor_of(series: SeriesLayout, oldest_ms: int) -> int:
    """Return the newest tile that is not retained, numbered from the epoch; ``oldest_ms`` is `Retention.oldest_ms`."""
    return oldest_ms // series.grid_ms - series.span_tiles


class Retention:
    """The rule of the module's text for one source of a view."""

    def __init__(self, source: Source, layout: CellLayout) -> None:
        self._disorder_ms = source.event.disorder_ms
        self._series = layout.series

    def oldest_ms(self, rows: Iterable[Row]) -> int | None:
        """Return the oldest time that may be asked about in every partition, None where no event was seen yet."""
        newest = [row.newest_ms for row in rows if row.newest_ms is not None]
        return max(newest) - self._disorder_ms if newest else None

    def floor(self, row: Row) -> int | None:
        """Return the floor of the longest series, None where no event was seen yet: cells die only when it moves."""
        oldest_ms = self.oldest_ms((row,))
        if oldest_ms is None:
            return None
        longest = max(self._series, key=lambda each: each.grid_ms * each.span_tiles)
        return floor_of(longest, oldest_ms)

    def is_dead(self, state: CellState, row: Row) -> bool:
        """Return whether no question that ``row``'s partition may still be asked needs the state. Cost: 0.5 us."""
        oldest_ms, origin_ms = self.oldest_ms((row,)), state[ORIGIN]
        if oldest_ms is None or origin_ms is None:
            return False
        for each in self._series:
            tile = state[each.place + OPEN]
            if tile is not None and tile + origin_ms // each.grid_ms > floor_of(each, oldest_ms):
                return False
        return True

    def kept(self, state: CellState | None, row: Row) -> list[list[tuple[Any, ...]]]:
        """Return what the state holds above the floors, at absolute times: equal for cells that answer alike.

        A cell that was removed and came back has another origin, and may have lost what was below the floors.
        """
        oldest_ms = self.oldest_ms((row,))
        if state is None or state[ORIGIN] is None or oldest_ms is None:
            return [[] for _ in self._series]
        return [_kept(each, state, oldest_ms) for each in self._series]


def _kept(series: SeriesLayout, state: CellState, oldest_ms: int) -> list[tuple[Any, ...]]:
    origin_ms, rows = state[ORIGIN], series.rows(state)
    columns = [rows[COUNTED :: series.width]]
    for column in series.columns:
        values = rows[series.column_place(column.name) :: series.width]
        columns.append([(held[0] + origin_ms, held[1]) if column.timed and held else held for held in values])
    first, floor = origin_ms // series.grid_ms, floor_of(series, oldest_ms)
    found = zip((tile + first for tile in rows[TILE :: series.width]), *columns, strict=True)
    return [values for values in found if values[0] > floor]
