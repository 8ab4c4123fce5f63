"""``hr.Features``: a declared set of features of one entity kind, from one or more event types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, TypedDict, Unpack

from definitions.aggregates import Aggregation, DeclaredWindows, Windowed, WindowTerm, feature_name
from definitions.aggregates.kept import aggregates_of, event_of, listed_events
from definitions.aggregates.windows import features_of
from definitions.declared import Aggregate, Feature, Source, ViewDefinition
from definitions.declaring import Declaring, author_line, snake_case
from definitions.entities import By, entity_of, fields_by_event, names_of, rekeyed_events
from definitions.events import Event
from definitions.expressions import ASKED_AT, cycle_among
from definitions.identity import view_digest
from definitions.inputs import NamedTerm
from definitions.terms import FeatureTerm, FieldTerm, Leaf, Term
from definitions.times import AskedAtTerm
from definitions.values import shown

_OWN_NAMES = frozenset({"definition"})


class FeaturesOptions(TypedDict, total=False):
    """What the class keywords of a view may say."""

    name: str
    entity: str | tuple[str, ...]
    owner: str
    tags: tuple[str, ...] | list[str]
    rekey: bool


class FeaturesKeywords(FeaturesOptions):
    """What the class keywords of a view have to say."""

    on: type[Event] | tuple[type[Event], ...]
    by: By
    version: int


class Features:
    """A view: features of the entity that ``by`` names, computed from the events of ``on``.

    Class keywords: ``on``, the event or events; ``by``, the field or fields that name the entity, per event where they
    differ; ``entity``, what requests call it, where that is not the fields' name; ``version``, to be raised when a
    change decides state (headrace says so); ``name``, where it is not the class's: two versions of one view are two
    classes of one name; ``owner`` and ``tags`` for the catalogue. The docstring is the view's
    description. Attributes are aggregates over windows, and expressions of them.

    ``rekey=True`` has the view read a copy of its events' topics that is keyed by the entity, so that one cell holds an
    entity and not one cell per partition: for views that `headrace check` finds too dear. Copies of different source
    partitions interleave as they are written, and lateness is judged against the copy's newest event time: a declared
    ``disorder`` has to cover how far the source partitions are apart, too.

    Example:
        >>> class OriginTraffic(Features, on=Departed, by="origin", version=1):  # doctest: +SKIP
        ...     flights = count().over("1h", "24h")
        ...     rush = flights["1h"] / flights["24h"]
        >>> [each.name for each in OriginTraffic.definition.features]  # doctest: +SKIP
        ['flights_1h', 'flights_24h', 'rush']
        >>> class NextTraffic(Features, name="origin_traffic", on=Departed, by="origin", version=2):  # doctest: +SKIP
        ...     flights = count().over("1h", "12h")
        >>> class AirportDay(
        ...     Features, on=(Departed, Arrived), entity="airport", by={Departed: "origin", Arrived: "dest"}, version=1
        ... ):  # doctest: +SKIP
        ...     left = count(Departed).over("24h")
        ...     came = count(Arrived).over("24h")
        ...     waiting = came["24h"] - left["24h"]
    """

    definition: ClassVar[ViewDefinition]

    def __init_subclass__(cls, **keywords: Unpack[FeaturesKeywords]) -> None:
        """Read the declaration, or refuse it."""
        declaring = Declaring(f"view {cls.__name__}", author_line())
        if cls.__bases__ != (Features,):
            raise declaring.refusal("hr.Features as the only base", shown([each.__name__ for each in cls.__bases__]))
        declaring.keywords(keywords, FeaturesKeywords.__required_keys__, FeaturesKeywords.__optional_keys__)
        attributes = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        events = _events(declaring, keywords["on"])
        by = fields_by_event(declaring, events, keywords["by"])
        name = declaring.name(keywords.get("name", snake_case(cls.__name__)))
        aggregates, features = _features(declaring, name, events, attributes)
        rekeyed = rekeyed_events(declaring, by, keywords.get("rekey", False))
        view = ViewDefinition(
            name=name,
            version=declaring.count(keywords["version"], "version"),
            entity=entity_of(declaring, by, keywords.get("entity")),
            sources=tuple(
                Source(event.definition, names_of(by[event]), tuple(aggregates[event]), rekey=event in rekeyed)
                for event in events
            ),
            features=features,
            digest="",
            owner=declaring.text(keywords.get("owner", ""), "owner"),
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
            tags=declaring.texts(keywords.get("tags", ()), "tags"),
        )
        cls.definition = replace(view, digest=view_digest(view))
        _bind(cls, attributes)


def _events(declaring: Declaring, on: object) -> tuple[type[Event], ...]:
    events = on if isinstance(on, tuple) and on else (on,)
    for each in events:
        if not (isinstance(each, type) and issubclass(each, Event) and each is not Event):
            expected = "on= to be a class of hr.Event or a tuple of such classes"
            raise declaring.refusal(expected, shown(each))
    if len(set(events)) < len(events):
        raise declaring.refusal("on= to name each event once", listed_events(events))
    return events


def _features(
    declaring: Declaring, view: str, events: Sequence[type[Event]], attributes: Mapping[str, object]
) -> tuple[Mapping[type[Event], Sequence[Aggregate]], tuple[Feature, ...]]:
    """Return the aggregates of each event, and all features in order of declaration."""
    names: dict[int, str] = {}  # by identity: comparing terms makes new terms
    aggregates: dict[type[Event], list[Aggregate]] = {event: [] for event in events}
    features: dict[str, Feature] = {}
    for name, value in attributes.items():
        if name in _OWN_NAMES:
            raise declaring.refusal(f"a name other than {name}", "a feature of that name", "it is taken by hr.Features")
        if isinstance(value, Windowed):
            if isinstance(value, DeclaredWindows) or id(value) in names:
                raise declaring.refusal(f"{name} to be an aggregate of its own", f"one that has a name: {value!r}")
            event = event_of(declaring, events, name, value)
            aggregates[event] += aggregates_of(declaring, event.definition, name, value)
            declared = features_of(name, value)
        else:
            declared = (_expression(declaring, name, value, names),)
        names[id(value)] = name
        for feature in declared:
            where = value.where if isinstance(value, Windowed | Term) else ""
            declaring.name(feature.name, where=where, within=view)
            if feature.name in features:
                raise declaring.refusal("each feature name once", f"{feature.name} twice", where=where)
            features[feature.name] = feature
    _refuse_cycle(declaring, features)
    if not features:
        raise declaring.refusal("at least one feature", "none", 'write flights = hr.count().over("1h")')
    for event, of_event in aggregates.items():
        if not of_event:
            mend = f"write hr.count({event.__name__}), or leave {event.__name__} out of on="
            raise declaring.refusal(f"an aggregate of {event.definition.name}", "none", mend)
    return aggregates, tuple(features.values())


def _refuse_cycle(declaring: Declaring, features: Mapping[str, Feature]) -> None:
    read = {name: each.expression for name, each in features.items() if each.expression is not None}
    if cycle := cycle_among(read):
        raise declaring.refusal("features that do not read themselves", " <- ".join(cycle))


def _expression(declaring: Declaring, name: str, value: object, names: Mapping[int, str]) -> Feature:
    if isinstance(value, Aggregation):
        raise declaring.refusal(f"{name} over windows", repr(value), 'write .over("1h")', where=value.where)
    if not isinstance(value, Term):
        raise declaring.refusal(f"{name} to be an aggregate or an expression", shown(value), "or name it _" + name)
    expression = value.expression(_naming(declaring, name, value, names))
    return Feature(name, value.type, expression=expression, length=value.length, unit=value.unit)


def _naming(
    declaring: Declaring, feature: str, expression: Term, names: Mapping[int, str]
) -> Callable[[Term], str | None]:
    """Return what names the terms of one expression: features of this view, and nothing else."""
    elsewhere = isinstance(expression, FeatureTerm | FieldTerm)  # made where its own class is declared
    where = declaring.where if elsewhere else expression.where

    def named(term: Term) -> str | None:
        if isinstance(term, FeatureTerm):
            raise declaring.refusal(f"{feature} to read this view's features", repr(term), where=where)
        if isinstance(term, FieldTerm):
            mend = f"write hr.last({term!r})"
            raise declaring.refusal(f"{feature} to read features", f"the field {term!r}", mend, where=where)
        if isinstance(term, WindowTerm):
            aggregate = names.get(id(term.windowed))
            if aggregate is None:
                mend = "declare the aggregate as an attribute first"
                raise declaring.refusal(f"{feature} to read this view's features", repr(term), mend, where=where)
            return feature_name(aggregate, term.window, term.part)
        if isinstance(term, AskedAtTerm):
            return ASKED_AT
        if isinstance(term, Leaf | NamedTerm):
            mend = "put it into the features of a model"
            raise declaring.refusal(f"{feature} to read this view's features", repr(term), mend, where=where)
        return names.get(id(term))

    return named


def _bind(cls: type[Features], attributes: Mapping[str, object]) -> None:
    """Make the class's attributes what models refer to: features of the declared view."""
    view = cls.definition
    for name, value in attributes.items():
        if isinstance(value, Windowed):
            setattr(cls, name, DeclaredWindows(value, view, name))
        else:
            setattr(cls, name, FeatureTerm(view, next(each for each in view.features if each.name == name)))
