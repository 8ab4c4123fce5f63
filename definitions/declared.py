"""The frozen values that declarations become: what every other room reads.

Authors write classes (`hr.Event`, `hr.Features`, `hr.Model`); each carries its definition here as ``.definition``.
Nothing in these values is a type object, a function or a clock, but a learner's factory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from definitions.declaring import not_declared
from definitions.expressions import ASKED_AT, Expression, names_of
from definitions.values import Scalar, Value, ValueType


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed value of an event, or an input that a request carries."""

    name: str
    type: ValueType
    nullable: bool = False
    length: int | None = None
    """How many numbers an embedding has; None for every other type."""
    unit: str = ""
    """The unit of measure in canonical form (`definitions.units`), empty where it is not known."""


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
    length: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """A declared set of features of one entity kind from one event type."""

    name: str
    """Snake case, unique in the app: ``origin_traffic``."""
    version: int
    on: EventDefinition
    by: tuple[str, ...]
    """The event's fields that name the entity, and the names under which requests give it."""
    aggregates: tuple[Aggregate, ...]
    features: tuple[Feature, ...]
    """All features in order of declaration, expressions after what they read."""
    digest: str
    """Hash of what decides state, 12 hex digits."""
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The view version's name in store keys: ``origin_traffic.v1.0c1d2e3f4a5b``."""
        return f"{self.name}.v{self.version}.{self.digest}"


@dataclass(frozen=True, slots=True)
class Input:
    """One place in a model's vector: a feature, a value that the request carries, or an expression of such.

    ``name`` is unique in the model: ``origin_traffic.flights_1h``, ``carrier_stats.delay_24h@tail_state.carrier_24h``
    for a feature that is looked up, else the author's own. An encoder, which is frozen in a release, knows nothing of
    what is behind a name: the model's digest covers that.
    """

    name: str
    type: ValueType
    view: str | None = None
    feature: str | None = None
    length: int | None = None
    expression: Expression | None = field(default=None, compare=False)
    unit: str = field(default="", compare=False)

    @property
    def is_request(self) -> bool:
        """Whether the request carries it."""
        return self.view is None and self.expression is None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A view that a model reads for the entity which other values name.

    Its features are called ``carrier_stats.delay_24h@tail_state.carrier_24h`` in the model.
    """

    view: ViewDefinition
    by: tuple[str, ...]
    """The names of the values that name the entity, in the order of the view's ``by``: features and request inputs."""

    @property
    def suffix(self) -> str:
        """What is put behind the names of the view, its features and its key: ``@tail_state.carrier_24h``."""
        return f"@{','.join(self.by)}"


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
    parameters: Mapping[str, Scalar] = field(default_factory=dict)


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
    """The views that are read for the request's own entities, each once, in order of first use."""
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
    carried: tuple[Input, ...] = ()
    """What the request carries beside the vector, because expressions and lookups read it."""
    lookups: tuple[Lookup, ...] = ()
    """The views that are read for entities which other values name, each once for the same values."""

    @property
    def key(self) -> str:
        """The model version's name in topics: ``late.v1``."""
        return f"{self.name}.v{self.version}"

    @property
    def entities(self) -> tuple[str, ...]:
        """The names of the entities that a request has to give, each once."""
        return tuple(dict.fromkeys(name for view in self.views for name in view.by))

    @property
    def requests(self) -> tuple[Input, ...]:
        """What a request has to carry under ``inputs``."""
        return (*(each for each in self.inputs if each.is_request), *self.carried)

    @property
    def all_views(self) -> tuple[ViewDefinition, ...]:
        """Every view that the model reads, those that are looked up behind the others, each once."""
        views = (*self.views, *(lookup.view for lookup in self.lookups))
        return tuple({view.key: view for view in views}.values())

    @property
    def reads(self) -> frozenset[str]:
        """What the vector is made of, by name: ``view.feature``, looked up or not, and request inputs."""
        names = {name for each in self.lookups for name in each.by}
        for each in self.inputs:
            names |= {each.name} if each.expression is None else names_of(each.expression)
        return frozenset(name.partition("@")[0] for name in names - {ASKED_AT})


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
