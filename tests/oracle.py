"""What features are, said once more as plainly as can be: lists, loops, exact arithmetic. No code of `streams`.

Takes the log as it is, one list of records per partition, and answers by looking at every event again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from definitions.declared import Aggregate, Feature, ViewDefinition, Window


@dataclass
class OracleRow:
    """What became of the records of one partition."""

    applied: int = 0
    late: int = 0
    too_late: int = 0
    no_entity: int = 0
    dead: int = 0
    newest_ms: int | None = None
    kept: list[tuple[int, int, Mapping[str, Any]]] = field(default_factory=list)
    """The applied events: (event time, offset, fields)."""


def longest_window(view: ViewDefinition) -> Window:
    """Return the view's longest window."""
    return max((window for each in view.aggregates for window in each.windows), key=lambda each: each.length_ms)


def in_window(at_ms: int, window: Window, asked_ms: int) -> bool:
    """Return whether an event is in one of the tiles that end with the tile of the time asked about."""
    tile, last = at_ms // window.grid_ms, asked_ms // window.grid_ms
    return last - window.length_ms // window.grid_ms < tile <= last


def fold(view: ViewDefinition, records: Sequence[tuple[int, Mapping[str, Any] | None]]) -> OracleRow:
    """Return what becomes of one partition's records, (offset, fields) in log order; fields None is a dead letter."""
    row, longest = OracleRow(), longest_window(view)
    for offset, event in records:
        if event is None:
            row.dead += 1
            continue
        at_ms = event[view.on.at]
        row.newest_ms = at_ms if row.newest_ms is None else max(row.newest_ms, at_ms)
        late = row.newest_ms - at_ms > view.on.disorder_ms
        if any(event.get(name) is None for name in view.by):
            row.no_entity += 1
        elif late and not in_window(at_ms, longest, row.newest_ms):
            row.too_late += 1
        else:
            row.applied += 1
            row.late += late
            row.kept.append((at_ms, offset, event))
    return row


def values(
    view: ViewDefinition, rows: Mapping[int, OracleRow], entity: Sequence[Any], asked_ms: int
) -> dict[str, Any] | None:
    """Return the aggregates of one entity by feature name, None if no window that is in reach holds an event of it."""
    beyond = out_of_reach(view, rows, asked_ms)
    windows = [window_of(view, each) for each in view.features if each.aggregate and each.name not in beyond]
    mine = [
        (at_ms, number, offset, event)
        for number, row in rows.items()
        for at_ms, offset, event in row.kept
        if [event[name] for name in view.by] == list(entity)
        and any(in_window(at_ms, window, asked_ms) for window in windows)
    ]
    if not mine:
        return None
    aggregates = {each.name: each for each in view.aggregates}
    found: dict[str, Any] = {}
    for feature in view.features:
        if feature.aggregate is not None:
            aggregate, window = aggregates[feature.aggregate], window_of(view, feature)
            inside = sorted((each for each in mine if in_window(each[0], window, asked_ms)), key=lambda each: each[:3])
            found[feature.name] = _aggregated(aggregate, [each[3] for each in inside])
    return found


def window_of(view: ViewDefinition, feature: Feature) -> Window:
    """Return the window of a feature that has one."""
    [aggregate] = [each for each in view.aggregates if each.name == feature.aggregate]
    return next(each for each in aggregate.windows if each.text == feature.window)


def out_of_reach(view: ViewDefinition, rows: Mapping[int, OracleRow], asked_ms: int) -> set[str]:
    """Return the features whose window begins before what some partition retains.

    That is what the longest window over the same grid holds, of questions not older than the declared disorder.
    """
    found: set[str] = set()
    windows = [window for each in view.aggregates for window in each.windows]
    for feature in view.features:
        if feature.aggregate is None:
            continue
        window = window_of(view, feature)
        longest = max((each for each in windows if each.grid_ms == window.grid_ms), key=lambda each: each.length_ms)
        for row in rows.values():
            if row.newest_ms is not None:
                retained = _first_tile(longest, row.newest_ms - view.on.disorder_ms)
                if _first_tile(window, asked_ms) < retained:
                    found.add(feature.name)
    return found


def _first_tile(window: Window, asked_ms: int) -> int:
    return asked_ms // window.grid_ms - window.length_ms // window.grid_ms + 1


def _aggregated(aggregate: Aggregate, events: Sequence[Mapping[str, Any]]) -> Any:
    if aggregate.kind == "count":
        return len(events)
    assert aggregate.field is not None
    known = [event[aggregate.field] for event in events if event.get(aggregate.field) is not None]
    if aggregate.kind == "sum":
        return _sum(known)
    if not known:
        return None
    if aggregate.kind == "mean":
        return float(Fraction(_sum(known)) / len(known))
    return {"min": min(known), "max": max(known), "last": known[-1]}[aggregate.kind]


def _sum(known: Sequence[Any]) -> int | float:
    total = sum((Fraction(value) for value in known), Fraction(0))
    return int(total) if all(isinstance(value, int) for value in known) else float(total)
