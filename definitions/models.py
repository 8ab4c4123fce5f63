"""``hr.Model``: a vector of features and request inputs, a label, learners and the route among them."""

from __future__ import annotations

import inspect
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypedDict, Unpack

from definitions.aggregates import Windowed
from definitions.declared import (
    Input,
    LabelDefinition,
    LearnerDefinition,
    ModelDefinition,
    RouteDefinition,
    ViewDefinition,
)
from definitions.declaring import Declaring, author_line, listed, near, snake_case
from definitions.events import VALUE_TYPES
from definitions.features import Features
from definitions.identity import model_digest
from definitions.labels import Label
from definitions.learners import Learner, Route
from definitions.terms import FeatureTerm, Term
from definitions.values import ValueType, parse_span, shown

DEFAULT_TIMEOUT = "1s"

_PARTS = ("features", "label", "route")
_OWN_NAMES = frozenset({"definition"})


@dataclass(frozen=True, slots=True)
class RequestInput:
    """A value that the request carries, as `request` declares it."""

    input: Input
    where: str


class ModelOptions(TypedDict, total=False):
    """What the class keywords of a model may say."""

    owner: str
    pins: type[Features] | tuple[type[Features], ...]
    timeout: str
    tz: str


class ModelKeywords(ModelOptions):
    """What the class keywords of a model have to say."""

    version: int


class Model:
    """What is predicted, from what, by whom.

    Class keywords: ``version``; ``owner``; ``pins``, the classes of views that are read in the version that the
    features are of, whichever version is put in force (`headrace features switch`); ``timeout``, the budget of a
    request that names none (default 1s); ``tz``, the time zone in which the days of its health begin (default UTC).
    The docstring is the description. Attributes: ``features``, the vector in order; ``label``; ``route``; and any
    number of learners under names of the author's choice.

    Example:
        >>> class Late(Model, version=1):  # doctest: +SKIP
        ...     features = [OriginTraffic.flights["1h"], request("distance", float)]
        ...     label = Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h")
        ...     online = river(lambda: StandardScaler() | LogisticRegression())
        ...     route = Route(champion="online")
    """

    definition: ClassVar[ModelDefinition]
    features: ClassVar[Sequence[Term | RequestInput]]
    label: ClassVar[Label]
    route: ClassVar[Route]

    def __init_subclass__(cls, **keywords: Unpack[ModelKeywords]) -> None:
        """Read the declaration, or refuse it."""
        declaring = Declaring(f"model {cls.__name__}", author_line())
        if cls.__bases__ != (Model,):
            raise declaring.refusal("hr.Model as the only base", shown([each.__name__ for each in cls.__bases__]))
        declaring.keywords(keywords, ModelKeywords.__required_keys__, ModelKeywords.__optional_keys__)
        attributes = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        inputs, views = _vector(declaring, attributes.get("features"))
        learners = _learners(declaring, attributes)
        model = ModelDefinition(
            name=declaring.name(snake_case(cls.__name__)),
            version=declaring.count(keywords["version"], "version"),
            inputs=inputs,
            views=views,
            learners=learners,
            route=_route(declaring, attributes.get("route"), learners),
            digest="",
            label=_label(declaring, attributes.get("label")),
            owner=declaring.text(keywords.get("owner", ""), "owner"),
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
            timeout_ms=parse_span(keywords.get("timeout", DEFAULT_TIMEOUT), where=declaring.where),
            tz=_time_zone(declaring, keywords.get("tz", "UTC")),
            pinned=_pinned(declaring, keywords.get("pins", ()), views),
        )
        cls.definition = replace(model, digest=model_digest(model))


def request(name: str, kind: type[int | float | bool | str]) -> RequestInput:
    """Declare a value that the request carries under ``inputs``: a whole number, a number, a bool or a category."""
    where = author_line()
    declaring = Declaring(f"request input {shown(name)}", where)
    found = VALUE_TYPES.get(kind) if isinstance(kind, type) else None
    if found is None or found is ValueType.TIME:
        raise declaring.refusal("int, float, bool or str", getattr(kind, "__name__", shown(kind)))
    return RequestInput(Input(declaring.name(name), found), where)


