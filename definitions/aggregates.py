"""The statistics of a view: ``hr.count()``, ``hr.mean(Departed.delay_min)`` and their windows, ``.over("1h", "24h")``.

A window's features are fixed by the attribute that holds it: ``flights = hr.count().over("1h")`` gives ``flights_1h``.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from definitions.declared import Feature, ViewDefinition, Window
from definitions.declaring import Declaring, author_line, listed, near
from definitions.terms import FeatureTerm, FieldTerm, Leaf, Term, article
from definitions.units import KEEPING, UNKNOWN
from definitions.values import ValueType, parse_span, shown

TILES_PER_WINDOW = 60
"""Into how many tiles a window is cut, at least, where the author does not say ``every=``."""

_NUMBERS = (ValueType.INT, ValueType.FLOAT)
_ONLY_LAST = (ValueType.TIME, ValueType.EMBEDDING)
_SUMMABLE = (*_NUMBERS, ValueType.BOOL)
_ACCEPTED = {
    "sum": _SUMMABLE,
    "mean": _SUMMABLE,
    "min": _NUMBERS,
    "max": _NUMBERS,
    "last": tuple(ValueType),
}


class Aggregation:
    """One statistic, before its windows are named."""

    __slots__ = ("field", "kind", "type", "where")

    def __init__(self, kind: str, field: FieldTerm | None, result: ValueType) -> None:
        self.kind = kind
        self.field = field
        self.type = result
        self.where = author_line()

    def __repr__(self) -> str:
        return f"hr.{self.kind}({'' if self.field is None else repr(self.field)})"

    @property
    def unit(self) -> str:
        """The unit of its features, empty where it is not known."""
        return self.field.unit if self.field is not None and self.kind in KEEPING else UNKNOWN

    @property
    def length(self) -> int | None:
        """How many numbers its features have, None where each is one value."""
        return self.field.length if self.field is not None and self.type is ValueType.EMBEDDING else None

    def over(self, *spans: str, every: str | None = None) -> Windowed:
        """Return the statistic over windows that end with the tile of "now".

        Args:
            spans: lengths such as ``"90s"``, ``"1h"``, ``"7d"``.
            every: length of a tile, which is how often the value moves with the clock. It must divide each window.
                By default the largest that cuts the window into 60 tiles or more, ``"1m"`` for ``"1h"``.
        """
        where = author_line()
        declaring = Declaring(f"aggregate {self!r}", where)
        if not spans:
            raise declaring.refusal("over() to name a window", "none", 'write .over("1h")')
        windows = tuple(_window(declaring, span, every) for span in spans)
        for shorter, longer in pairwise(sorted(windows, key=lambda each: each.length_ms)):
            if shorter.length_ms == longer.length_ms:
                raise declaring.refusal("each window once", f"{shorter.text} and {longer.text}")
        return Windowed(self, windows, where)


class Windowed:
    """A statistic over its windows; ``delay["1h"]`` is its value over one of them."""

    __slots__ = ("aggregation", "where", "windows")

    def __init__(self, aggregation: Aggregation, windows: tuple[Window, ...], where: str) -> None:
        self.aggregation = aggregation
        self.windows = windows
        self.where = where

    def __repr__(self) -> str:
        return f"{self.aggregation!r}.over({', '.join(repr(each.text) for each in self.windows)})"

    def __getitem__(self, span: str) -> Term:
        """Return the statistic over one of its windows."""
        return WindowTerm(self, self._window(span))

    def _window(self, span: str) -> Window:
        texts = [each.text for each in self.windows]
        if span not in texts:
            declaring = Declaring(f"window of {self!r}", author_line())
            raise declaring.refusal(listed(texts), shown(span), near(str(span), texts))
        return self.windows[texts.index(span)]


class WindowTerm(Leaf):
    """A statistic over one window, while its view is being declared."""

    __slots__ = ("window", "windowed")

    def __init__(self, windowed: Windowed, window: Window) -> None:
        aggregation = windowed.aggregation
        super().__init__(aggregation.type, aggregation.unit, aggregation.length)
        self.windowed = windowed
        self.window = window

    def __repr__(self) -> str:
        return f"{self.windowed.aggregation!r}[{self.window.text!r}]"


class DeclaredWindows(Windowed):
    """What ``OriginTraffic.flights`` is once its view is declared: ``["1h"]`` gives the feature ``flights_1h``."""

    __slots__ = ("features",)

    def __init__(self, windowed: Windowed, view: ViewDefinition, features: tuple[Feature, ...]) -> None:
        super().__init__(windowed.aggregation, windowed.windows, windowed.where)
        self.features = {each.window: FeatureTerm(view, each) for each in features}

    def __getitem__(self, span: str) -> Term:
        """Return the view's feature over one of the windows."""
        return self.features[self._window(span).text]


def count() -> Aggregation:
    """Count the events of an entity. Its features are whole numbers, 0 where a known entity had no event."""
    return Aggregation("count", None, ValueType.INT)


def sum(field: float | Term | None) -> Aggregation:  # noqa: A001  # authors write hr.sum
    """Add up a number, or count the true values of a bool. Nulls are left out; nothing to add up gives 0."""
    term = _field("sum", field)
    return Aggregation("sum", term, ValueType.INT if term.type is ValueType.BOOL else term.type)


def mean(field: float | Term | None) -> Aggregation:
    """Average a number, or the share of true values of a bool. Nulls are left out; nothing to average gives None."""
    return Aggregation("mean", _field("mean", field), ValueType.FLOAT)


def min(field: float | Term | None) -> Aggregation:  # noqa: A001
    """Return the least of a number. Nulls are left out; None where there is nothing to compare."""
    term = _field("min", field)
    return Aggregation("min", term, term.type)


def max(field: float | Term | None) -> Aggregation:  # noqa: A001
    """Return the greatest of a number. Nulls are left out; None where there is nothing to compare."""
    term = _field("max", field)
    return Aggregation("max", term, term.type)


def last(field: float | str | datetime | list[float] | Term | None) -> Aggregation:
    """Return the newest value by event time. Nulls are left out; None where there is none in the window.

    The one statistic of times and of embeddings. Each tile keeps its newest value: for an embedding over a long window
    say ``every=``, as in ``.over("24h", every="24h")``, or an entity costs 9 bytes a number for each of 60 tiles.
    """
    term = _field("last", field)
    return Aggregation("last", term, term.type)


def _field(kind: str, field: object) -> FieldTerm:
    declaring = Declaring(f"aggregate hr.{kind}({field if isinstance(field, Term) else '…'})", author_line())
    if not isinstance(field, FieldTerm):
        raise declaring.refusal("a field of an event", shown(field), f"write hr.{kind}(Event.field)")
    if field.type not in _ACCEPTED[kind]:
        accepted = " or ".join(each.written for each in _ACCEPTED[kind])
        mend = f"write hr.last({field!r})" if field.type in _ONLY_LAST else ""
        raise declaring.refusal(f"a field of type {accepted}", f"{field!r}, {article(field.type)}", mend)
    return field


def _window(declaring: Declaring, span: str, every: str | None) -> Window:
    length_ms = parse_span(span, where=declaring.where)
    if every is None:
        counts = range(TILES_PER_WINDOW, length_ms + 1)
        tiles = next((each for each in counts if length_ms % each == 0), length_ms)
        return Window(span, length_ms, length_ms // tiles)
    grid_ms = parse_span(every, where=declaring.where)
    if length_ms % grid_ms:
        raise declaring.refusal(f"every= to divide the window {span}", repr(every))
    return Window(span, length_ms, grid_ms)
