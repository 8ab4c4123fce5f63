"""What is asked and learned, as data: a model, its vector, its label, its learners and their route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from definitions.declared.events import EventDefinition
from definitions.declared.views import ViewDefinition
from definitions.expressions import ASKED_AT, Expression, names_of
from definitions.values import Scalar, Value, ValueType


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
    revised: str = "ignore"
    """What another label of a key does to examples that were made: ``ignore`` or ``replace`` (by a new example)."""
    per_key: str = "all"
    """Which predictions of a key are examples: ``all``, or the ``first`` while it is remembered."""
    type: ValueType | None = field(default=None, compare=False)
    """What kind of value it is, as ``value`` says; None where nobody worked it out."""


@dataclass(frozen=True, slots=True)
class PersonalDefinition:
    """What a learner keeps of each entity beside another learner's score: see `definitions.personal`."""

    by: tuple[tuple[str, ...], ...]
    """The kinds of entities: per kind the names of what names one, entities of the request or request inputs."""
    features: tuple[str, ...] = ()
    """The inputs that have a coefficient per entity, beside the intercept."""
    outcome: str = "logistic"
    covariance: str = "diagonal"
    prior: float | None = None
    """Variance of a coefficient among entities; None: fitted to the population."""
    forgetting: bool = True
    rebase: str = "keep"
    explore: float | None = None
    """The score from which callers act, where answers are drawn; None: answers are not drawn."""

    @property
    def named_by(self) -> tuple[str, ...]:
        """Everything that names entities, each once."""
        return tuple(dict.fromkeys(name for kind in self.by for name in kind))


@dataclass(frozen=True, slots=True)
class LearnerDefinition:
    """An algorithm named in a model, of one of the kinds in `definitions.learners`."""

    name: str
    kind: str
    factory: Callable[[], object] | None = None
    """Builds a fresh estimator: ``river``."""
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    function: Callable[..., object] | None = field(default=None, compare=False)
    """Gives the scores: ``python``. Its code's digest is among the parameters."""
    members: Mapping[str, float] = field(default_factory=dict)
    """The learners whose scores are combined, each with its weight: ``ensemble``; the offset: ``personal``."""
    place: str = field(default="", compare=False)
    """Where it is found, a path or a URL. No part of its identity: what is found there is."""
    patience_ms: int = field(default=0, compare=False)
    """How long a remote learner is waited for at most."""
    personal: PersonalDefinition | None = None
    """What is kept of each entity: ``personal``."""


@dataclass(frozen=True, slots=True)
class RouteDefinition:
    """Which learner answers, which answer in its place or for a share, and which are scored without being answered."""

    champion: str
    shadow: tuple[str, ...] = ()
    fallback: str | float | None = None
    """What answers where the others cannot: a learner, or a constant. None: the first shadow that scores."""
    canary: tuple[str, float] | None = None
    """A learner, and the share of entities that it answers, always the same ones."""
    weights: tuple[tuple[str, float], ...] = ()
    """Learners, each with the share of requests that it answers, drawn for each request."""


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
    fresh_within_ms: int | None = None
    """How far the features may be behind the broker's clock before an answer counts as degraded; None: however far."""
    tz: str = "UTC"
    """The IANA time zone in which the model's drift days begin."""
    carried: tuple[Input, ...] = ()
    """What the request carries beside the vector, because expressions and lookups read it."""
    lookups: tuple[Lookup, ...] = ()
    """The views that are read for entities which other values name, each once for the same values."""
    pinned: tuple[str, ...] = ()
    """Names of the views that are read in the version declared here, whichever version is in force."""
    segments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Input to those of its values whose predictions are measured apart. No part of what the model is."""

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

    @property
    def requests(self) -> tuple[Input, ...]:
        """What a request has to carry under ``inputs``."""
        return (*(each for each in self.inputs if each.is_request), *self.carried)

    @property
    def personal(self) -> tuple[LearnerDefinition, ...]:
        """The learners that keep coefficients per entity."""
        return tuple(each for each in self.learners.values() if each.personal is not None)

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
