"""A statistic before and after its windows are named, and what authors refer to by ``delay["1h"]``."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

from definitions.declared import EventDefinition, Feature, ViewDefinition, Window
from definitions.declaring import Declaring, author_line, listed, near
from definitions.terms import FeatureTerm, FieldTerm, Leaf, Term
from definitions.units import KEEPING, UNKNOWN
from definitions.values import Value, ValueType, parse_span, shown

TILES_PER_WINDOW = 60
"""Into how many tiles a window is cut, at least, where the author does not say ``every=``."""
TILES_PER_SKETCHED_WINDOW = 6
"""The same for a sketch, whose tiles are larger."""
SKETCHES = frozenset({"distinct", "quantile", "top_k"})
SEVERAL = frozenset({"last_k", "top_k"})
"""The kinds that give ``k`` values, each a feature."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Aggregation:
    """One statistic, before its windows are named."""

    kind: str
    field: FieldTerm | None
    type: ValueType
    options: tuple[tuple[str, Value], ...] = ()
    """What the kind is told beside its field, in order of name."""
    conditions: tuple[Term, ...] = ()
    """What must be true of an event, all of it, for the event to be taken in."""
    groups: tuple[tuple[str, Term], ...] = ()
    """The groups by name, and what must be true of an event of each."""
    of: tuple[Aggregation, ...] = ()
    """Numerator and denominator of a ratio."""
    event: EventDefinition | None = None
    """Which event is meant, where neither field nor condition says it."""
    where: str = dataclasses.field(default_factory=author_line)

    def __repr__(self) -> str:
        said = [repr(each) for each in (*self.of, *([] if self.field is None else [self.field]))]
        said += [] if self.event is None else [self.event.name]
        said += [f"{name}={value!r}" for name, value in self.options]
        said += [f"where={each!r}" for each in self.conditions]
        said += [f"groups=({', '.join(repr(name) for name, _ in self.groups)})"] if self.groups else []
        return f"hr.{self.kind}({', '.join(said)})"

    @property
    def unit(self) -> str:
        """The unit of its features, empty where it is not known."""
        return self.field.unit if self.field is not None and self.kind in KEEPING else UNKNOWN

    @property
    def length(self) -> int | None:
        """How many numbers its features have, None where each is one value."""
        return self.field.length if self.field is not None and self.type is ValueType.EMBEDDING else None

    @property
    def parts(self) -> tuple[str, ...]:
        """The ends of its features' names where one window gives several: places from 1, or groups."""
        if self.kind in SEVERAL:
            return tuple(str(place) for place in range(1, self.k + 1))
        return tuple(name for name, _ in self.groups)

    @property
    def k(self) -> int:
        """How many values one window gives, 1 where the kind knows no other number."""
        k = dict(self.options).get("k", 1)
        return k if isinstance(k, int) else 1

    @property
    def is_sketch(self) -> bool:
        """Whether its tiles are so large that there should be few of them."""
        return self.kind in SKETCHES or any(each.is_sketch for each in self.of)

    def over(self, *spans: str, every: str | None = None) -> Windowed:
        """Return the statistic over windows that end with the tile of "now".

        Args:
            spans: lengths such as ``"90s"``, ``"1h"``, ``"7d"``.
            every: length of a tile, which is how often the value moves with the clock. It must divide each window.
                By default the largest that cuts the window into 60 tiles or more, ``"1m"`` for ``"1h"``; into 6 for
                distinct, quantile and top_k.
        """
        where = author_line()
        declaring = Declaring(f"aggregate {self!r}", where)
        if not spans:
            raise declaring.refusal("over() to name a window", "none", 'write .over("1h")')
        tiles = TILES_PER_SKETCHED_WINDOW if self.is_sketch else TILES_PER_WINDOW
        windows = tuple(_window(declaring, span, every, tiles) for span in spans)
        for shorter, longer in pairwise(sorted(windows, key=lambda each: each.length_ms)):
            if shorter.length_ms == longer.length_ms:
                raise declaring.refusal("each window once", f"{shorter.text} and {longer.text}")
        return Windowed(self, windows, where)


