"""``hr.Model``: a vector of features and request inputs, a label, learners and the route among them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, TypedDict, Unpack

from definitions.declared import (
    Input,
    LabelDefinition,
    LearnerDefinition,
    ModelDefinition,
    RouteDefinition,
    ViewDefinition,
)
from definitions.declaring import Declaring, author_line, listed, near, snake_case
from definitions.features import Features
from definitions.identity import model_digest
from definitions.inputs import Vector
from definitions.labels import Label
from definitions.learners import CONSTANT, RIVER, WEIGHT, Learner
from definitions.personal import check_personal
from definitions.routes import Route, misrouted
from definitions.terms import Term
from definitions.times import time_zone
from definitions.values import ValueType, parse_span, shown

DEFAULT_TIMEOUT = "1s"
MOST_SEGMENTS = 5
MOST_VALUES = 20
"""Each value is a slice of its own in every bucket of counts, and a label value of every metric."""

_PARTS = ("features", "label", "route")
_OWN_NAMES = frozenset({"definition"})


class ModelOptions(TypedDict, total=False):
    """What the class keywords of a model may say."""

    fresh_within: str
    owner: str
    pins: type[Features] | tuple[type[Features], ...]
    segments: Mapping[str, Sequence[str]]
    timeout: str
    tz: str


class ModelKeywords(ModelOptions):
    """What the class keywords of a model have to say."""

    version: int


class Model:
    """What is predicted, from what, by whom.

    Class keywords: ``version``; ``owner``; ``fresh_within``, how far the features may be behind the broker's clock
    before an answer is ``degraded`` as ``features_stale`` (default: however far; live ones keep within 2s); ``pins``,
    the classes of views that are read in the version that the features are of, whichever version is put in force
    (`headrace features switch`); ``segments``, whose scores are measured apart: a mapping from a category of the vector
    to those of its values that are told, the others together; ``timeout``, the budget of a request that names none
    (default 1s); ``tz``, the time zone in which the days of its health begin (default UTC).
    The docstring is the description. Attributes: ``features``, the vector in order: features of views, what is
    `request`-ed, what is looked up (`lookup`), and expressions of these that have a name (`named`); ``label``;
    ``route``; and any number of learners under names of the author's choice.

    Example:
        >>> class Late(Model, version=1):  # doctest: +SKIP
        ...     features = [OriginTraffic.flights["1h"], request("distance", float)]
        ...     label = Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h")
        ...     online = river(lambda: StandardScaler() | LogisticRegression())
        ...     route = Route(champion="online")
    """

    definition: ClassVar[ModelDefinition]
    features: ClassVar[Sequence[Term]]
    label: ClassVar[Label]
    route: ClassVar[Route]

    def __init_subclass__(cls, **keywords: Unpack[ModelKeywords]) -> None:
        """Read the declaration, or refuse it."""
        declaring = Declaring(f"model {cls.__name__}", author_line())
        if cls.__bases__ != (Model,):
            raise declaring.refusal("hr.Model as the only base", shown([each.__name__ for each in cls.__bases__]))
        declaring.keywords(keywords, ModelKeywords.__required_keys__, ModelKeywords.__optional_keys__)
        attributes = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        vector = Vector.of(declaring, attributes.get("features"))
        learners = _learners(declaring, attributes, vector)
        model = ModelDefinition(
            name=declaring.name(snake_case(cls.__name__)),
            version=declaring.count(keywords["version"], "version"),
            inputs=tuple(vector.inputs.values()),
            views=tuple(vector.views.values()),
            learners=learners,
            route=_route(declaring, attributes.get("route"), learners),
            digest="",
            label=_label(declaring, attributes.get("label")),
            owner=declaring.text(keywords.get("owner", ""), "owner"),
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
            timeout_ms=parse_span(keywords.get("timeout", DEFAULT_TIMEOUT), where=declaring.where),
            fresh_within_ms=_fresh_within_ms(declaring, keywords.get("fresh_within")),
            tz=time_zone(declaring, keywords.get("tz", "UTC")),
            carried=vector.carried,
            lookups=tuple(vector.lookups.values()),
            pinned=_pinned(declaring, keywords.get("pins", ()), tuple(vector.views.values())),
            segments=_segments(declaring, keywords.get("segments", {}), tuple(vector.inputs.values())),
        )
        for learner in learners.values():
            _check_weight(declaring, learner, model.inputs)
        cls.definition = replace(model, digest=model_digest(model))


def _fresh_within_ms(declaring: Declaring, span: str | None) -> int | None:
    """Return the span in ms, None where none is given."""
    return None if span is None else parse_span(span, where=declaring.where)


def _pinned(declaring: Declaring, pins: object, views: Sequence[ViewDefinition]) -> tuple[str, ...]:
    """Return the names of the views whose version is kept."""
    classes = pins if isinstance(pins, tuple) else (pins,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, Features) and each is not Features):
            raise declaring.refusal("pins= to be a class of hr.Features or a tuple of such classes", shown(each))
        if not any(each.definition is view for view in views):
            got = f"{each.__name__}, version {each.definition.version} of {each.definition.name}"
            raise declaring.refusal("pins= to name views that the features are of", got)
    return tuple(each.definition.name for each in classes)


def _segments(declaring: Declaring, segments: object, inputs: Sequence[Input]) -> dict[str, tuple[str, ...]]:
    """Return the values that are measured apart, by the category that has them."""
    if not isinstance(segments, Mapping) or len(segments) > MOST_SEGMENTS:
        expected = f'segments= to be at most {MOST_SEGMENTS} categories with their values, {{"carrier": ("UA", "AA")}}'
        raise declaring.refusal(expected, shown(segments))
    categories = [each.name for each in inputs if each.type is ValueType.CATEGORY]
    for name, values in segments.items():
        if name not in categories:
            expected = (
                f"segments= to name a category of the vector, {listed(categories) if categories else 'none is there'}"
            )
            raise declaring.refusal(expected, shown(name), near(str(name), categories))
        given = declaring.texts(values, f"segments[{name!r}]")
        if len(set(given)) < len(given) or not 1 <= len(given) <= MOST_VALUES:
            raise declaring.refusal(f"segments[{name!r}] to be 1 to {MOST_VALUES} values, each once", shown(given))
    return {name: tuple(values) for name, values in segments.items()}


def _learners(declaring: Declaring, attributes: Mapping[str, object], vector: Vector) -> dict[str, LearnerDefinition]:
    learners: dict[str, LearnerDefinition] = {}
    wheres: dict[str, str] = {}
    for name, value in attributes.items():
        if name in _OWN_NAMES:
            raise declaring.refusal(f"a name other than {name}", "an attribute of that name", "it is taken by hr.Model")
        if isinstance(value, Learner) and name not in _PARTS:
            if name == CONSTANT:
                raise declaring.refusal(f"a name other than {name}", "a learner of that name", where=value.where)
            learners[declaring.name(name, where=value.where)] = value.definition(name)
            wheres[name] = value.where
        elif name not in _PARTS:
            expected = f"attributes {', '.join(_PARTS)} and learners"
            raise declaring.refusal(expected, f"{name} = {shown(value)}", near(name, _PARTS) or f"or name it _{name}")
    if not learners:
        raise declaring.refusal("at least one learner", "none", "write online = hr.river(…) or offline = hr.xgboost(…)")
    for learner in learners.values():
        _check_members(declaring, learner, learners, wheres[learner.name])
        check_personal(declaring, learner, vector, wheres[learner.name])
    return learners


def _check_members(
    declaring: Declaring, ensemble: LearnerDefinition, learners: Mapping[str, LearnerDefinition], where: str
) -> None:
    """Refuse learners that rest on others which are not there, or which rest on others themselves."""
    single = [name for name, each in learners.items() if not each.members]
    verb = "combine" if ensemble.personal is None else "rest on"
    for name in ensemble.members:
        if name not in single:
            raise declaring.refusal(
                f"{ensemble.name} to {verb} {listed(single)}", repr(name), near(name, single), where=where
            )


def _check_weight(declaring: Declaring, learner: LearnerDefinition, inputs: Sequence[Input]) -> None:
    """Refuse a weight that is not a number of the vector."""
    weight = learner.parameters.get(WEIGHT) if learner.kind == RIVER else None
    names = [each.name for each in inputs if each.type in (ValueType.INT, ValueType.FLOAT)]
    if weight is not None and weight not in names:
        raise declaring.refusal(
            f"weight= of {learner.name} to be {listed(names)}", repr(weight), near(str(weight), names)
        )


def _route(declaring: Declaring, route: object, learners: Mapping[str, LearnerDefinition]) -> RouteDefinition:
    if not isinstance(route, Route):
        got = "none" if route is None else shown(route)
        raise declaring.refusal("route to say who answers", got, f'write hr.Route(champion="{next(iter(learners))}")')
    problem = misrouted(route.definition, learners)
    if problem is not None:
        raise declaring.refusal(*problem, where=route.where)
    return route.definition


def _label(declaring: Declaring, label: object) -> LabelDefinition:
    if not isinstance(label, Label):
        got = "none" if label is None else shown(label)
        raise declaring.refusal("label to say what is learned", got, "write label = hr.Label(…)")
    return label.definition
