"""What is kept of events, as data: a view, its sources, aggregates and features."""

from __future__ import annotations

from dataclasses import dataclass, replace

from definitions.declared.events import EventDefinition, Field
from definitions.expressions import Expression
from definitions.values import Value, ValueType


@dataclass(frozen=True, slots=True)
class Window:
    """A span that ends with the tile of "now": ``length_ms`` long, cut into tiles of ``grid_ms``."""

    text: str
    length_ms: int
    grid_ms: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One statistic of one field over several windows. ``field`` is None where events are counted."""

    name: str
    kind: str
    field: str | None
    windows: tuple[Window, ...]
    where: tuple[Expression, ...] = ()
    """Conditions on the event's own fields, all of which must be true for it to be taken in."""
    options: tuple[tuple[str, Value], ...] = ()
    """What the kind is told beside its field, in order of name: ``(("k", 3),)``."""
    of: tuple[Aggregate, ...] = ()
    """Numerator and denominator of a ratio: without names and windows of their own."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A named value of a view: an aggregate over one window, or an expression of other features."""

    name: str
    type: ValueType
    aggregate: str | None = None
    window: str | None = None
    expression: Expression | None = None
    description: str = ""
    item: int | None = None
    """Which of its aggregate's values over the window it is, from 1, where there are several."""
    length: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What a view keeps of one event type: one fold over each partition of that event's topic."""

    event: EventDefinition
    by: tuple[str, ...]
    """The event's fields that name the entity, in the order of the view's ``entity``."""
    aggregates: tuple[Aggregate, ...]
    rekey: bool = False
    """Whether it reads a copy of the event's topic that is keyed by the entity, so that one partition has all of it."""
    view: str = ""
    """The name of the view it is of, written by `ViewDefinition`."""
    version: int = 0
    """The version of the view it is of, written by `ViewDefinition`."""
    key: str = ""
    """Its fold's name in store keys, written by `ViewDefinition`: the view's key where the view has no other source,
    else ``airport_day.v1.0c1d2e3f4a5b.departed``."""


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """A declared set of features of one entity kind from one or more event types."""

    name: str
    """Snake case, unique in the app: ``origin_traffic``."""
    version: int
    entity: tuple[Field, ...]
    """What names the entity: under these names and types requests give it, null where some event's field may be."""
    sources: tuple[Source, ...]
    """One per event type, in order of declaration."""
    features: tuple[Feature, ...]
    """All features in order of declaration, expressions after what they read."""
    digest: str
    """Hash of what decides state, 12 hex digits."""
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Name the sources' folds: they follow from the view's name, version and digest."""
        single = len(self.sources) == 1
        keys = [self.key if single else f"{self.key}.{each.event.name}" for each in self.sources]
        named = [
            replace(each, view=self.name, version=self.version, key=key)
            for each, key in zip(self.sources, keys, strict=True)
        ]
        object.__setattr__(self, "sources", tuple(named))

    @property
    def key(self) -> str:
        """The view version's name: ``origin_traffic.v1.0c1d2e3f4a5b``."""
        return f"{self.name}.v{self.version}.{self.digest}"

    @property
    def entity_names(self) -> tuple[str, ...]:
        """The names under which requests give the entity."""
        return tuple(each.name for each in self.entity)

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The aggregates of all sources."""
        return tuple(aggregate for source in self.sources for aggregate in source.aggregates)
