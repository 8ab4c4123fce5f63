"""The frozen values that declarations become: what every other room reads.

Authors write classes (`hr.Event`, `hr.Features`, `hr.Model`); each carries its definition here as ``.definition``.
Nothing in these values is a type object, a function or a clock, but a learner's factory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from definitions.declaring import not_declared
from definitions.expressions import Expression
from definitions.values import Value, ValueType


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed value of an event, or an input that a request carries."""

    name: str
    type: ValueType
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """Something that happens: the topic it is published to and the fields that headrace reads."""

    name: str
    topic: str
    fields: tuple[Field, ...]
    id: str
    at: str
    key: tuple[str, ...]
    disorder_ms: int
    """How far behind its partition's newest event time an event may be without counting as late."""
    max_bytes: int = 256 * 1024
    dedupe_ms: int | None = None
    """For how long, in event time, an id counts once; None where producers send nothing twice."""
    codec: str = "json"
    """How its records are written: ``json``, ``avro`` or ``protobuf``. Not part of what decides state."""

    def field(self, name: str) -> Field | None:
        """Return the field called ``name``, if there is one."""
        return next((each for each in self.fields if each.name == name), None)


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


@dataclass(frozen=True, slots=True)
class Feature:
    """A named value of a view: an aggregate over one window, or an expression of other features."""

    name: str
    type: ValueType
    aggregate: str | None = None
    window: str | None = None
    expression: Expression | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What a view keeps of one event type: one fold over each partition of that event's topic."""

    event: EventDefinition
    by: tuple[str, ...]
    """The event's fields that name the entity, in the order of the view's ``entity``."""
    aggregates: tuple[Aggregate, ...]
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


@dataclass(frozen=True, slots=True)
class Input:
    """One place in a model's vector: a feature of a view, or a value that the request carries.

    ``name`` is unique in the model: ``origin_traffic.flights_1h``, or the request input's own name.
    """

    name: str
    type: ValueType
    view: str | None = None
    feature: str | None = None


@dataclass(frozen=True, slots=True)
class LabelDefinition:
    """The truth that comes later: which event brings it, for which key, and how long it is waited for."""

    event: EventDefinition
    key: str
    value: Expression
    within_ms: int
    otherwise: Value = None
    """The label of a prediction whose horizon passed without one; None drops the prediction."""


@dataclass(frozen=True, slots=True)
class LearnerDefinition:
    """An algorithm named in a model: ``kind`` is ``river`` or ``xgboost``."""

    name: str
    kind: str
    factory: Callable[[], object] | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteDefinition:
    """Which learner answers, and which are scored beside it without being answered."""

    champion: str
    shadow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """What the author declares with `hr.Model`: the vector, the label, the learners and their route."""

    name: str
    version: int
    inputs: tuple[Input, ...]
    """The vector, in order."""
    views: tuple[ViewDefinition, ...]
    """The views that the inputs read, each once, in order of first use."""
    learners: Mapping[str, LearnerDefinition]
    route: RouteDefinition
    digest: str
    label: LabelDefinition | None = None
    owner: str = ""
    description: str = ""
    timeout_ms: int = 1_000
    """The budget of a request that names none."""
    tz: str = "UTC"
    """The IANA time zone in which the model's drift days begin."""
    pinned: tuple[str, ...] = ()
    """Names of the views that are read in the version declared here, whichever version is in force."""

    @property
    def key(self) -> str:
        """The model version's name in topics: ``late.v1``."""
        return f"{self.name}.v{self.version}"

    @property
    def entities(self) -> tuple[str, ...]:
        """The names of the entities that a request has to give, each once."""
        return tuple(self.entity_types)

    @property
    def entity_types(self) -> Mapping[str, ValueType]:
        """The entities that a request has to give, each with the type of its name."""
        return {each.name: each.type for view in self.views for each in view.entity}


_Named = TypeVar("_Named", EventDefinition, ViewDefinition, ModelDefinition)


@dataclass(frozen=True, slots=True)
class AppDefinition:
    """Everything that one author's module declares."""

    name: str
    events: tuple[EventDefinition, ...]
    views: tuple[ViewDefinition, ...]
    models: tuple[ModelDefinition, ...]

    def event(self, name: str) -> EventDefinition:
        """Return the event called ``name``.

        Raises:
            NotDeclared: there is none; the text lists those there are, and the nearest.
        """
        return _named("event", self, name, self.events)

    def view(self, name: str, version: int | None = None) -> ViewDefinition:
        """Return the view called ``name``, its newest version where none is asked for.

        Raises:
            NotDeclared: there is no such view, or not in that version.
        """
        newest = _named("view", self, name, sorted(self.views, key=lambda each: -each.version))
        if version is None or version == newest.version:
            return newest
        versions = {str(each.version): each for each in self.views if each.name == name}
        if str(version) not in versions:
            raise not_declared(f"version of view {name}", f"app {self.name}", str(version), versions)
        return versions[str(version)]

    def versions(self, name: str) -> tuple[ViewDefinition, ...]:
        """Return every version of the view called ``name``, the oldest first.

        Raises:
            NotDeclared: there is no such view.
        """
        _named("view", self, name, self.views)
        return tuple(sorted((each for each in self.views if each.name == name), key=lambda each: each.version))

    def sources_on(self, topic: str) -> tuple[Source, ...]:
        """Return every view's source that is on ``topic``: the folds over each of its partitions."""
        return tuple(each for view in self.views for each in view.sources if each.event.topic == topic)

    def model(self, name: str) -> ModelDefinition:
        """Return the model called ``name``.

        Raises:
            NotDeclared: there is none; the text lists those there are, and the nearest.
        """
        return _named("model", self, name, self.models)


def _named(kind: str, app: AppDefinition, name: str, among: Sequence[_Named]) -> _Named:
    for each in among:
        if each.name == name:
            return each
    raise not_declared(kind, f"app {app.name}", name, dict.fromkeys(each.name for each in among))
