"""The statistics of a view: ``hr.count()``, ``hr.mean(Departed.delay_min)`` and their windows, ``.over("1h", "24h")``.

A window's features are fixed by the attribute that holds it: ``flights = hr.count().over("1h")`` gives ``flights_1h``.
"""

from __future__ import annotations

from itertools import pairwise

from definitions.declared import EventDefinition, Feature, ViewDefinition, Window
from definitions.declaring import Declaring, author_line, listed, near
from definitions.events import Event
from definitions.terms import FeatureTerm, FieldTerm, Term, article
from definitions.values import ValueType, parse_span, shown

TILES_PER_WINDOW = 60
"""Into how many tiles a window is cut, at least, where the author does not say ``every=``."""

_NUMBERS = (ValueType.INT, ValueType.FLOAT)
_SUMMABLE = (*_NUMBERS, ValueType.BOOL)
_ACCEPTED = {
    "sum": _SUMMABLE,
    "mean": _SUMMABLE,
    "min": _NUMBERS,
    "max": _NUMBERS,
    "last": (*_SUMMABLE, ValueType.CATEGORY),
}


class Aggregation:
    """One statistic, before its windows are named. ``event`` is None where the view's only event is meant."""

    __slots__ = ("event", "field", "kind", "type", "where")

    def __init__(
        self, kind: str, field: FieldTerm | None, result: ValueType, event: EventDefinition | None = None
    ) -> None:
        self.kind = kind
        self.field = field
        self.event = event if field is None else field.event
        self.type = result
        self.where = author_line()

    def __repr__(self) -> str:
        return f"hr.{self.kind}({self._of()})"

    def _of(self) -> str:
        if self.field is not None:
            return repr(self.field)
        return "" if self.event is None else self.event.name

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


class WindowTerm(Term):
    """A statistic over one window, while its view is being declared."""

    __slots__ = ("window", "windowed")

    def __init__(self, windowed: Windowed, window: Window) -> None:
        super().__init__(windowed.aggregation.type)
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


def count(event: type[Event] | None = None) -> Aggregation:
    """Count the events of an entity. Its features are whole numbers, 0 where a known entity had no event.

    A view on several events says which one it counts: ``hr.count(Departed)``.
    """
    if event is None:
        return Aggregation("count", None, ValueType.INT)
    if not (isinstance(event, type) and issubclass(event, Event) and event is not Event):
        raise Declaring("aggregate hr.count(…)", author_line()).refusal("a class of hr.Event", shown(event))
    return Aggregation("count", None, ValueType.INT, event.definition)


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


def last(field: float | str | Term | None) -> Aggregation:
    """Return the newest value by event time. Nulls are left out; None where there is none in the window."""
    term = _field("last", field)
    return Aggregation("last", term, term.type)


def _field(kind: str, field: object) -> FieldTerm:
    declaring = Declaring(f"aggregate hr.{kind}({field if isinstance(field, Term) else '…'})", author_line())
    if not isinstance(field, FieldTerm):
        raise declaring.refusal("a field of an event", shown(field), f"write hr.{kind}(Event.field)")
    if field.type not in _ACCEPTED[kind]:
        accepted = " or ".join(each.written for each in _ACCEPTED[kind])
        raise declaring.refusal(f"a field of type {accepted}", f"{field!r}, {article(field.type)}")
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
