"""What features are, said once more as plainly as can be: lists, loops, exact arithmetic. No code of `streams`.

Takes the log as it is, one list of records per partition, and answers by looking at every event again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from definitions.declared import Aggregate, Source, ViewDefinition, Window


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


def longest_window(source: Source) -> Window:
    """Return the source's longest window."""
    return max((window for each in source.aggregates for window in each.windows), key=lambda each: each.length_ms)


def in_window(at_ms: int, window: Window, asked_ms: int) -> bool:
    """Return whether an event is in one of the tiles that end with the tile of the time asked about."""
    tile, last = at_ms // window.grid_ms, asked_ms // window.grid_ms
    return last - window.length_ms // window.grid_ms < tile <= last


def fold(source: Source, records: Sequence[tuple[int, Mapping[str, Any] | None]]) -> OracleRow:
    """Return what becomes of one partition's records, (offset, fields) in log order; fields None is a dead letter."""
    row, longest = OracleRow(), longest_window(source)
    for offset, event in records:
        if event is None:
            row.dead += 1
            continue
        at_ms = event[source.event.at]
        row.newest_ms = at_ms if row.newest_ms is None else max(row.newest_ms, at_ms)
        late = row.newest_ms - at_ms > source.event.disorder_ms
        if any(event.get(name) is None for name in source.by):
            row.no_entity += 1
        elif late and not in_window(at_ms, longest, row.newest_ms):
            row.too_late += 1
        else:
            row.applied += 1
            row.late += late
            row.kept.append((at_ms, offset, event))
    return row


def values(
    view: ViewDefinition, rows: Sequence[Mapping[int, OracleRow]], entity: Sequence[Any], asked_ms: int
) -> dict[str, Any] | None:
    """Return the aggregates of one entity by feature name, None if it was never seen.

    Args:
        view: whose aggregates.
        rows: per source of the view, by number of partition.
        entity: what names it.
        asked_ms: the time asked about.
    """
    mine = {
        aggregate.name: [
            (at_ms, number, offset, event)
            for number, row in of_source.items()
            for at_ms, offset, event in row.kept
            if [event[name] for name in source.by] == list(entity)
        ]
        for source, of_source in zip(view.sources, rows, strict=True)
        for aggregate in source.aggregates
    }
    if not any(mine.values()):
        return None
    aggregates = {each.name: each for each in view.aggregates}
    found: dict[str, Any] = {}
    for feature in view.features:
        if feature.aggregate is not None:
            aggregate = aggregates[feature.aggregate]
            window = next(each for each in aggregate.windows if each.text == feature.window)
            inside = sorted(
                (each for each in mine[aggregate.name] if in_window(each[0], window, asked_ms)),
                key=lambda each: each[:3],
            )
            found[feature.name] = _aggregated(aggregate, [each[3] for each in inside])
    return found


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
