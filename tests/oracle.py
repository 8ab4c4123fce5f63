"""What features are, said once more as plainly as can be: lists, loops, exact arithmetic. No code of `streams`.

Takes the log as it is, one list of records per partition, and answers by looking at every event again. Where a
statistic is promised within an error, the answer is what equals everything within it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from definitions.declared import Aggregate, Feature, Source, ViewDefinition, Window
from definitions.expressions import Constant, Expression, Name

RELATIVE = 1e-9
"""What floats may differ by, relative to their size."""


@dataclass(frozen=True, eq=False)
class Near:
    """Equals every number that is at most ``error`` away from ``value``, and no None."""

    value: float
    error: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and abs(other - self.value) <= self.error

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Frequent:
    """Equals every value that occurs at least so often, and None where nothing has to."""

    counts: Mapping[Any, int]
    at_least: float

    def __eq__(self, other: object) -> bool:
        return self.at_least <= 0 if other is None else self.counts.get(other, 0) >= max(self.at_least, 1)

    __hash__ = None  # type: ignore[assignment]


class Kept(NamedTuple):
    """An applied event, in the order that decides which is first and which is last."""

    at_ms: int
    partition: int
    offset: int
    event: Mapping[str, Any]


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
    view: ViewDefinition,
    rows: Sequence[Mapping[int, OracleRow]],
    entity: Sequence[Any],
    asked_ms: int,
    *,
    everything: bool = False,
) -> dict[str, Any] | None:
    """Return what equals the aggregates of one entity, by feature name.

    None if no window that is in reach holds an event of it.

    Args:
        view: whose aggregates.
        rows: per source of the view, by number of partition.
        entity: what names it.
        asked_ms: the time asked about.
        everything: whether nothing is ever out of reach.
    """
    beyond = set() if everything else out_of_reach(view, rows, asked_ms)
    mine = []
    for source, of_source in zip(view.sources, rows, strict=True):
        windows = [window for each, window in _read(view, source) if each.name not in beyond]
        mine.append(
            [
                Kept(at_ms, number, offset, event)
                for number, row in of_source.items()
                for at_ms, offset, event in row.kept
                if [event[name] for name in source.by] == list(entity)
                and any(in_window(at_ms, window, asked_ms) for window in windows)
            ]
        )
    if not any(mine):
        return None
    answers: dict[tuple[str, str], Any] = {}
    for source, kept in zip(view.sources, mine, strict=True):
        windows = {window: _inside(kept, window, asked_ms) for each in source.aggregates for window in each.windows}
        for each in source.aggregates:
            for window in each.windows:
                answers[each.name, window.text] = _aggregated(each, window, windows[window], asked_ms)
    found: dict[str, Any] = {}
    for feature in view.features:
        if feature.aggregate is not None and feature.window is not None:
            value = answers[feature.aggregate, feature.window]
            found[feature.name] = value if feature.item is None else value[feature.item - 1]
    return found


def ages_ms(
    view: ViewDefinition, rows: Sequence[Mapping[int, OracleRow]], entity: Sequence[Any], asked_ms: int
) -> dict[str, int | None]:
    """Return how old each value of one entity is that is no expression: since when the newest tile in its window is."""
    beyond, ages = out_of_reach(view, rows, asked_ms), dict[str, int | None]()
    for source, of_source in zip(view.sources, rows, strict=True):
        for feature, window in _read(view, source):
            starts = [
                at_ms // window.grid_ms * window.grid_ms
                for row in of_source.values()
                for at_ms, _, event in row.kept
                if [event[name] for name in source.by] == list(entity) and in_window(at_ms, window, asked_ms)
            ]
            ages[feature.name] = asked_ms - max(starts) if starts and feature.name not in beyond else None
    return ages


def _read(view: ViewDefinition, source: Source) -> list[tuple[Feature, Window]]:
    """Return the features that are read from a source, each with its window."""
    aggregates = {each.name: each for each in source.aggregates}
    return [
        (feature, next(each for each in aggregates[feature.aggregate].windows if each.text == feature.window))
        for feature in view.features
        if feature.aggregate in aggregates
    ]


def out_of_reach(view: ViewDefinition, rows: Sequence[Mapping[int, OracleRow]], asked_ms: int) -> set[str]:
    """Return the features whose window begins before what some partition retains.

    That is what the longest window over the same grid holds, of questions not older than the declared disorder.
    """
    found: set[str] = set()
    for source, of_source in zip(view.sources, rows, strict=True):
        windows = [window for each in source.aggregates for window in each.windows]
        for feature, window in _read(view, source):
            alike = [each for each in windows if each.grid_ms == window.grid_ms]
            longest = max(alike, key=lambda each: each.length_ms)
            for row in of_source.values():
                if row.newest_ms is not None:
                    retained = _first_tile(longest, row.newest_ms - source.event.disorder_ms)
                    if _first_tile(window, asked_ms) < retained:
                        found.add(feature.name)
    return found


def _first_tile(window: Window, asked_ms: int) -> int:
    return asked_ms // window.grid_ms - window.length_ms // window.grid_ms + 1


def _inside(mine: Sequence[Kept], window: Window, asked_ms: int) -> list[Kept]:
    return sorted((each for each in mine if in_window(each.at_ms, window, asked_ms)), key=lambda kept: kept[:3])


def _aggregated(aggregate: Aggregate, window: Window, inside: Sequence[Kept], asked_ms: int) -> Any:
    """Return the value over a window, or all of them in a list where a window has several."""
    if aggregate.of:
        return _ratio(*(_aggregated(each, window, inside, asked_ms) for each in aggregate.of))
    inside = [each for each in inside if all(_holds(condition, each.event) is True for condition in aggregate.where)]
    if aggregate.field is not None:
        inside = [each for each in inside if each.event.get(aggregate.field) is not None]
    known = [each if aggregate.field is None else each.event[aggregate.field] for each in inside]
    options = dict(aggregate.options)
    if aggregate.kind in {"decayed_count", "decayed_mean"}:
        ages = [(asked_ms - each.at_ms) / options["half_life_ms"] for each in inside]
        return _decayed_count(ages) if aggregate.kind == "decayed_count" else _decayed_mean(ages, known)
    if aggregate.kind == "distinct":
        return _distinct(known, _fits(inside, known, window, options["exact"]), options["precision"])
    if aggregate.kind == "top_k":
        return _frequent(known, _fits(inside, known, window, options["capacity"]), **options)
    return _plain(aggregate.kind, known, **options)


def _plain(kind: str, known: Sequence[Any], **options: Any) -> Any:
    of_any = {
        "count": len,
        "sum": _sum,
        "variance": lambda held: _spread(held, root=False),
        "std": lambda held: _spread(held, root=True),
        "last_k": lambda held: [*held[::-1], *[None] * options["k"]][: options["k"]],
    }
    of_some = {
        "mean": lambda held: float(Fraction(_sum(held)) / len(held)),
        "min": min,
        "max": max,
        "first": lambda held: held[0],
        "last": lambda held: held[-1],
        "quantile": lambda held: _quantile(held, **options),
    }
    if kind in of_any:
        return of_any[kind](known)
    return of_some[kind](known) if known else None


def _quantile(known: Sequence[Any], accuracy: float, q: float) -> Any:
    value = sorted(known)[int(q * (len(known) - 1))]
    return Near(value, abs(value) * accuracy * (1 + 1e-9))


def _sum(known: Sequence[Any]) -> int | float:
    total = sum((Fraction(value) for value in known), Fraction(0))
    return int(total) if all(isinstance(value, int) for value in known) else float(total)


def _spread(known: Sequence[Any], *, root: bool) -> Any:
    if len(known) < 2:
        return None
    mean = sum(map(Fraction, known), Fraction(0)) / len(known)
    variance = sum((Fraction(value) - mean) ** 2 for value in known) / (len(known) - 1)
    value = math.sqrt(variance) if root else float(variance)
    return Near(value, value * RELATIVE)


def _ratio(above: Any, below: Any) -> Any:
    above, below = (each.value if isinstance(each, Near) else each for each in (above, below))
    if above is None or not below:
        return None
    ratio = float(Fraction(above) / Fraction(below))
    return Near(ratio, abs(ratio) * 2 * RELATIVE)


def _decayed_count(ages: Sequence[float]) -> Any:
    count = math.fsum(2.0**-age for age in ages)
    return Near(count, count * RELATIVE)


def _decayed_mean(ages: Sequence[float], known: Sequence[Any]) -> Any:
    if not known:
        return None
    weights = [Fraction(2.0**-age) for age in ages]
    mean = float(sum(weight * Fraction(value) for weight, value in zip(weights, known, strict=True)) / sum(weights))
    size = float(
        sum(weight * abs(Fraction(value)) for weight, value in zip(weights, known, strict=True)) / sum(weights)
    )
    return Near(mean, size * RELATIVE)


def _fits(inside: Sequence[Kept], known: Sequence[Any], window: Window, limit: int) -> bool:
    """Return whether no tile of any partition has more different values than it keeps one by one."""
    different: dict[tuple[int, int], set[Any]] = {}
    for each, value in zip(inside, known, strict=True):
        different.setdefault((each.partition, each.at_ms // window.grid_ms), set()).add(value)
    return all(len(values) <= limit for values in different.values())


def _distinct(known: Sequence[Any], fits: bool, precision: int) -> Any:  # noqa: FBT001
    number = len(set(known))
    return number if fits else Near(number, 1 + 5 * number * 1.04 / math.sqrt(2**precision))


def _frequent(known: Sequence[Any], fits: bool, capacity: int, k: int) -> list[Any]:  # noqa: FBT001
    counts = Counter(known)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    if fits:
        return [*ranked, *[None] * k][:k]
    short = len(known) / (capacity + 1)
    return [Frequent(counts, counts[ranked[place]] - short if place < len(ranked) else 0) for place in range(k)]


def _holds(condition: Expression, event: Mapping[str, Any]) -> Any:
    if isinstance(condition, Constant):
        return condition.value
    if isinstance(condition, Name):
        return event.get(condition.name)
    left, right = _holds(condition.left, event), _holds(condition.right, event)
    if left is None or right is None:
        return condition.otherwise
    return left > right if condition.operator == ">" else left == right