class Windowed:
    """A statistic over its windows; ``delay["1h"]`` is its value over one of them.

    Where one window gives several features, ``recent["1h", 2]`` is the second and ``flights["1h", "UA"]`` a group's.
    """

    __slots__ = ("aggregation", "where", "windows")

    def __init__(self, aggregation: Aggregation, windows: tuple[Window, ...], where: str) -> None:
        self.aggregation = aggregation
        self.windows = windows
        self.where = where

    def __repr__(self) -> str:
        return f"{self.aggregation!r}.over({', '.join(repr(each.text) for each in self.windows)})"

    def __getitem__(self, asked: str | tuple[str, str | int]) -> Term:
        """Return the statistic over one of its windows."""
        return WindowTerm(self, *self._asked(asked))

    @property
    def example(self) -> str:
        """How one of its features is named: ``["1h"]``, ``["1h", "UA"]``."""
        parts = self.aggregation.parts
        return f'["{self.windows[0].text}"{f", {_written(parts[0])}" if parts else ""}]'

    def _asked(self, asked: str | tuple[str, str | int]) -> tuple[Window, str]:
        """Return the window, and the part of it that is asked for, ``""`` for the whole."""
        declaring = Declaring(f"window of {self!r}", author_line())
        parts = self.aggregation.parts
        span, part = asked if isinstance(asked, tuple) and len(asked) == len(("span", "part")) else (asked, "")
        texts = [each.text for each in self.windows]
        if span not in texts:
            raise declaring.refusal(listed(texts), shown(span), near(str(span), texts))
        if str(part) not in (parts or ("",)):
            expected = f"a window and {listed(parts)}" if parts else f"{span!r} alone"
            raise declaring.refusal(expected, shown(asked), near(str(part), parts) or f"as in {self.example}")
        return self.windows[texts.index(str(span))], str(part)


class WindowTerm(Leaf):
    """A statistic over one window, while its view is being declared."""

    __slots__ = ("part", "window", "windowed")

    def __init__(self, windowed: Windowed, window: Window, part: str = "") -> None:
        aggregation = windowed.aggregation
        super().__init__(aggregation.type, aggregation.unit, aggregation.length)
        self.windowed = windowed
        self.window = window
        self.part = part

    def __repr__(self) -> str:
        asked = f"{self.window.text!r}, {_written(self.part)}" if self.part else repr(self.window.text)
        return f"{self.windowed.aggregation!r}[{asked}]"


class DeclaredWindows(Windowed):
    """What ``OriginTraffic.flights`` is once its view is declared: ``["1h"]`` gives the feature ``flights_1h``."""

    __slots__ = ("features", "name")

    def __init__(self, windowed: Windowed, view: ViewDefinition, name: str) -> None:
        super().__init__(windowed.aggregation, windowed.windows, windowed.where)
        self.name = name
        self.features = {each.name: FeatureTerm(view, each) for each in view.features}

    def __getitem__(self, asked: str | tuple[str, str | int]) -> Term:
        """Return the view's feature over one of the windows."""
        return self.features[feature_name(self.name, *self._asked(asked))]


def feature_name(name: str, window: Window, part: str) -> str:
    """Return the name of one feature of the aggregate called ``name``: ``flights_1h``, ``flights_1h_UA``."""
    return f"{name}_{window.text}_{part}" if part else f"{name}_{window.text}"


def features_of(name: str, windowed: Windowed) -> tuple[Feature, ...]:
    """Return the features of the attribute called ``name``, by window, then by part."""
    several = windowed.aggregation.kind in SEVERAL
    return tuple(
        Feature(
            feature_name(name, window, part),
            windowed.aggregation.type,
            aggregate=name if several or not part else grouped_name(name, part),
            window=window.text,
            item=int(part) if several else None,
            length=windowed.aggregation.length,
            unit=windowed.aggregation.unit,
        )
        for window in windowed.windows
        for part in windowed.aggregation.parts or ("",)
    )


def grouped_name(name: str, group: str) -> str:
    """Return what the aggregate of one group is called: no attribute can be called so."""
    return f"{name}[{group}]"


def _written(part: str) -> str:
    return part if part.isdecimal() else f'"{part}"'


def _window(declaring: Declaring, span: str, every: str | None, at_least: int) -> Window:
    length_ms = parse_span(span, where=declaring.where)
    if every is None:
        counts = range(at_least, length_ms + 1)
        tiles = next((each for each in counts if length_ms % each == 0), length_ms)
        return Window(span, length_ms, length_ms // tiles)
    grid_ms = parse_span(every, where=declaring.where)
    if length_ms % grid_ms:
        raise declaring.refusal(f"every= to divide the window {span}", repr(every))
    return Window(span, length_ms, grid_ms)
