"""``hr.Features``: a declared set of features of one entity kind, from one event type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, TypedDict, Unpack

from definitions.aggregates import Aggregation, DeclaredWindows, Windowed, WindowTerm
from definitions.declared import Aggregate, EventDefinition, Feature, ViewDefinition
from definitions.declaring import Declaring, author_line, snake_case
from definitions.events import Event, declared_field, key_field
from definitions.expressions import ASKED_AT, cycle_among
from definitions.identity import view_digest
from definitions.inputs import NamedTerm
from definitions.terms import FeatureTerm, FieldTerm, Leaf, Term
from definitions.times import AskedAtTerm
from definitions.values import shown

_OWN_NAMES = frozenset({"definition"})


class FeaturesOptions(TypedDict, total=False):
    """What the class keywords of a view may say."""

    owner: str
    tags: tuple[str, ...] | list[str]


class FeaturesKeywords(FeaturesOptions):
    """What the class keywords of a view have to say."""

    on: type[Event]
    by: str | tuple[str, ...]
    version: int


class Features:
    """A view: features of the entity that ``by`` names, computed from the events of ``on``.

    Class keywords: ``on``, the event; ``by``, its field or fields that name the entity; ``version``, to be raised
    when a change decides state (headrace says so); ``owner`` and ``tags`` for the catalogue. The docstring is the
    view's description. Attributes are aggregates over windows, and expressions of them.

    Example:
        >>> class OriginTraffic(Features, on=Departed, by="origin", version=1):  # doctest: +SKIP
        ...     flights = count().over("1h", "24h")
        ...     rush = flights["1h"] / flights["24h"]
        >>> [each.name for each in OriginTraffic.definition.features]  # doctest: +SKIP
        ['flights_1h', 'flights_24h', 'rush']
    """

    definition: ClassVar[ViewDefinition]

    def __init_subclass__(cls, **keywords: Unpack[FeaturesKeywords]) -> None:
        """Read the declaration, or refuse it."""
        declaring = Declaring(f"view {cls.__name__}", author_line())
        if cls.__bases__ != (Features,):
            raise declaring.refusal("hr.Features as the only base", shown([each.__name__ for each in cls.__bases__]))
        declaring.keywords(keywords, FeaturesKeywords.__required_keys__, FeaturesKeywords.__optional_keys__)
        attributes = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        on = _event(declaring, keywords["on"])
        name = declaring.name(snake_case(cls.__name__))
        aggregates, features = _features(declaring, name, on, attributes)
        view = ViewDefinition(
            name=name,
            version=declaring.count(keywords["version"], "version"),
            on=on,
            by=_entity(declaring, on, keywords["by"]),
            aggregates=aggregates,
            features=features,
            digest="",
            owner=declaring.text(keywords.get("owner", ""), "owner"),
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
            tags=declaring.texts(keywords.get("tags", ()), "tags"),
        )
        cls.definition = replace(view, digest=view_digest(view))
        _bind(cls, attributes)


def _event(declaring: Declaring, on: object) -> EventDefinition:
    if not (isinstance(on, type) and issubclass(on, Event) and on is not Event):
        raise declaring.refusal("on= to be a class of hr.Event", shown(on))
    return on.definition


def _entity(declaring: Declaring, on: EventDefinition, by: object) -> tuple[str, ...]:
    names = declaring.names(by, "by")
    for name in names:
        key_field(declaring, declared_field(declaring, on.fields, name, "by", on.name), "by")
    return names


def _features(
    declaring: Declaring, view: str, on: EventDefinition, attributes: Mapping[str, object]
) -> tuple[tuple[Aggregate, ...], tuple[Feature, ...]]:
    """Return the aggregates and all features, in order of declaration."""
    names: dict[int, str] = {}  # by identity: comparing terms makes new terms
    aggregates: list[Aggregate] = []
    features: dict[str, Feature] = {}
    for name, value in attributes.items():
        if name in _OWN_NAMES:
            raise declaring.refusal(f"a name other than {name}", "a feature of that name", "it is taken by hr.Features")
        if isinstance(value, Windowed):
            aggregates.append(_aggregate(declaring, on, name, value, names))
            declared = _windows(name, value)
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
    return tuple(aggregates), tuple(features.values())


def _refuse_cycle(declaring: Declaring, features: Mapping[str, Feature]) -> None:
    read = {name: each.expression for name, each in features.items() if each.expression is not None}
    if cycle := cycle_among(read):
        raise declaring.refusal("features that do not read themselves", " <- ".join(cycle))


def _aggregate(
    declaring: Declaring, on: EventDefinition, name: str, value: Windowed, names: Mapping[int, str]
) -> Aggregate:
    field = value.aggregation.field
    if isinstance(value, DeclaredWindows) or id(value) in names:
        raise declaring.refusal(f"{name} to be an aggregate of its own", f"one that has a name: {value!r}")
    if field is not None and field.event is not on:
        raise declaring.refusal(f"{name} to read a field of {on.name}", repr(field), where=value.where)
    return Aggregate(name, value.aggregation.kind, None if field is None else field.field.name, value.windows)


def _windows(name: str, value: Windowed) -> tuple[Feature, ...]:
    return tuple(
        Feature(
            f"{name}_{window.text}",
            value.aggregation.type,
            aggregate=name,
            window=window.text,
            length=value.aggregation.length,
            unit=value.aggregation.unit,
        )
        for window in value.windows
    )


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
            return f"{aggregate}_{term.window.text}"
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
            features = tuple(each for each in view.features if each.aggregate == name)
            setattr(cls, name, DeclaredWindows(value, view, features))
        else:
            setattr(cls, name, FeatureTerm(view, next(each for each in view.features if each.name == name)))
