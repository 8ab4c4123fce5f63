"""What authors write for a statistic: ``hr.count()``, ``hr.mean(Departed.delay_min)``, ``hr.top_k(Sold.colour, 3)``."""

from __future__ import annotations

import builtins
import dataclasses
from datetime import datetime
from typing import TypedDict, Unpack

from definitions.aggregates.conditions import Condition, conditions_of, groups_of
from definitions.aggregates.windows import SEVERAL, Aggregation, Windowed
from definitions.declaring import Declaring, author_line
from definitions.events import Event
from definitions.terms import FieldTerm, Term, article
from definitions.values import Value, ValueType, parse_span, shown

_NUMBERS = (ValueType.INT, ValueType.FLOAT)
_SUMMABLE = (*_NUMBERS, ValueType.BOOL)
_PLAIN = (*_SUMMABLE, ValueType.CATEGORY)
_ONLY_LAST = (ValueType.TIME, ValueType.EMBEDDING)
_ACCEPTED = {
    "sum": _SUMMABLE,
    "mean": _SUMMABLE,
    "variance": _NUMBERS,
    "std": _NUMBERS,
    "min": _NUMBERS,
    "max": _NUMBERS,
    "first": _PLAIN,
    "last": tuple(ValueType),
    "last_k": _PLAIN,
    "distinct": _PLAIN,
    "quantile": _NUMBERS,
    "top_k": (ValueType.INT, ValueType.CATEGORY),
    "decayed_mean": _SUMMABLE,
}

LARGEST_K = 100
"""How many values one window may give: each is a feature."""
DISTINCT_EXACT = 256
"""How many distinct values a tile keeps one by one before it turns to registers."""
DISTINCT_PRECISION = 12
"""2 ** precision registers, a byte each: a standard error of 1.63 %."""
QUANTILE_ACCURACY = 0.01
"""How far a quantile may be from the value that it stands for, relative to it."""
TOP_K_CAPACITY = 64
"""How many categories a tile counts one by one, at least."""


class FilterKeywords(TypedDict, total=False):
    """What every statistic of events may be told."""

    where: Condition | tuple[Condition, ...]


class Keywords(FilterKeywords, total=False):
    """What a statistic of one value may be told as well: to give it for each of these groups."""

    by: float | str | Term | None
    groups: tuple[str | int, ...] | list[str] | list[int]


