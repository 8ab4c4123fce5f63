"""The function that tells how old the values of a view are, written out for one view as `streams.windows` reads it.

Of the view of that module's text it is::

    def ages(held, as_of_ms):
        age_0 = age_1 = None
        states, oldest_ms = held[0]
        is_old = oldest_ms is not None and as_of_ms < oldest_ms
        begun_ms, retained = LONG_AGO_MS, as_of_ms // 60000 - oldest_ms // 60000 + 10 if is_old else FOR_EVER
        for state in states or ():
            now = (as_of_ms - state[0]) // 60000
            dropped, sealed, newest = state[1:4]
            if newest is None or newest > now:
                newest = newest_of(sealed[::3], now)
            tile_ms = state[0] + newest * 60000
            if tile_ms > begun_ms:
                begun_ms = tile_ms
            if dropped is not None and now - dropped < retained:
                retained = now - dropped
        behind = as_of_ms // 60000 - begun_ms // 60000
        if behind < 10 <= retained:
            age_0 = age_1 = as_of_ms - begun_ms
        return {'n_10m': age_0, 'spent_10m': age_1}
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from streams.cells import COUNTED, DROPPED, OPEN, ORIGIN
from streams.windows import Held, SeriesPlan
from streams.written import written

Ages = Callable[[Sequence[Held], int], dict[str, int | None]]
"""What is held of an entity, per source, and the time asked about, to the age of each value: from the start of the
newest tile with events in its window, None where there is none, or where the window cannot be answered."""

_LONG_AGO = -(2**62)
"""Before every window, as a tile and as a time."""
_FOR_EVER = 2**62


def compiled(view: str, plans: Sequence[SeriesPlan], names: Sequence[str]) -> Ages:
    """Return the function that tells the ages of a view's values.

    Args:
        view: the view's key, for tracebacks.
        plans: what is read: `streams.windows.plans_of`.
        names: of all features of the view; those that are no windows are given as None.

    Cost of a call: 0.5 us a series, and as much for it in each cell.
    """
    given: dict[str, Any] = {"newest_of": _newest_of, "LONG_AGO_MS": _LONG_AGO, "FOR_EVER": _FOR_EVER}
    return cast("Ages", written("ages", source_of(plans, names), given, of=f"the ages of {view}"))


def _newest_of(tiles: Sequence[int], now: int) -> int:
    """Return the newest tile up to ``now``, one long ago where there is none."""
    place = bisect_right(tiles, now)
    return tiles[place - 1] if place else _LONG_AGO


_FUNCTION = """\
def ages(held, as_of_ms):
{nothing}{sources}    return {ages}
"""

_SOURCE = """\
    states, oldest_ms = held[{source}]
    is_old = oldest_ms is not None and as_of_ms < oldest_ms
"""

_SERIES = """\
    begun_ms, retained = LONG_AGO_MS, as_of_ms // {grid_ms} - oldest_ms // {grid_ms} + {span} if is_old else FOR_EVER
    for state in states or ():
        now = (as_of_ms - state[{origin}]) // {grid_ms}
        dropped, sealed, newest = state[{place}:{counted}]
        if newest is None or newest > now:
            newest = newest_of(sealed[::{width}], now)
        tile_ms = state[{origin}] + newest * {grid_ms}
        if tile_ms > begun_ms:
            begun_ms = tile_ms
        if dropped is not None and now - dropped < retained:
            retained = now - dropped
    behind = as_of_ms // {grid_ms} - begun_ms // {grid_ms}
{windows}"""

_WINDOW = """\
    if behind < {tiles} <= retained:
        {ages} = as_of_ms - begun_ms
"""


def source_of(plans: Sequence[SeriesPlan], names: Sequence[str]) -> str:
    """Return the text of the function: `compiled`."""
    ages = {name: f"age_{place}" for place, name in enumerate(names)}
    sources, source = "", -1
    for plan in plans:
        if plan.source != source:
            source = plan.source
            sources += _SOURCE.format(source=source)
        sources += _series(plan, ages)
    return _FUNCTION.format(
        nothing=f"    {' = '.join(ages.values())} = None\n" if ages else "",
        sources=sources,
        ages="{" + ", ".join(f"{name!r}: {age}" for name, age in ages.items()) + "}",
    )


def _series(plan: SeriesPlan, ages: Mapping[str, str]) -> str:
    series = plan.series
    return _SERIES.format(
        origin=ORIGIN,
        grid_ms=series.grid_ms,
        span=series.span_tiles,
        place=series.place + DROPPED,
        counted=series.place + OPEN + COUNTED,
        width=series.width,
        windows="".join(
            _WINDOW.format(tiles=each.tiles, ages=" = ".join(ages[name] for name in each.names))
            for each in plan.windows
            if each.names
        ),
    )