def _vector(declaring: Declaring, features: object) -> tuple[tuple[Input, ...], tuple[ViewDefinition, ...]]:
    if not isinstance(features, list | tuple) or not features:
        got = "none" if features is None or isinstance(features, list | tuple) else shown(features)
        raise declaring.refusal("features to be a list of features and request inputs", got)
    inputs: dict[str, Input] = {}
    views: dict[str, ViewDefinition] = {}
    for given in features:
        read = _input(declaring, given)
        if read.name in inputs:
            raise declaring.refusal("each input once", f"{read.name} twice")
        inputs[read.name] = read
        if isinstance(given, FeatureTerm) and views.setdefault(given.view.name, given.view) is not given.view:
            raise declaring.refusal(f"one version of view {given.view.name}", "two")
    _refuse_ambiguous_entities(declaring, views.values())
    return tuple(inputs.values()), tuple(views.values())


def _input(declaring: Declaring, given: object) -> Input:
    if isinstance(given, RequestInput):
        return given.input
    if isinstance(given, FeatureTerm):
        view, feature = given.view.name, given.feature
        return Input(f"{view}.{feature.name}", feature.type, view, feature.name)
    mend = ""
    if isinstance(given, Windowed):
        mend = f'name a window, as in ["{given.windows[0].text}"]'
    elif isinstance(given, Term):
        mend = "declare the expression as an attribute of its view"
    raise declaring.refusal("features of views and hr.request(…)", shown(given), mend)


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


def _refuse_ambiguous_entities(declaring: Declaring, views: Iterable[ViewDefinition]) -> None:
    types: dict[str, tuple[ValueType, str]] = {}
    for view in views:
        for each in view.entity:
            known, first = types.setdefault(each.name, (each.type, view.name))
            if known is not each.type:
                raise declaring.refusal(
                    f"entity {each.name} of one type", f"{known.written} in {first}, {each.type.written} in {view.name}"
                )


def _learners(declaring: Declaring, attributes: Mapping[str, object]) -> dict[str, LearnerDefinition]:
    learners: dict[str, LearnerDefinition] = {}
    for name, value in attributes.items():
        if name in _OWN_NAMES:
            raise declaring.refusal(f"a name other than {name}", "an attribute of that name", "it is taken by hr.Model")
        if isinstance(value, Learner) and name not in _PARTS:
            learners[declaring.name(name, where=value.where)] = value.definition(name)
        elif name not in _PARTS:
            expected = f"attributes {', '.join(_PARTS)} and learners"
            raise declaring.refusal(expected, f"{name} = {shown(value)}", near(name, _PARTS) or f"or name it _{name}")
    if not learners:
        raise declaring.refusal("at least one learner", "none", "write online = hr.river(…) or offline = hr.xgboost(…)")
    return learners


def _route(declaring: Declaring, route: object, learners: Mapping[str, object]) -> RouteDefinition:
    if not isinstance(route, Route):
        got = "none" if route is None else shown(route)
        raise declaring.refusal("route to say who answers", got, f'write hr.Route(champion="{next(iter(learners))}")')
    for name in (route.definition.champion, *route.definition.shadow):
        if name not in learners:
            mend = near(name, learners)
            raise declaring.refusal(f"route to name {listed(learners)}", repr(name), mend, where=route.where)
    return route.definition


def _label(declaring: Declaring, label: object) -> LabelDefinition:
    if not isinstance(label, Label):
        got = "none" if label is None else shown(label)
        raise declaring.refusal("label to say what is learned", got, "write label = hr.Label(…)")
    return label.definition


def _time_zone(declaring: Declaring, name: object) -> str:
    try:
        return zoneinfo.ZoneInfo(declaring.text(name, "tz")).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:  # unknown, not a name, or a folder of zones
        raise declaring.refusal("tz= to be an IANA time zone", shown(name), "as in America/New_York") from error