def count(event: type[Event] | None = None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Count the events of an entity. Its features are whole numbers, 0 where a known entity had no event.

    Args:
        event: which one, where the view is on several: ``hr.count(Departed)``.
        keywords: ``where=Departed.delay_min > 15``, a condition on the event's own fields, or several, all of which
            must hold; ``by=Departed.carrier, groups=("UA", "DL")`` gives one feature per group and window,
            ``flights_1h_UA``. Every statistic takes ``where``; those of one value take groups too.
    """
    return _of_event(event, _aggregation("count", None, ValueType.INT, keywords))


def sum(field: float | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:  # noqa: A001  # authors write hr.sum
    """Add up a number, or count the true values of a bool. Nulls are left out; nothing to add up gives 0."""
    term = _field("sum", field)
    return _aggregation("sum", term, ValueType.INT if term.type is ValueType.BOOL else term.type, keywords)


def mean(field: float | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Average a number, or the share of true values of a bool. Nulls are left out; nothing to average gives None."""
    return _aggregation("mean", _field("mean", field), ValueType.FLOAT, keywords)


def variance(field: float | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Return the sample variance of a number (over n - 1). Nulls are left out; fewer than two numbers give None."""
    return _aggregation("variance", _field("variance", field), ValueType.FLOAT, keywords)


def std(field: float | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Return the sample standard deviation of a number, the root of `variance`."""
    return _aggregation("std", _field("std", field), ValueType.FLOAT, keywords)


def min(field: float | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:  # noqa: A001
    """Return the least of a number. Nulls are left out; None where there is nothing to compare."""
    term = _field("min", field)
    return _aggregation("min", term, term.type, keywords)


def max(field: float | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:  # noqa: A001
    """Return the greatest of a number. Nulls are left out; None where there is nothing to compare."""
    term = _field("max", field)
    return _aggregation("max", term, term.type, keywords)


def first(field: float | str | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Return the oldest value in the window by event time, then partition, then offset. Nulls are left out."""
    term = _field("first", field)
    return _aggregation("first", term, term.type, keywords)


def last(field: float | str | datetime | list[float] | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Return the newest value by event time. Nulls are left out; None where there is none in the window.

    The one statistic of times and of embeddings. Each tile keeps its newest value: for an embedding over a long window
    say ``every=``, as in ``.over("24h", every="24h")``, or an entity costs 9 bytes a number for each of 60 tiles.
    """
    term = _field("last", field)
    return _aggregation("last", term, term.type, keywords)


def last_k(field: float | str | Term | None, k: int, **keywords: Unpack[FilterKeywords]) -> Aggregation:
    """Return the ``k`` newest values, newest first: features ``name_1h_1`` to ``name_1h_k``, None behind the oldest.

    They are ordered by event time, then partition, then offset. Nulls are left out. A tile keeps up to ``k`` values.
    """
    term = _field("last_k", field)
    return _aggregation("last_k", term, term.type, keywords, k=_k("last_k", k))


def distinct(field: float | str | Term | None, **keywords: Unpack[Keywords]) -> Aggregation:
    """Return how many different values there are. Nulls are left out; nothing gives 0.

    Exact while no tile of the window has more than 256 of them; beyond that a HyperLogLog of 4,096 registers, whose
    standard error is 1.63 %. A tile keeps 9 bytes a value, at most 4 KiB.
    """
    term = _field("distinct", field)
    return _aggregation("distinct", term, ValueType.INT, keywords, exact=DISTINCT_EXACT, precision=DISTINCT_PRECISION)


def quantile(field: float | Term | None, q: float, **keywords: Unpack[Keywords]) -> Aggregation:
    """Return the value at ``q``, 0.5 for the median, within 1 % of itself. Nulls are left out; nothing gives None.

    Of n sorted values it stands for the one at place floor(q (n - 1)), counted from 0. A tile counts its values in
    buckets of which each is 2 % wide (DDSketch), about 5 bytes a bucket in use.
    """
    term = _field("quantile", field)
    if type(q) not in {int, float} or not 0 <= q <= 1:
        raise Declaring(f"aggregate hr.quantile({term!r}, …)", author_line()).refusal("q from 0 to 1", shown(q))
    return _aggregation("quantile", term, ValueType.FLOAT, keywords, accuracy=QUANTILE_ACCURACY, q=float(q))


def top_k(field: float | str | Term | None, k: int, **keywords: Unpack[FilterKeywords]) -> Aggregation:
    """Return the ``k`` most frequent values, most frequent first: features ``name_1h_1`` to ``name_1h_k``.

    Equally frequent ones are in order of value. Nulls are left out; None behind the last. Exact while no tile of the
    window has more than 64 different values (4 k, if that is more); beyond that the frequency of each of n values is
    known to n / 65, so that one may stand where another belongs that is more frequent by less than that.
    """
    term = _field("top_k", field)
    k = _k("top_k", k)
    return _aggregation("top_k", term, term.type, keywords, capacity=builtins.max(TOP_K_CAPACITY, 4 * k), k=k)


def decayed_count(event: type[Event] | None = None, *, half_life: str, **keywords: Unpack[Keywords]) -> Aggregation:
    """Count events, each for half as much every ``half_life`` of its age at the time asked about.

    Events older than the window count for nothing. An event that is newer than the time asked about, in the same
    tile, counts for more than one.
    """
    half_life_ms = _half_life("decayed_count", half_life)
    return _of_event(event, _aggregation("decayed_count", None, ValueType.FLOAT, keywords, half_life_ms=half_life_ms))


def decayed_mean(field: float | Term | None, *, half_life: str, **keywords: Unpack[Keywords]) -> Aggregation:
    """Average a number, each value weighing half as much every ``half_life`` of its age. Nothing gives None."""
    term = _field("decayed_mean", field)
    half_life_ms = _half_life("decayed_mean", half_life)
    return _aggregation("decayed_mean", term, ValueType.FLOAT, keywords, half_life_ms=half_life_ms)


def ratio(numerator: Aggregation, denominator: Aggregation) -> Aggregation:
    """Divide one statistic by another of the same window. x / 0 and 0 / 0 have no value.

    ``hr.ratio(hr.count(where=Departed.delay_min > 15), hr.count()).over("1h")`` is the share of late departures.
    """
    declaring = Declaring("aggregate hr.ratio(…)", author_line())
    for each in (numerator, denominator):
        if isinstance(each, Windowed):
            raise declaring.refusal("two statistics without windows", repr(each), 'write hr.ratio(…).over("1h")')
        if not isinstance(each, Aggregation):
            raise declaring.refusal("two statistics", shown(each), "write hr.ratio(hr.sum(Event.field), hr.count())")
        if each.type not in _NUMBERS or each.kind in {*SEVERAL, "ratio"}:
            raise declaring.refusal("two statistics of one number each", repr(each))
        if each.groups:
            raise declaring.refusal("statistics without groups", repr(each), "write where= for each")
    return Aggregation("ratio", None, ValueType.FLOAT, of=(numerator, denominator))


def _aggregation(
    kind: str, field: FieldTerm | None, result: ValueType, keywords: FilterKeywords | Keywords, **options: Value
) -> Aggregation:
    declaring = Declaring(f"aggregate hr.{kind}({'…' if field is None else repr(field)})", author_line())
    known = FilterKeywords if kind in SEVERAL else Keywords
    declaring.keywords(keywords, (), known.__optional_keys__)
    groups = groups_of(declaring, keywords.get("by"), keywords.get("groups"))
    conditions = conditions_of(declaring, keywords["where"]) if "where" in keywords else ()
    return Aggregation(kind, field, result, tuple(sorted(options.items())), conditions, groups)


def _of_event(event: type[Event] | None, counted: Aggregation) -> Aggregation:
    """Return a statistic of whole events with the event that it names, or refuse what is none."""
    if event is None:
        return counted
    if not (isinstance(event, type) and issubclass(event, Event) and event is not Event):
        raise Declaring(f"aggregate hr.{counted.kind}(…)", author_line()).refusal("a class of hr.Event", shown(event))
    return dataclasses.replace(counted, event=event.definition)


def _field(kind: str, field: object) -> FieldTerm:
    declaring = Declaring(f"aggregate hr.{kind}({field if isinstance(field, Term) else '…'})", author_line())
    if not isinstance(field, FieldTerm):
        raise declaring.refusal("a field of an event", shown(field), f"write hr.{kind}(Event.field)")
    if field.type not in _ACCEPTED[kind]:
        accepted = " or ".join(each.written for each in _ACCEPTED[kind])
        mend = f"write hr.last({field!r})" if field.type in _ONLY_LAST else ""
        raise declaring.refusal(f"a field of type {accepted}", f"{field!r}, {article(field.type)}", mend)
    return field


def _k(kind: str, k: object) -> int:
    if type(k) is not int or not 1 <= k <= LARGEST_K:
        declaring = Declaring(f"aggregate hr.{kind}(…)", author_line())
        raise declaring.refusal(f"k to be a whole number from 1 to {LARGEST_K}", shown(k))
    return k


def _half_life(kind: str, half_life: str) -> int:
    return parse_span(half_life, where=f"half_life of hr.{kind}(…): {author_line()}")
